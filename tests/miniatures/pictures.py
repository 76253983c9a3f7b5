"""Small pictures to score, mark and repaint: drawn, the same every time, each different from the others."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from pairwright.records import Picture


def picture(number: int, width: int = 40, height: int = 32) -> Picture:
    """A smooth gradient with a disc, in colours that ``number`` decides."""
    rows, columns = np.mgrid[0:height, 0:width]
    disc = (rows - height * 0.5) ** 2 + (columns - width * (0.3 + 0.05 * (number % 8))) ** 2 < (min(height, width) / 4) ** 2
    base = np.stack([rows * (3 + number % 3), columns * 4 + 20 * number, (rows + columns) * 2 + 37 * number], axis=-1) % 256
    base[disc] = [(200 + 31 * number) % 256, (60 + 17 * number) % 256, (90 + 53 * number) % 256]
    return encoded(base.astype(np.uint8), f"{number:016x}")


def encoded(pixels: np.ndarray, name: str = "0" * 16) -> Picture:
    """``uint8 [h, w, 3]`` as a picture (PNG)."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return Picture(id=name, data=stream.getvalue())


def broken() -> Picture:
    """Not a picture."""
    return Picture(id="f" * 16, data=b"\x89PNG\r\n\x1a\nand nothing of the kind")
