"""Realism: whether a picture looks more like a photograph than like computer graphics (PickScore with two texts).

The semantic preference of Shen et al. 2025 ("Directly Aligning the Full Diffusion Trajectory with Fine-Grained Human
Preference", arXiv 2509.06942), "SGP-PickScore"::

    s("Realistic photo. " + prompt) - s("CG render. " + prompt),     s = 100 * cosine

Above 0 is nearer to the photograph. The picture is seen once for both texts. Long prompts
are cut at 77 tokens, in both alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from pairwright import runtime
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt
from pairwright.rewards import _batches, _clip

SCALE = 100.0
REAL, RENDERED = "Realistic photo. ", "CG render. "
PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
"""As PickScore's, so that both share one network."""


def load(
    *,
    model: str = "yuvalkirstain/PickScore_v1@a4e4367c6dfa7288a00c550414478f865b875800",
    processor: str | None = None,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 32,
) -> Realism:
    """Realism from PickScore's weights.

    Args:
        model: PickScore's weights (see :mod:`pairwright.weights`).
        processor: whose tokenizer and preprocessing are used; default: those in the model's own folder, else `PROCESSOR`.
        dtype: number format of the network; projections and products are float32.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit.
    """
    return Realism(_clip.load(model, processor, PROCESSOR, dtype=dtype, device=device), batch_size)


@dataclass(frozen=True)
class Realism:
    """Scores a picture with its prompt. Column ``realism``, a difference of two PickScores."""

    clip: _clip.Clip
    batch_size: int = 32
    columns: tuple[Column, ...] = (
        Column("realism", "100 * (cosine with 'Realistic photo. <prompt>' - cosine with 'CG render. <prompt>')"),
    )

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, self.batch_size, self._rows)

    def _rows(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        real = self.clip.cosines(images, [REAL + text for text in texts])
        # The second time the pictures' features are remembered.
        rendered = self.clip.cosines(images, [RENDERED + text for text in texts])
        return [(SCALE * (one - other),) for one, other in zip(real, rendered, strict=True)]
