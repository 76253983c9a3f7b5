"""Pictures and prompts that may be put to a vision-language model, and those that may not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from pairwright.protocols import Row
from pairwright.records import Unscored
from pairwright.vlms import asking, qwen2_vl

Score = Callable[[list[Image.Image], list[str]], Sequence[Row]]


def scored(images: list[Image.Image], texts: list[str], reserved: frozenset[str], score: Score) -> list[Row]:
    """One row per picture; what must not be put to the model is :class:`Unscored` and takes no place in the batch."""
    reasons = [
        asking.refused(asking.Question(text, (image,)), reserved, qwen2_vl.LONGEST)
        for image, text in zip(images, texts, strict=True)
    ]
    left = [place for place, reason in enumerate(reasons) if not reason]
    rows = iter(score([images[place] for place in left], [texts[place] for place in left]) if left else ())
    return [Unscored(reason) if reason else next(rows) for reason in reasons]
