"""CLIPScore: how well a picture fits its prompt, by the cosine of CLIP-L/14, in one of three published forms.

Hessel et al. 2021, "CLIPScore: A Reference-free Evaluation Metric for Image Captioning", arXiv 2104.08718, and what others
call by that name. They are different numbers, so the variant is in the column's name:

- ``percent``: ``100 * max(cosine, 0)``, torchmetrics' and most tables';
- ``cosine``: the bare cosine;
- ``hessel``: ``2.5 * max(cosine, 0)`` with the words "A photo depicts " before the prompt, equation 1 of the paper. The
  paper's own network is ViT-B/32: for its numbers give that as the model.

Higher is better. The text is cut at 77 tokens. It says little about how good a picture looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from pairwright import runtime
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt
from pairwright.rewards import _batches, _clip

PROCESSOR = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"

Variant = Literal["percent", "cosine", "hessel"]


@dataclass(frozen=True)
class Form:
    """One published form of the score."""

    unit: str
    value: Callable[[float], float]
    """Of the cosine."""
    prefix: str = ""
    """What stands before the prompt."""


FORMS: Mapping[Variant, Form] = {
    "percent": Form("100 * max(cosine, 0)", lambda cosine: 100 * max(cosine, 0.0)),
    "cosine": Form("cosine", lambda cosine: cosine),
    "hessel": Form(
        "2.5 * max(cosine, 0), 'A photo depicts ' before the prompt", lambda cosine: 2.5 * max(cosine, 0.0), "A photo depicts "
    ),
}


def load(
    *,
    model: str = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41",
    variant: Variant = "percent",
    processor: str | None = None,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 32,
) -> ClipScore:
    """CLIPScore from a ``CLIPModel`` in transformers' layout.

    Args:
        model: the weights (see :mod:`pairwright.weights`).
        variant: which of the published forms; see the module.
        processor: whose tokenizer is used; default: the model's own, else `PROCESSOR`'s.
        dtype: number format of the network; projections and the product are float32.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit.
    """
    clip = _clip.load(model, processor, PROCESSOR, dtype=dtype, device=device, original=True)
    return ClipScore(clip, FORMS[variant], (Column(f"clipscore_{variant}", FORMS[variant].unit),), batch_size)


@dataclass(frozen=True)
class ClipScore:
    """Scores a picture with its prompt. Column ``clipscore_<variant>``."""

    clip: _clip.Clip
    form: Form
    columns: tuple[Column, ...]
    batch_size: int = 32

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, self.batch_size, self._rows)

    def _rows(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        cosines = self.clip.cosines(images, [self.form.prefix + text for text in texts])
        return [(self.form.value(cosine),) for cosine in cosines]
