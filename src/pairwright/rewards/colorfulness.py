"""Colourfulness: how colourful a picture looks, from its pixels alone.

Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images", section 6 (the metric in sRGB). With R, G, B in
0..255, ``rg = R - G`` and ``yb = (R + G) / 2 - B``::

    C = sqrt(var(rg) + var(yb)) + 0.3 * sqrt(mean(rg)^2 + mean(yb)^2)

0 is grey; the authors call 15 slightly, 45 averagely, 59 quite, 82 highly and 109 extremely colourful. Higher is more
colourful, which is not better: a picture with every slider at its end scores highest. The prompt plays no part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageChops

from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt
from pairwright.rewards import _batches

_ROWS, _PIXELS = 256, 2**18
"""Of a band at most: so many rows of bytes add up in 16 bits and their squares in 32, and so many pixels stay in the cache."""


def load() -> Colorfulness:
    """Needs no weights and takes no options."""
    return Colorfulness()


@dataclass(frozen=True)
class Colorfulness:
    """Scores a picture by itself. Column ``colorfulness``, about 0..150."""

    columns: tuple[Column, ...] = (Column("colorfulness", "Hasler-Suesstrunk M3, RGB in 0..255"),)
    needs_prompt: ClassVar[bool] = False

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, 1, lambda images, _: [(measure(image),) for image in images])


def measure(image: Image.Image) -> float:
    """Hasler and Suesstrunk's C of an RGB picture. Variances are those of the population.

    Both second moments follow from the squared differences of the three pairs of channels, since with ``u = R - B`` and
    ``v = G - B`` it is ``R - G = u - v`` and ``R + G - 2 B = u + v``. So nothing wider than two bytes is ever stored per pixel,
    which is what makes it fast; the sums are whole numbers and exact at any size.
    """
    count = image.width * image.height
    r, g, b, rg, rb, gb = (sum(each) for each in zip(*map(_sums, _bands(image)), strict=True))
    twice_yb = 2 * rb + 2 * gb - rg
    spread = math.sqrt(_variance(r - g, rg, count) + _variance(r + g - 2 * b, twice_yb, count) / 4)
    return spread + 0.3 * math.hypot((r - g) / count, (r + g - 2 * b) / 2 / count)


def _bands(image: Image.Image) -> Iterator[Image.Image]:
    rows = min(max(_PIXELS // image.width, 1), _ROWS)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _sums(band: Image.Image) -> tuple[int, ...]:
    """Of the three channels, and of the squares of their differences: red and green, red and blue, green and blue."""
    red, green, blue = band.split()
    return (
        *(_total(np.asarray(each), np.uint16) for each in (red, green, blue)),
        *(_squares(one, other) for one, other in ((red, green), (red, blue), (green, blue))),
    )


def _squares(one: Image.Image, other: Image.Image) -> int:
    apart = np.asarray(ImageChops.difference(one, other))
    return _total(np.square(apart, dtype=np.uint16), np.uint32)


def _total(values: np.ndarray, number: type[np.unsignedinteger]) -> int:
    # Column by column first, in numbers as narrow as a band allows: four times as fast as 64 bits for every pixel.
    return int(values.sum(axis=0, dtype=number).sum(dtype=np.int64))


def _variance(total: int, squares: int, count: int) -> float:
    return (count * squares - total * total) / count**2
