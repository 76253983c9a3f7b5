"""Requests to perturb, and what came back of them."""

from __future__ import annotations

import numpy as np

from pairwright.records import Edit, Edited, Failed
from tests.miniatures import pictures


def request(number: int, width: int = 32, height: int = 32, caption: str = "a red rose", seed: int | None = None) -> Edit:
    """A drawn picture whose middle is marked."""
    mask = np.zeros((height, width), dtype=np.float32)
    mask[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = 1
    return Edit(pictures.picture(number, width, height), caption, seed=100 + number if seed is None else seed, mask=mask)


def pixels(result: Edited | Failed) -> np.ndarray:
    """``int [h, w, 3]``."""
    assert isinstance(result, Edited), result
    return np.asarray(result.image).astype(int)


def bad(good: Edit) -> list[tuple[Edit, str]]:
    """Requests that cannot be met, and words of their reasons."""
    return [
        (Edit(good.picture, "x", seed=1), "needs a mask"),
        (Edit(good.picture, "x", seed=1, mask=np.zeros((32, 32), dtype=np.float32)), "mask is empty"),
        (Edit(good.picture, "x", seed=1, mask=np.ones((16, 32), dtype=np.float32)), "mask is 32 x 16, the picture 32 x 32"),
        (Edit(pictures.broken(), "x", seed=1, mask=good.mask), "decoded"),
    ]
