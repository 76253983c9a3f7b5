"""Paints the region in a colour that the request's seed decides; some requests fail."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from pairwright import seeds
from pairwright.records import Edit, Edited, Failed

EDITED: list[str] = []
"""Ids of the pictures that were changed, in order."""


class Dye:
    def __init__(self, darker: float) -> None:
        self.darker = darker

    def edit(self, edits: Sequence[Edit]) -> Sequence[Edited | Failed]:
        results: list[Edited | Failed] = []
        for edit in edits:
            EDITED.append(edit.picture.id)
            colour = tuple(int(self.darker * seeds.integer(256, edit.seed, "dye", channel)) for channel in range(3))
            failed = seeds.uniform(edit.seed, "fails") < 0.05
            results.append(Failed("the dye ran") if failed else Edited(Image.new("RGB", edit.picture.image.size, colour)))
        return results


def load(*, darker: float = 1.0) -> Dye:
    """``darker`` scales the colour."""
    return Dye(darker)
