"""Diversity: how much the pictures of one prompt differ from each other.

A model that makes one good picture again and again scores well everywhere else. Diversity is the mean distance between all pairs
of a prompt's pictures, and one number per prompt. Two kinds of distance, whose numbers have nothing to do with each other:

- ``pixels``: the root mean squared difference of 8 x 8 thumbnails, 0..1. It needs no weights and sees layout and colour.
- a reward's name: 1 - cosine of its network's image features (PickScore, CLIPScore, ...). It sees content.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from pairwright import options, resolve, tables
from pairwright.errors import Explained
from pairwright.progress import SILENT, Progress
from pairwright.records import Column
from pairwright.store import Node, Store

VERB = "diversity"
VERSION = 1
PIXELS = "pixels"
SIDE = 8
"""Of a thumbnail, in pixels."""

Features = Callable[[Sequence[Image.Image]], np.ndarray]
"""RGB pictures -> ``float [b, d]``, scaled so that half the squared distance (or its root) is what is meant."""


class DiversityError(Explained, ValueError):
    """A diversity that cannot be measured; the message says why."""


def column(by: str) -> Column:
    """What is reported."""
    unit = f"RMS difference of {SIDE} x {SIDE} thumbnails, 0..1" if by == PIXELS else f"1 - cosine of {by}'s image features"
    return Column("diversity", unit)


def measure(
    store: Store,
    pictures: Node,
    by: options.Plugin | None,
    *,
    batch: int = 32,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Node:
    """The diversity of every prompt of a result of ``pictures`` that has at least two: rows ``prompt``, ``diversity``.

    Args:
        store: where it is kept.
        pictures: what is measured.
        by: the reward whose image features are compared; None: thumbnails.
        batch: pictures per forward.
        device: see :func:`pairwright.runtime.device`.
        progress: whom to tell.

    Raises:
        DiversityError: no prompt has two pictures, or the reward has no image features.
    """
    meaning = {"version": VERSION, "by": resolve.meaning("rewards", by) if by else PIXELS}
    node = store.node(VERB, meaning, [pictures.fingerprint])
    if node.complete:
        return node
    see = thumbnails if by is None else _features(by, device)
    distances = root_mean_square if by is None else one_minus_cosine
    seen: dict[str, list[np.ndarray]] = defaultdict(list)
    with progress.task("diversity", pictures.read(columns=["index"]).num_rows) as task:
        left = pictures.rows()
        while rows := list(itertools.islice(left, batch)):
            found = see([tables.picture_of(row).image for row in rows])
            for row, features in zip(rows, found, strict=True):
                seen[row["prompt_id"] or row["caption"]].append(features)
            task.advance(len(rows))
    measured = {prompt: distances(np.stack(each)) for prompt, each in seen.items() if len(each) > 1}
    if not measured:
        raise DiversityError("diversity compares pictures of one prompt: make at least 2 per prompt, or leave diversity out")
    node.write(0, [{"prompt": prompt, "diversity": value} for prompt, value in measured.items()], tables.DIVERSITY)
    node.finish(prompts=len(measured))
    return node


def thumbnails(images: Sequence[Image.Image]) -> np.ndarray:
    """``float64 [b, 192]``: means of 8 x 8 fields of the picture, RGB in 0..1."""
    small = [image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX) for image in images]
    return np.stack([np.asarray(each, dtype=np.float64).ravel() / 255 for each in small])


def root_mean_square(features: np.ndarray) -> float:
    """The mean over all pairs of rows of the root of their mean squared difference: ``float [n, d]`` -> a number."""
    pairs = itertools.combinations(features, 2)
    return float(np.mean([np.sqrt(np.mean((one - other) ** 2)) for one, other in pairs]))


def one_minus_cosine(features: np.ndarray) -> float:
    """The mean over all pairs of rows of 1 - cosine; rows ``[n, d]`` are unit vectors."""
    cosines = features @ features.T
    return float(np.mean(1 - cosines[np.triu_indices(len(features), 1)]))


def _features(by: options.Plugin, device: str) -> Features:
    clip = getattr(resolve.build("rewards", by, device), "clip", None)
    if clip is None:
        raise DiversityError(
            f"diversity = {by.name!r}: that reward has no image features; name pickscore or clipscore, or 'pixels'"
        )

    def see(images: Sequence[Image.Image]) -> np.ndarray:
        found: np.ndarray = clip.image_features(images).float().cpu().numpy()
        return found.astype(np.float64)

    return see
