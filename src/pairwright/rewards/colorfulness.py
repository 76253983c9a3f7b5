"""Colourfulness: how colourful a picture looks, from its pixels alone.

Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images", section 6 (the metric in sRGB). With R, G, B in
0..255, ``rg = R - G`` and ``yb = (R + G) / 2 - B``::

    C = sqrt(var(rg) + var(yb)) + 0.3 * sqrt(mean(rg)^2 + mean(yb)^2)

0 is grey; the authors call 15 slightly, 45 averagely, 59 quite, 82 highly and 109 extremely colourful. The prompt plays
no part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairwright.images import to_array
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt
from pairwright.rewards import _batches


def load() -> Colorfulness:
    """Needs no weights and takes no options."""
    return Colorfulness()


@dataclass(frozen=True)
class Colorfulness:
    """Scores a picture by itself. Column ``colorfulness``, about 0..150."""

    columns: tuple[Column, ...] = (Column("colorfulness", "Hasler-Suesstrunk M3, RGB in 0..255"),)

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, 1, lambda images, _: [(measure(to_array(image)),) for image in images])


def measure(pixels: np.ndarray) -> float:
    """Hasler and Suesstrunk's C of ``uint8 [h, w, 3]``, RGB. Variances are those of the population.

    The sums are whole numbers and exact at any size; only the last line is floating point.
    """
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    count = red.size
    rg_mean, rg_variance = _moments(red - green, count)
    yb_mean, yb_variance = _moments(red + green - 2 * blue, count)
    spread = math.sqrt(rg_variance + yb_variance / 4)
    return spread + 0.3 * math.hypot(rg_mean, yb_mean / 2)


def _moments(values: np.ndarray, count: int) -> tuple[float, float]:
    total, squares = int(values.sum(dtype=np.int64)), int((values * values).sum(dtype=np.int64))
    return total / count, (count * squares - total * total) / count**2
