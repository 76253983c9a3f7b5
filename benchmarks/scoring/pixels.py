"""What happens before any network: decoding against PIL, colourfulness against its formula in NumPy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from pairwright import scoring
from pairwright.evaluate.collections import collect
from pairwright.options import Plugin
from pairwright.rewards import colorfulness
from pairwright.store import Store

MEGAPIXELS_2 = (1824, 1096)


def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each way, in turn, so that another program's load falls on all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    return {name: median(each) for name, each in seconds.items()}


def numpy_colorfulness(pixels: np.ndarray) -> float:
    """Hasler and Suesstrunk's section 6 as most scripts have it: ``uint8 [h, w, 3]``, everything in float64."""
    red, green, blue = (pixels[..., channel].astype(np.float64) for channel in range(3))
    rg, yb = red - green, (red + green) / 2 - blue
    return math.sqrt(rg.var() + yb.var()) + 0.3 * math.sqrt(rg.mean() ** 2 + yb.mean() ** 2)


def colour(photograph: Path, size: tuple[int, int] = MEGAPIXELS_2, repeats: int = 15) -> dict[str, float]:
    """Seconds of one decoded picture of 2 megapixels by the formula and by the scorer.

    Raises:
        AssertionError: they give different numbers.
    """
    with Image.open(photograph) as opened:
        image = opened.convert("RGB").resize(size)
    pixels = np.asarray(image)
    plain, ours = numpy_colorfulness(pixels), colorfulness.measure(image)
    assert abs(plain - ours) < 1e-9 * plain, f"the formula says {plain}, the scorer {ours}"
    return interleaved({"numpy": lambda: numpy_colorfulness(pixels), "pairwright": lambda: colorfulness.measure(image)}, repeats)


def decoding(folder: Path, scorers: int, repeats: int = 5) -> dict[str, float]:
    """Seconds for the files of a folder: PIL once, PIL once per scorer, and ours with all checks, by scoring's own road.

    Ours is timed with ``chance`` as the only reward, which looks at no pixel.
    """
    files = sorted(folder.glob("*.jpg"))

    def pil(times: int = 1) -> None:
        for path in files * times:
            Image.open(path).convert("RGB")

    def ours() -> None:
        with TemporaryDirectory() as root:
            reward = scoring.Scorer(Plugin(name="chance"), 32)
            scoring.score_together(Store(Path(root)), collect(folder)[""], [reward])

    ways = {"PIL": pil, f"PIL, {scorers} scorers": lambda: pil(scorers), "pairwright": ours}
    return interleaved(ways, repeats)
