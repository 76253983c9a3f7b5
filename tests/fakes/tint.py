"""Reddens a picture, or makes it less red, as the request's seed decides; some stay as they are and some fail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pairwright import seeds
from pairwright.records import Edit, Edited, Failed

TOLD: list[Edit] = []
"""Requests, in order."""
DIES_AFTER = [10**9]
"""So many requests."""


class Tint:
    def __init__(self, by: int, smaller: bool) -> None:
        self.by, self.smaller = by, smaller
        self.reads_instructions = True

    def edit(self, edits: Sequence[Edit]) -> Sequence[Edited | Failed]:
        return [self._one(each) for each in edits]

    def _one(self, edit: Edit) -> Edited | Failed:
        if len(TOLD) >= DIES_AFTER[0]:
            raise KeyboardInterrupt
        TOLD.append(edit)
        drawn = seeds.uniform(edit.seed, "tint")
        if drawn < 0.1:
            return Failed("no paint")
        change = 0 if drawn < 0.2 else -self.by if drawn < 0.5 else self.by
        pixels = edit.picture.pixels.astype(int)
        pixels[..., 0] = np.clip(pixels[..., 0] + change, 0, 255)
        image = Image.fromarray(pixels.astype(np.uint8))
        return Edited(image.resize((8, 8)) if self.smaller else image, {"change": change})


def load(*, by: int = 30, smaller: bool = False) -> Tint:
    """``by`` is how much red is added."""
    return Tint(by, smaller)


class Deaf(Tint):
    """Reads a caption and no instruction."""

    def __init__(self) -> None:
        super().__init__(30, smaller=False)
        del self.reads_instructions
