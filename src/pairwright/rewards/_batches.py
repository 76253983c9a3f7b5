"""What every scorer does around its own arithmetic: batches, order, and pictures that cannot be decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from pairwright import images
from pairwright.protocols import Row
from pairwright.records import Picture, Prompt, Unscored

Score = Callable[[list[Image.Image], list[str]], Sequence[Row]]
"""Decoded pictures and the texts of their prompts, at most a batch of each -> one row per picture."""


def score(pictures: Sequence[Picture], prompts: Sequence[Prompt], size: int, rows: Score) -> list[Row]:
    """One row per picture, in order; what cannot be decoded is :class:`Unscored` and takes no place in a batch.

    Args:
        pictures: what is scored.
        prompts: ``prompts[i]`` belongs to ``pictures[i]``.
        size: pictures per call of ``rows``.
        rows: the scorer's own arithmetic.

    Raises:
        ValueError: as many prompts as pictures are needed, and a batch of at least one.
    """
    if len(pictures) != len(prompts):
        raise ValueError(f"{len(pictures)} pictures and {len(prompts)} prompts")
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {size}")
    result: list[Row] = [Unscored("not reached")] * len(pictures)
    for start in range(0, len(pictures), size):
        places: list[int] = []
        decoded: list[Image.Image] = []
        for place in range(start, min(start + size, len(pictures))):
            try:
                decoded.append(pictures[place].image)
                places.append(place)
            except images.DECODING as error:
                result[place] = Unscored(images.undecodable(error))
        if decoded:
            answers = rows(decoded, [prompts[place].text for place in places])
            for place, answer in zip(places, answers, strict=True):
                result[place] = answer
    return result
