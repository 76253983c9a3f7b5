"""Finds every picture too pale, apart from some: those it cannot see, and those without fault."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairwright import seeds
from pairwright.advice.reading import NOTHING
from pairwright.records import Critique, Failed, Picture, Prompt

SEEN: list[str] = []
"""Ids of the pictures that were asked about, in order."""
DIES_AFTER = [10**9]
"""So many pictures."""


class Faults:
    def critique(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> Sequence[Critique | Failed]:
        return [self._one(*each) for each in zip(pictures, prompts, strict=True)]

    def _one(self, picture: Picture, prompt: Prompt) -> Critique | Failed:
        if len(SEEN) >= DIES_AFTER[0]:
            raise KeyboardInterrupt
        SEEN.append(picture.id)
        drawn = seeds.uniform(0, "faults", picture.id)
        if drawn < 0.1:
            return Failed("cannot see")
        maps = {"artifact": np.full(picture.pixels.shape[:2], 0.6, np.float32)} if drawn > 0.5 else {}
        return Critique(NOTHING if drawn < 0.2 else f"{prompt.text} is too pale", maps, {"critic": "faults", "template": "t-1"})


def load() -> Faults:
    """No options."""
    return Faults()
