"""Pairs that somebody has looked at and does not want: a small file beside the run.

``{"vetoes": {"<step>": {"<pair id>": "<reason>"}}}``, written whole or not at all. A pair's id is its photograph's, so that a
veto holds whatever is repainted there. Whoever makes pairs reads it, fingerprints what it read, and lists each vetoed pair
among the rejected: a veto is one more reason in the funnel, and what is trained afterwards has never seen the pair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from pairwright.errors import Explained
from pairwright.store import write_json

NAME = "vetoes.json"
"""In a run's folder."""


class VetoError(Explained, ValueError):
    """A file of vetoes that cannot be read; the message names it."""


def read(path: Path) -> dict[str, dict[str, str]]:
    """Reasons by pair, by step; nothing where there is no file.

    Raises:
        VetoError: the file is damaged or something else.
    """
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))["vetoes"]
        return {str(step): {str(pair): str(reason) for pair, reason in pairs.items()} for step, pairs in steps.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VetoError(
            f"{path} is not a file of vetoes ({type(error).__name__}: {error}); mend it, or remove it to veto nothing"
        ) from error


def every(path: Path) -> dict[str, str]:
    """Reasons by pair, of all steps that a file names.

    Raises:
        VetoError: as :func:`read`, and where there is no file.
    """
    if not path.is_file():
        raise VetoError(f"there is no file of vetoes at {path}")
    return {pair: reason for pairs in read(path).values() for pair, reason in pairs.items()}


def change(path: Path, step: str, pair: str, reason: str | None) -> Mapping[str, str]:
    """Veto a pair, or take its veto back, and return all vetoes of the step. When this returns, the disk has it.

    Args:
        path: the file; made where it is new.
        step: name of the step that made the pair.
        pair: its id.
        reason: in words, may be empty; None takes the veto back.

    Raises:
        VetoError: as :func:`read`; the file is left as it is.
    """
    # Two pages may be open on the same run: each must build on what the other has written.
    with FileLock(path.with_name(f".{path.name}.lock")):
        steps = read(path)
        pairs = {**steps.get(step, {})}
        if reason is None:
            pairs.pop(pair, None)
        else:
            pairs[pair] = reason
        steps[step] = dict(sorted(pairs.items()))
        write_json(path, {"vetoes": {name: steps[name] for name in sorted(steps) if steps[name]}})
    return pairs
