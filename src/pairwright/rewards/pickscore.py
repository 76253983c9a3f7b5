"""PickScore: how well people would like a picture for its prompt (CLIP-H tuned on Pick-a-Pic).

Kirstain et al. 2023, "Pick-a-Pic: An Open Dataset of User Preferences for Text-to-Image Generation", arXiv 2305.01569.
The published score is ``exp(logit_scale) * cosine`` and the published ``logit_scale`` is ln 100, so that the column is
``100 * cosine`` whatever checkpoint is loaded: about 18 to 24 for generated pictures. Some publications divide by 26;
a gap of 0.02 there is 0.52 here. The text goes to the tokenizer untouched and is cut at 77 tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from pairwright import runtime
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt
from pairwright.rewards import _batches, _clip

SCALE = 100.0
PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
"""Of the CLIP that PickScore was tuned from; the authors' own example takes both from there."""


def load(
    *,
    model: str = "yuvalkirstain/PickScore_v1@a4e4367c6dfa7288a00c550414478f865b875800",
    processor: str | None = None,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 32,
) -> PickScore:
    """PickScore from a ``CLIPModel`` in transformers' layout.

    Args:
        model: the weights (see :mod:`pairwright.weights`).
        processor: whose tokenizer and preprocessing are used; default: those in the model's own folder, else `PROCESSOR`.
        dtype: number format of the network; projections and the product are float32.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit.
    """
    clip = _clip.load(model, processor, PROCESSOR, dtype=dtype, device=device)
    if abs(clip.scale - SCALE) > 0.01 * SCALE:
        logging.getLogger(__name__).info("%s has exp(logit_scale) = %.2f; the column is %g * cosine", model, clip.scale, SCALE)
    return PickScore(clip, batch_size)


@dataclass(frozen=True)
class PickScore:
    """Scores a picture with its prompt. Column ``pickscore``, ``100 * cosine``."""

    clip: _clip.Clip
    batch_size: int = 32
    columns: tuple[Column, ...] = (Column("pickscore", "100 * cosine"),)

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, self.batch_size, self._rows)

    def _rows(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        return [(SCALE * cosine,) for cosine in self.clip.cosines(images, texts)]
