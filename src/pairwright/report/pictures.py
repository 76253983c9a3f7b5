"""Pictures small enough to live inside a page, and the outline of a mask as an SVG path."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pairwright import images

_SMALL = 20_000  # bytes below which a picture is embedded as it is
_GRID = 72  # cells along a mask's longer side: fine enough for an outline, small enough for many on a page

Point = tuple[float, float]
Edge = tuple[int, int, int]
"""An edge of the grid: row and column of its first corner, and 0 where it runs along the row, 1 where down the column."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a ``data:`` address."""

    uri: str
    width: int
    height: int


def thumbnail(data: bytes, side: int) -> Thumbnail:
    """The picture in a trusted file, at most ``side`` pixels wide and high."""
    picture = images.decode(data)
    if max(picture.size) <= side and len(data) <= _SMALL and data.startswith(b"\x89PNG"):
        return Thumbnail(_uri(data, "png"), *picture.size)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return Thumbnail(_uri(jpeg(picture, side), "jpeg"), *picture.size)


def jpeg(picture: Image.Image, side: int) -> bytes:
    """The picture as JPEG, at most ``side`` pixels wide and high."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=86, optimize=True)
    return stream.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def outline(mask: np.ndarray) -> str:
    """The contour of a mask at one half as SVG path data, in a box of 100 x 100 whatever the mask's proportions.

    Marching squares with linear interpolation (Lorensen and Cline 1987, in two dimensions) on a coarse copy of the mask.
    An empty mask has an empty path.

    Args:
        mask: ``float [h, w]`` in 0..1.
    """
    field = _coarse(mask)
    rows, columns = field.shape
    return "".join(_subpath(loop, rows, columns) for loop in _loops(_segments(field)))


def _coarse(mask: np.ndarray) -> np.ndarray:
    """The mask on a grid of at most ``_GRID``, with a border of zeros that closes every contour."""
    height, width = mask.shape
    scale = min(1.0, _GRID / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(np.rint(np.clip(mask, 0, 1) * 255).astype(np.uint8))
    return np.pad(np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float64) / 255, 1)


def _segments(field: np.ndarray) -> dict[Edge, list[tuple[Edge, Point]]]:
    """For every crossed edge its two neighbours on the contour, each with the neighbour's crossing point."""
    inside = field > 0.5
    mixed = np.argwhere(
        (inside[:-1, :-1] != inside[:-1, 1:]) | (inside[:-1, :-1] != inside[1:, :-1]) | (inside[:-1, :-1] != inside[1:, 1:])
    )
    links: dict[Edge, list[tuple[Edge, Point]]] = {}
    for row, column in mixed.tolist():
        around: list[Edge] = [(row, column, 0), (row, column + 1, 1), (row + 1, column, 0), (row, column, 1)]
        crossed = [edge for edge in around if inside[_ends(edge)[0]] != inside[_ends(edge)[1]]]
        # Where all four are crossed (a saddle), consecutive ones are joined: one of the two right readings.
        for one, other in zip(crossed[::2], crossed[1::2], strict=True):
            links.setdefault(one, []).append((other, _crossing(other, field)))
            links.setdefault(other, []).append((one, _crossing(one, field)))
    return links


def _ends(edge: Edge) -> tuple[tuple[int, int], tuple[int, int]]:
    row, column, down = edge
    return (row, column), (row + down, column + 1 - down)


def _crossing(edge: Edge, field: np.ndarray) -> Point:
    """Where the field passes one half on an edge: ``(x, y)`` in grid units."""
    first, second = _ends(edge)
    share = (0.5 - field[first]) / (field[second] - field[first])
    return first[1] + share * (1 - edge[2]), first[0] + share * edge[2]


def _loops(links: dict[Edge, list[tuple[Edge, Point]]]) -> list[list[Point]]:
    loops = []
    left = dict(links)
    while left:
        start = edge = next(iter(left))
        loop: list[Point] = []
        previous: Edge | None = None
        while edge in left:
            (one, point), (other, other_point) = left.pop(edge)
            following, at = (one, point) if one != previous else (other, other_point)
            loop.append(at)
            previous, edge = edge, following
        assert edge == start, "contours close: the border is outside"
        loops.append(loop)
    return loops


def _subpath(loop: list[Point], rows: int, columns: int) -> str:
    # The border took one cell on each side, and samples sit in the middle of their cells.
    spots = [(100 * (x - 0.5) / (columns - 2), 100 * (y - 0.5) / (rows - 2)) for x, y in loop]
    return "M" + "L".join(f"{min(100.0, max(0.0, x)):.1f} {min(100.0, max(0.0, y)):.1f}" for x, y in spots) + "Z"
