"""Six faults with a name and a measure: picture, strength in 0..1 and seed -> picture, and what exactly was done.

Every draw is keyed by the seed and its purpose. Lengths are given for a side of 512 pixels and grow with the short side.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from pairwright import images, seeds

Made = tuple[Image.Image, dict[str, Any]]
REFERENCE_SIDE = 512


def blur(image: Image.Image, strength: float, _: int) -> Made:
    """Gaussian blur, standard deviation 1 to 8 pixels."""
    sigma = _length(image, 1, 8, strength)
    return image.filter(ImageFilter.GaussianBlur(sigma)), {"sigma": round(sigma, 3)}


def jpeg(image: Image.Image, strength: float, _: int) -> Made:
    """Saved as JPEG, quality 40 down to 4, chroma at half the resolution."""
    quality = round(_between(40, 4, strength))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    return images.decode(stream.getvalue()), {"quality": quality}


def noise(image: Image.Image, strength: float, seed: int) -> Made:
    """Gaussian noise, standard deviation 0.04 to 0.3 of the range, grey or coloured."""
    sigma = _between(0.04, 0.3, strength)
    grey = seeds.uniform(seed, "noise-grey") < 0.5
    shape = (1 if grey else 3, image.height, image.width)
    drawn = seeds.noise(shape, [seed], seed, "noise")[0].numpy().transpose(1, 2, 0)
    return _picture(images.to_array(image) + 255 * sigma * drawn), {"sigma": round(sigma, 4), "grey": grey}


def colour(image: Image.Image, strength: float, seed: int) -> Made:
    """Hue, saturation and brightness, each moved away from what it was by an amount that grows with the strength."""

    def up(name: str) -> bool:
        return seeds.uniform(seed, "colour", name) < 0.5

    turn = round(_between(15, 90, strength) * (1 if up("hue") else -1))
    saturation = _between(1.2, 2.0, strength) if up("saturation") else _between(0.8, 0.2, strength)
    brightness = _between(1.1, 1.5, strength) if up("brightness") else _between(0.9, 0.6, strength)
    channels = np.asarray(image.convert("HSV"), dtype=np.float32)
    channels = channels * np.array([1, saturation, brightness], np.float32) + np.array([turn / 360 * 256, 0, 0], np.float32)
    channels[..., 0] %= 256
    changed = Image.fromarray(np.clip(channels, 0, 255).astype(np.uint8), "HSV").convert("RGB")
    return changed, {"hue": turn, "saturation": round(saturation, 3), "brightness": round(brightness, 3)}


def warp(image: Image.Image, strength: float, seed: int) -> Made:
    """Every pixel from a place nearby: a smooth field of displacements whose largest is 4 to 32 pixels."""
    width, height = image.size
    largest = _length(image, 4, 32, strength)
    cell = max(2.0, _length(image, 64, 64, 0))
    coarse = (2, max(3, round(height / cell) + 2), max(3, round(width / cell) + 2))
    field = seeds.noise(coarse, [seed], seed, "warp")[0].numpy()
    across, down = (np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC)) for each in field)
    scale = largest / float(np.hypot(across, down).max())
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return _picture(_sampled(images.to_array(image), rows + scale * down, columns + scale * across)), {"pixels": round(largest, 2)}


def shuffle(image: Image.Image, strength: float, seed: int) -> Made:
    """Whole tiles of 64 down to 16 pixels change places; what is left over at the right and below stays."""
    width, height = image.size
    tile = max(1, min(round(_length(image, 64, 16, strength)), width // 2, height // 2))
    rows, columns = height // tile, width // tile
    pixels = images.to_array(image).copy()
    tiles = pixels[: rows * tile, : columns * tile].reshape(rows, tile, columns, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)
    moved = tiles[seeds.permutation(rows * columns, seed, "shuffle")]
    whole = moved.reshape(rows, columns, tile, tile, 3).swapaxes(1, 2).reshape(rows * tile, columns * tile, 3)
    pixels[: rows * tile, : columns * tile] = whole
    return Image.fromarray(pixels), {"tile": tile}


def _between(low: float, high: float, strength: float) -> float:
    return low + (high - low) * strength


def _length(image: Image.Image, low: float, high: float, strength: float) -> float:
    return _between(low, high, strength) * min(image.size) / REFERENCE_SIDE


def _sampled(pixels: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear, with the border repeated: ``float32 [h, w, 3]``."""
    height, width, _ = pixels.shape
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = (np.minimum(each.astype(np.int64), limit) for each, limit in ((rows, height - 1), (columns, width - 1)))
    below, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = (rows - top)[..., None], (columns - left)[..., None]
    upper = pixels[top, left] * (1 - across) + pixels[top, right] * across
    lower = pixels[below, left] * (1 - across) + pixels[below, right] * across
    mixed: np.ndarray = upper * (1 - down) + lower * down
    return mixed


def _picture(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
