"""Colourfulness: how colourful a picture looks, from its pixels alone.

Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images", section 6 (the metric in sRGB). With R, G, B in
0..255, ``rg = R - G`` and ``yb = (R + G) / 2 - B``::

    C = sqrt(var(rg) + var(yb)) + 0.3 * sqrt(mean(rg)^2 + mean(yb)^2)

0 is grey; the authors call 15 slightly, 45 averagely, 59 quite, 82 highly and 109 extremely colourful. Higher is more
colourful, which is not better: a picture with every slider at its end scores highest. The prompt plays no part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageChops

from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt
from pairwright.rewards import _batches

_SQUARES = np.arange(256, dtype=np.int64) ** 2


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
    ``v = G - B`` it is ``R - G = u - v`` and ``R + G - 2 B = u + v``. So nothing wider than a byte is ever stored per pixel,
    which is what makes it fast; the sums are whole numbers and exact at any size.
    """
    red, green, blue = image.split()
    count = image.width * image.height
    r, g, b = _sum(red), _sum(green), _sum(blue)
    rg = _squares(red, green)
    twice_yb = 2 * _squares(red, blue) + 2 * _squares(green, blue) - rg
    spread = math.sqrt(_variance(r - g, rg, count) + _variance(r + g - 2 * b, twice_yb, count) / 4)
    return spread + 0.3 * math.hypot((r - g) / count, (r + g - 2 * b) / 2 / count)


def _sum(channel: Image.Image) -> int:
    # Column by column first: 32 bits are enough there, and four times as fast as 64 for every pixel.
    return int(np.asarray(channel).sum(axis=0, dtype=np.uint32).sum(dtype=np.int64))


def _squares(one: Image.Image, other: Image.Image) -> int:
    return int(np.array(ImageChops.difference(one, other).histogram()) @ _SQUARES)


def _variance(total: int, squares: int, count: int) -> float:
    return (count * squares - total * total) / count**2
