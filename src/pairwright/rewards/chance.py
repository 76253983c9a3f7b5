"""Chance: a number between 0 and 1 that has nothing to do with the picture, always the same for the same picture.

What curation is to be compared with: ``keep = { reward = "chance", top = 512 }`` keeps 512 pairs by chance. Higher is not
better. The draw is keyed by the seed and the picture's content, so neither order nor company changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pairwright import seeds
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt


def load(*, seed: int = 0) -> Chance:
    """Needs no weights.

    Args:
        seed: another one is another order.
    """
    return Chance(seed)


@dataclass(frozen=True)
class Chance:
    """Scores a picture by its id. Column ``chance``, uniform in 0..1."""

    seed: int
    columns: tuple[Column, ...] = (Column("chance", "uniform in 0..1"),)
    needs_prompt: ClassVar[bool] = False

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:  # noqa: ARG002 - a Reward
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return [(seeds.uniform(self.seed, "chance", picture.id),) for picture in pictures]
