"""Scores a picture by its mean red, 0..1."""

from __future__ import annotations

from collections.abc import Sequence

from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt, Unscored

CALLS: list[int] = []
"""Sizes of the batches that were asked for."""


class Red:
    columns = (Column("red", "mean of the red channel, 0..1"),)

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> Sequence[Row]:
        CALLS.append(len(pictures))
        rows: list[Row] = []
        for picture in pictures:
            blue = float(picture.pixels[..., 2].mean())
            rows.append(Unscored("too blue") if blue > 250 else (float(picture.pixels[..., 0].mean()) / 255,))
        return rows


def load() -> Red:
    """No options."""
    return Red()
