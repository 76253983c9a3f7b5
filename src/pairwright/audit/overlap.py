"""Captions that are also evaluation prompts, as findings; see :mod:`pairwright.overlaps`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pairwright.audit.findings import Finding
from pairwright.overlaps import Match, matches

EXAMPLES = 3


def findings(captions: Sequence[str], sets: Mapping[str, Sequence[str]]) -> list[Finding]:
    """One finding per set of prompts."""
    return [_finding(name, matches(captions, prompts), len(prompts)) for name, prompts in sets.items()]


def _finding(name: str, found: Sequence[Match], prompts: int) -> Finding:
    exact, near = (sorted({each.caption for each in found if each.exact == kind}) for kind in (True, False))
    numbers = {"set": name, "prompts": prompts, "exact": len(exact), "near": len(near)}
    said = f"{len(exact)} captions are among the {prompts:,} prompts of {name}, {len(near)} more are nearly so."
    if not found:
        return Finding("overlap", "ok", f"no caption is, or nearly is, among the {prompts:,} prompts of {name}.", numbers=numbers)
    shown = [each for each in found if each.exact] or list(found)
    return Finding(
        "overlap",
        "problem" if exact else "note",
        said,
        "Drop these pairs, or these prompts from the evaluation, or say so beside its numbers.",
        numbers,
        tuple(f"{each.caption!r} and {each.prompt!r}" for each in shown[:EXAMPLES]),
    )
