"""Prompts: the field's sets by name, any file, any file of the hub.

- ``partiprompts``, ``drawbench``, ... - a known set (:data:`KNOWN`), held to its count and checksum;
- ``prompts.jsonl`` - a file: ``.txt`` (one prompt per line), ``.jsonl``, ``.csv``, ``.tsv`` (with a header line), ``.json`` (a
  list) or ``.parquet``; ``tiny:prompts.txt`` comes with the package;
- ``hub:owner/name@revision/file.csv`` - a file of a data set on the Hugging Face hub.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pairwright import seeds, weights
from pairwright.prompts import hub, reading
from pairwright.prompts.known import KNOWN, KnownSet, find
from pairwright.prompts.reading import PromptError
from pairwright.records import Prompt
from pairwright.suggestions import hint

__all__ = ["KNOWN", "KnownSet", "PromptError", "load"]


def load(name: str, *, path: str | None = None, limit: int | None = None, seed: int = 0) -> list[Prompt]:
    """The prompts of a set, in its order.

    Each has an id that its text decides (and, for a text that comes again, how often it came before), so that pictures
    made for it stay valid when the file is sorted or grows.

    Args:
        name: a known set, a path, or ``hub:...``; see the module's docstring.
        path: of a known set: the file or folder (or ``hub:...``) that it is read from. Default: the folder that
            ``PAIRWRIGHT_PROMPTS`` names, else the hub.
        limit: at most so many. Which ones, the seed and each prompt's own id decide; they stay in order.
        seed: of that choice.

    Raises:
        PromptError: no such file, an unknown kind of file, no prompt in it, or a known set that is not what it must be.
        RowError: a malformed line, or one without a prompt; names file and line.
    """
    prompts = list(_identified(_all(name, path)))
    if not prompts:
        raise PromptError(f"{name} holds no prompts")
    if limit is None or limit >= len(prompts):
        return prompts
    drawn = {each.id for each in sorted(prompts, key=lambda each: seeds.key(seed, "prompts", each.id))[:limit]}
    return [each for each in prompts if each.id in drawn]


def _all(name: str, path: str | None) -> Iterable[Prompt]:
    if name in KNOWN:
        return find(KNOWN[name], path)
    if path is not None:
        raise PromptError(f"{name!r} is no known set, so no path belongs to it; give the path as the name." + hint(name, KNOWN))
    return (prompt for file in _files(name) for prompt in reading.read(file))


def _files(name: str) -> list[Path]:
    if name.startswith(hub.PREFIX):
        return hub.files(name)
    path = weights.tiny(name)
    if not path.is_file():
        known = "" if path.suffix else hint(name, KNOWN, listed="Known sets:")
        raise PromptError(f"There is no prompt file {name!r} (looked for {path.absolute()}).{known}")
    return [path]


def _identified(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    seen: Counter[str] = Counter()
    for each in prompts:
        digest = hashlib.sha256(f"{each.text}\n{seen[each.text]}".encode()).hexdigest()
        seen[each.text] += 1
        yield Prompt(each.text, digest[:16], each.category)
