"""Pairs whose sides differ in just what a test says, in a finished result of the store."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from pairwright import images, tables
from pairwright.records import Pair, Picture
from pairwright.store import Node, Store

Change = Callable[[Image.Image, int], bytes]
"""A picture and the number of its pair -> the file of that side."""


def png(image: Image.Image, _: int = 0) -> bytes:
    return images.encode(image)


def jpeg(quality: int) -> Change:
    def change(image: Image.Image, _: int) -> bytes:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return stream.getvalue()

    return change


def scene(seed: int, side: int = 40) -> Image.Image:
    """Smooth colours with some grain."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=float)
    return Image.fromarray(np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8))


def write(
    store: Store,
    count: int,
    *,
    winner: Change = png,
    loser: Change = png,
    lineage: Callable[[int], Mapping[str, Any]] = lambda number: {"gap": 0.5 + number},
    caption: Callable[[int], str] = lambda number: f"a scene with the number {number}",
    mask: bool = False,
) -> Node:
    """``count`` pairs of two unlike scenes each, so that whatever differs systematically is what the changes make differ."""
    node = store.node("curate", {"made": [count, repr(winner), repr(loser)]})
    rows = []
    for number in range(count):
        sides = [
            Picture(f"{name}{number:04d}", change(scene(2 * number + place), number))
            for place, (name, change) in enumerate((("w", winner), ("l", loser)))
        ]
        region = np.zeros((40, 40), np.float32)
        region[10:30, 12:28] = 1
        pair = Pair(f"{number:016x}", caption(number), sides[0], sides[1], region if mask else None, lineage(number))
        rows.append(tables.pair_row(pair))
    for shard, start in enumerate(range(0, count, 64)):
        node.write(shard, rows[start : start + 64], tables.PAIRS)
    node.finish(kept=count, funnel=[{"step": "read", "entered": count + 3, "left": 3, "reasons": {"decode": 3}}])
    return node
