"""Heat maps as pictures, for models that look: where the fault lies is red, the rest is grey."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pairwright import images


def shown(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """The picture in grey, reddened where the map is high.

    Args:
        image: RGB, ``[h, w]``.
        heat: ``float [h', w']``, 0..1; brought to the picture's size bilinearly. What is no number is 0.

    Raises:
        ValueError: a map that is not of two dimensions.
    """
    if heat.ndim != 2 or not heat.size:
        raise ValueError(f"a heat map is [h, w], got {list(heat.shape)}")
    clean = np.clip(np.nan_to_num(heat.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    weight = np.asarray(Image.fromarray(clean).resize(image.size, Image.Resampling.BILINEAR))[..., None]
    grey = images.to_array(image).mean(axis=2, keepdims=True).repeat(3, axis=2)
    red = np.array([255.0, 0.0, 0.0])
    # Three quarters at most: what is there must be seen through it.
    mixed = grey + 0.75 * np.clip(weight, 0, 1) * (red - grey)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))
