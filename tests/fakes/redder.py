"""A judge that prefers the redder picture; ``biased``: the one that it sees first, where they are close."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pairwright.protocols import Choice
from pairwright.records import Picture, Prompt, TwoEdits

ASKED: list[tuple[str, str]] = []
"""Ids of the pictures, in the order in which they were shown."""


@dataclass(frozen=True)
class Redder:
    biased: float

    def judge(self, a: Picture, b: Picture, prompt: Prompt) -> Choice:
        ASKED.append((a.id, b.id))
        gain = float(b.pixels[..., 0].mean()) - float(a.pixels[..., 0].mean())
        return "b" if gain > self.biased else "a"


def judge(*, biased: float = 0.0) -> Redder:
    """``biased`` is how much redder the second must be."""
    return Redder(biased)


@dataclass(frozen=True)
class RedderEdit:
    biased: float

    def judge_edits(self, asked: Sequence[TwoEdits]) -> list[Choice]:
        return [Redder(self.biased).judge(each.a, each.b, each.prompt) for each in asked]


def edit_judge(*, biased: float = 0.0) -> RedderEdit:
    """``biased`` is how much redder the second must be."""
    return RedderEdit(biased)
