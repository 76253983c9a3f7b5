"""Trivial cues of a picture: numbers that have nothing to do with what it shows, and that training could learn instead."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from pairwright.records import Picture
from pairwright.rewards import texture


@dataclass(frozen=True)
class Cue:
    """One number of a picture."""

    name: str
    more: str
    """What a picture with more of it is, in words."""
    advice: str
    """What to do where it tells the sides of pairs apart."""


_SIZES = "Bring both sides to one size by the same resampling: curate and import do, with 'resolution'."
_FILES = "Decode both sides and save them alike: curate stores both as PNG; import with a 'resolution' below both sizes does too."
_COLOURS = (
    "Look at the losers: an autoencoder's round trip shifts colours (composite = true pastes the background back), and a weak "
    "repainter has a favourite palette."
)
CUES = (
    Cue("resolution", "has more pixels", _SIZES),
    Cue("file format", "is a JPEG", _FILES),
    Cue("JPEG quality", "was saved at a higher JPEG quality", _FILES),
    Cue("file size", "has the larger file", _FILES + " Among files saved alike this is detail: see sharpness."),
    Cue(
        "sharpness",
        "is sharper",
        "Losers that are merely smoother (or rougher) teach detail and little else. Use a stronger repainter, look at the mask "
        "(a grown one leaves fewer seams), and keep such a metric out of the ranking; or accept it if detail is what you want.",
    ),
    Cue("brightness", "is brighter", _COLOURS),
    Cue("red against green", "is redder", _COLOURS),
    Cue("yellow against blue", "is yellower", _COLOURS),
)


def measure(picture: Picture) -> Mapping[str, float]:
    """The cues of a picture that can be told of it. JPEG quality can only of a JPEG, and sharpness not of a single pixel."""
    with Image.open(io.BytesIO(picture.data)) as opened:
        jpeg = opened.format in {"JPEG", "MPO"}
        tables = getattr(opened, "quantization", {}) if jpeg else {}
    pixels = picture.pixels
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    found = {
        "resolution": float(pixels.shape[0] * pixels.shape[1]),
        "file format": float(jpeg),
        "file size": float(len(picture.data)),
        "brightness": float(0.299 * red + 0.587 * green + 0.114 * blue),
        "red against green": float(red - green),
        "yellow against blue": float((red + green) / 2 - blue),
    }
    if tables:
        found["JPEG quality"] = float(quality(tables))
    if min(pixels.shape[:2]) >= 2:
        found["sharpness"] = texture.measure(pixels)
    return found


def quality(tables: Mapping[int, list[int]]) -> int:
    """The quality of 1 to 100, on libjpeg's scale, whose table for luminance is nearest to a file's first one."""
    total = sum(tables[min(tables)])
    return min(range(1, 101), key=lambda each: (abs(_totals()[each] - total), -each))


@cache
def _totals() -> Mapping[int, int]:
    """Sum of the luminance table by quality, as the encoder at hand writes it."""
    grey = Image.new("L", (8, 8))
    found = {}
    for each in range(1, 101):
        stream = io.BytesIO()
        grey.save(stream, "JPEG", quality=each)
        found[each] = sum(Image.open(stream).quantization[0])  # type: ignore[attr-defined]
    return found
