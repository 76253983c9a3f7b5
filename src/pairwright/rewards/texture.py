"""Texture: how much fine detail a picture has: the variance of the Laplacian of its grey values.

The usual measure of sharpness (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy"), with OpenCV's
conventions: grey is ``0.299 R + 0.587 G + 0.114 B`` rounded to 0..255, the kernel is the 4-neighbour one, and the border
is mirrored without its edge. It grows with noise as well as with detail and depends on the resolution: compare pictures
of one size. Higher is more detail, which is better only within reason: noise scores highest. The prompt plays no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from pairwright.images import to_array
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.rewards import _batches


def load() -> Texture:
    """Needs no weights and takes no options."""
    return Texture()


@dataclass(frozen=True)
class Texture:
    """Scores a picture by itself. Column ``texture``, 0 for a plain area, thousands for foliage."""

    columns: tuple[Column, ...] = (Column("texture", "variance of the Laplacian of grey in 0..255"),)
    needs_prompt: ClassVar[bool] = False

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, 1, lambda images, _: [_row(image) for image in images])


def _row(image: Image.Image) -> Row:
    if min(image.size) < 2:
        return Unscored(f"a picture of {image.width} x {image.height} pixels has no Laplacian")
    return (measure(to_array(image)),)


def measure(pixels: np.ndarray) -> float:
    """Variance of the Laplacian of ``uint8 [h, w, 3]``, RGB, both sides at least 2. Its sums are whole numbers and exact."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    # OpenCV's weights in 15 bits, so that the grey is its grey to the last digit.
    grey = ((9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15).astype(np.int16)
    padded = np.pad(grey, 1, mode="reflect")
    # Between -1020 and 1020, so that 16 bits are enough, and less memory is what makes it fast.
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * grey
    total, squares = int(laplacian.sum(dtype=np.int64)), int(np.square(laplacian, dtype=np.int32).sum(dtype=np.int64))
    return (laplacian.size * squares - total * total) / laplacian.size**2
