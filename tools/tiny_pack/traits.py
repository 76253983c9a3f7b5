"""What can be seen in a photograph: the flower's colour, the background's, how near it is.

Every pixel gets a colour name from its hue, saturation and value; the flower's colour is the
name that most salient pixels bear, stalks and shadows not counted.
"""

import numpy as np
from numpy.typing import NDArray

from .captions import BACKGROUNDS, COLOURS, Traits

# Upper ends of the hues in degrees, beginning with red at 0 and ending there.
HUES = (
    (11.0, "red"),
    (38.0, "orange"),
    (68.0, "yellow"),
    (165.0, "green"),
    (255.0, "blue"),
    (318.0, "purple"),
    (345.0, "pink"),
    (360.0, "red"),
)
NAMES = ("dark", "white", "grey", "brown", *dict.fromkeys(name for _, name in HUES))
# Flowers whose heart alone is often what the saliency map marks: the map is grown to the petals.
HEARTED = ("daisy", "sunflower")
HEART_REACH = 0.12  # of the picture's side
CLEAR_SHARE = 0.35  # of the votes: a colour with less is not named


def hue_saturation_value(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """uint8 [..., 3] -> hue in degrees, saturation and value in 0..1, stacked last."""
    rgb = pixels.astype(np.float64) / 255
    value, low = rgb.max(-1), rgb.min(-1)
    span = np.maximum(value - low, 1e-6)
    red, green, blue = np.moveaxis(rgb, -1, 0)
    hue = np.where(
        value == red,
        (green - blue) / span,
        np.where(value == green, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    return np.stack((hue * 60 % 360, span / np.maximum(value, 1e-6), value), -1)


def name_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """uint8 [..., 3] -> the index in `NAMES` of each pixel's colour."""
    hue, saturation, value = np.moveaxis(hue_saturation_value(pixels), -1, 0)
    ends = np.array([end for end, _ in HUES])
    by_hue = np.array([NAMES.index(name) for _, name in HUES])
    names = by_hue[np.searchsorted(ends, hue).clip(0, len(HUES) - 1)]
    reddish = (hue < 20) | (hue > 330)
    light = reddish & (saturation < 0.6) & (value > 0.55)
    names = np.where(light, NAMES.index("pink"), names)
    earthy = (hue >= 11) & (hue < 50) & ((value < 0.5) | (saturation < 0.35))
    names = np.where(earthy, NAMES.index("brown"), names)
    names = np.where(saturation < 0.16, NAMES.index("grey"), names)
    names = np.where((saturation < 0.2) & (value > 0.68), NAMES.index("white"), names)
    return np.where(value < 0.2, NAMES.index("dark"), names)


def shares(names: NDArray[np.int64], weights: NDArray[np.float64]) -> dict[str, float]:
    """Which part of the weight each colour name has."""
    counts = np.bincount(names.ravel(), weights.ravel(), minlength=len(NAMES))
    total = max(counts.sum(), 1e-6)
    return {name: float(count / total) for name, count in zip(NAMES, counts, strict=True)}


def flower_colour(seen: dict[str, float], species: str) -> str:
    """The name that most petals bear, or nothing where none is clear."""
    votes = {name: seen[name] for name in COLOURS}
    if species == "dandelion":  # seed heads are grey and brown on a photograph, never red
        votes = {"yellow": seen["yellow"] + seen["orange"], "white": seen["white"] + seen["grey"]}
    if species == "sunflower":  # red and brown hearts, orange light
        votes["yellow"] += 0.7 * seen["orange"] + 0.5 * seen["red"]
        votes["orange"], votes["red"] = 0.3 * seen["orange"], 0.4 * seen["red"]
        votes["white"] *= 0.3  # the sky between the petals
    if species == "daisy":  # its heart is yellow, its petals are what is named
        votes["yellow"], votes["orange"] = 0.2 * seen["yellow"], 0.5 * seen["orange"]
        votes["white"] += 0.5 * seen["grey"]
    total = sum(votes.values())
    best = max(votes, key=lambda name: votes[name])
    clear = total > 0.08 and votes[best] > CLEAR_SHARE * total
    return best if clear else ""


def background_colour(seen: dict[str, float]) -> str:
    """The name of the background, or nothing where it is motley."""
    votes = {name: seen[name] for name in BACKGROUNDS}
    best = max(votes, key=lambda name: votes[name])
    return best if votes[best] > 0.4 else ""


def framing(area: float) -> str:
    """How near the flower is, from the part of the picture that it covers.

    Where next to nothing is salient, it is a field of flowers or a map that failed: no word.
    """
    if area < 0.025:
        return ""
    if area < 0.12:
        return "small"
    return "close-up" if area > 0.42 else "photo"


def grown(saliency: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
    """The largest value within `reach` pixels along each axis."""
    result = saliency
    for axis in (0, 1):
        padded = np.pad(result, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis)
        result = windows.max(-1)
    return result


def traits_of(species: str, picture: NDArray[np.uint8], saliency: NDArray[np.uint8]) -> Traits:
    """The traits of one photograph, from pixels [h, w, 3] and their saliency [h, w]."""
    area = float((saliency > 127).mean())
    if species in HEARTED:
        saliency = grown(saliency, round(saliency.shape[0] * HEART_REACH))
    names = name_pixels(picture)
    flower = flower_colour(shares(names, (saliency / 255.0) ** 2), species)
    ground = background_colour(shares(names, (1 - saliency / 255.0) ** 2))
    return Traits(species, flower, ground, framing(area))
