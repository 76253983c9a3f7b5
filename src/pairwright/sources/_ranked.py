"""Pairs out of pictures that were ranked together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal

from pairwright.records import Rejected

Which = Literal["extremes", "all"]
"""Of each prompt's pictures, the best against the worst, or every two of them."""


def pairs(name: str, ranks: Sequence[float], which: Which) -> Iterator[tuple[str, int, int] | Rejected]:
    """Places of winner and loser; 1 is the best rank, equal ranks are a tie.

    Args:
        name: what they are called where they are rejected; with ``all``, the places are added.
        ranks: one per picture.
        which: the pairs that are wanted.
    """
    if len(ranks) < 2:
        yield Rejected(name, "label", f"{len(ranks)} ranked picture{'' if len(ranks) == 1 else 's'}: nothing to compare")
        return
    if which == "extremes":
        best = min(range(len(ranks)), key=lambda place: ranks[place])
        worst = max(range(len(ranks)), key=lambda place: ranks[place])
        yield _tie(name) if ranks[best] == ranks[worst] else (name, best, worst)
        return
    for first, second in combinations(range(len(ranks)), 2):
        called = f"{name}/{first}-{second}"
        if ranks[first] == ranks[second]:
            yield _tie(called)
        else:
            yield (called, first, second) if ranks[first] < ranks[second] else (called, second, first)


def _tie(name: str) -> Rejected:
    return Rejected(name, "tie", "both pictures have the same rank")
