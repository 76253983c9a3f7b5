"""Can a repaint be told by its border alone? High-pass statistics of the pixels on both sides of the mask's border.

For every place where two neighbouring pixels lie on different sides of the border, four pixels in a line across it are
read: ``o2 o1 | i1 i2``, o outside (untouched by compositing), i inside. Their differences are what a high-pass filter
sees there: the step across the border, the second differences at the two pixels that touch it, and the background's own
step, which is the same on both sides of a pair and lets a classifier say "large for this background".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.separation import Array, Auc, auc_interval, held_out_scores

LEAST_PLACES = 8
"""Borders that are crossed in fewer places say nothing."""
_FLOOR = 1e-3  # of differences of values in 0..1: a quarter of a grey level
_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
STEP = slice(0, 12)
"""The features that know only the step across the border and the background's own."""


def crossings(pixels: Array, mask: Array) -> Array:
    """The four pixels across the border wherever it is crossed: ``[places, 4, channels]``, in the order o2 o1 i1 i2.

    Places whose four pixels do not lie two outside and two inside (thin parts, the picture's edge) are left out.

    Args:
        pixels: ``[h, w, channels]``.
        mask: ``[h, w]`` bool, True inside.
    """
    found = [line for turned in (0, 1) for line in _rows(*(np.swapaxes(each, 0, 1) if turned else each for each in (pixels, mask)))]
    return np.concatenate(found)


def _rows(pixels: Array, mask: Array) -> Iterator[Array]:
    four_pixels = np.stack([pixels[:, start : pixels.shape[1] - 3 + start] for start in range(4)], axis=2)
    four_sides = np.stack([mask[:, start : mask.shape[1] - 3 + start] for start in range(4)], axis=2)
    inwards = (four_sides == np.array([False, False, True, True])).all(-1)
    yield four_pixels[inwards]
    yield four_pixels[(four_sides == np.array([True, True, False, False])).all(-1)][:, ::-1]


def features(picture: Array, mask: Array) -> Array | None:
    """``float64 [24]``: log mean and log upper decile of four differences in luma and two chromas; None without a border.

    The first 12 are of the step across the border and of the background's step, the last 12 of the second differences.

    Args:
        picture: ``uint8 [h, w, 3]``.
        mask: ``[h, w]``, inside where above one half.
    """
    line = crossings(picture.astype(np.float64) / 255 @ _YCC.T, mask > 0.5)
    if len(line) < LEAST_PLACES:
        return None
    o2, o1, i1, i2 = (line[:, place] for place in range(4))
    differences = (i1 - o1, o1 - o2, i1 - 2 * o1 + o2, o1 - 2 * i1 + i2)
    rows = [np.abs(each) for each in differences]
    return np.concatenate([np.log(_FLOOR + np.concatenate([each.mean(0), np.quantile(each, 0.9, axis=0)])) for each in rows])


def detectability(
    real: Sequence[Array], edited: Sequence[Array], masks: Sequence[Array], clusters: Sequence[str], *, columns: slice = slice(None)
) -> tuple[Auc, int]:
    """How well a cross-validated classifier of border features tells ``edited`` from ``real``; and on how many pairs.

    Both sides of a pair, and all pairs of a cluster, are in one fold.

    Args:
        real: ``uint8 [h, w, 3]`` each.
        edited: the same pictures with their masks' inside changed.
        masks: ``[h, w]`` each.
        clusters: what belongs together.
        columns: which features.

    Raises:
        ValueError: no pair has a border.
    """
    rows = [(features(a, mask), features(b, mask)) for a, b, mask in zip(real, edited, masks, strict=True)]
    kept = [(a, b, name) for (a, b), name in zip(rows, clusters, strict=True) if a is not None and b is not None]
    if not kept:
        raise ValueError("no pair has a border")
    count = len(kept)
    matrix = np.stack([a for a, _, _ in kept] + [b for _, b, _ in kept])[:, columns]
    names = [name for _, _, name in kept]
    labels = np.repeat([0.0, 1.0], count)
    scores = held_out_scores(matrix, labels, names * 2)
    return auc_interval(scores[count:], scores[:count], names), count
