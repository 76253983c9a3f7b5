"""Pairs of random pictures in a store, as ``curate`` leaves them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pairwright import images, tables
from pairwright.records import Pair, Picture
from pairwright.store import Node, Store


def write_pairs(store: Store, count: int = 6, *, size: int = 32, seed: int = 0, captions: int = 3) -> Node:
    """A finished node of ``count`` pairs with ``captions`` distinct captions; losers are darkened winners."""
    node = store.node("curate", {"miniature": [count, size, seed, captions]})
    random = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
        winner, loser = _picture(pixels), _picture(pixels // 2)
        rows.append(tables.pair_row(Pair(f"pair{index}", f"flower {index % captions}", winner, loser)))
    node.write(0, rows, tables.PAIRS)
    node.finish(pairs=count)
    return node


def _picture(pixels: np.ndarray) -> Picture:
    data = images.encode(Image.fromarray(pixels))
    return Picture(images.content_id(data), data)
