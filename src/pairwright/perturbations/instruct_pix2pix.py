"""Instruct_pix2pix: the picture changed as an instruction says, by InstructPix2Pix.

Brooks et al. 2023, "InstructPix2Pix: Learning to Follow Image Editing Instructions" (arXiv 2211.09800): a Stable Diffusion whose
UNet reads the original beside the noise, guided by the text and by the picture (equation 3 there). The baseline editor of "Rich
Preference Optimization". Text: the instruction alone. Text guidance 7.5 and picture guidance 1.5 are the authors' defaults.

Texts longer than CLIP's 77 tokens are read in pieces (see ``_long_texts``). Everything random comes from a generator seeded with
the request's seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from pairwright import runtime, weights
from pairwright.perturbations import _instructed, _pipelines
from pairwright.perturbations._long_texts import LongTexts
from pairwright.records import Edit, Edited, Failed


def load(
    *,
    model: str = "timbrooks/instruct-pix2pix",
    steps: PositiveInt = 50,
    guidance: float = 7.5,
    image_guidance: float = 1.5,
    sampler: _pipelines.Sampler = "model",
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: PositiveInt = 8,
) -> InstructPix2Pix:
    """A model in InstructPix2Pix's layout.

    Args:
        model: folder or hub id; a UNet of 8 input channels.
        steps: sampling steps.
        guidance: how much the text counts; 1: no guidance of either kind.
        image_guidance: how much the original counts, at least 1.
        sampler: ``model`` (the scheduler that comes with it), ``ddim`` or ``dpmsolver++``.
        dtype: number format of all networks.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward, of one size.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or cannot be read, or another kind of model.
        ValueError: ``image_guidance`` out of range.
    """
    if image_guidance < 1:
        # diffusers would quietly do without the text's guidance as well.
        raise ValueError(f"image_guidance={image_guidance}: it must be at least 1")
    pipeline = _pipelines.load("StableDiffusionInstructPix2PixPipeline", model, dtype=dtype, device=device, sampler=sampler)
    channels = int(pipeline.pipe.unet.config.in_channels)
    if channels != 8:
        raise weights.WeightsError(f"{model}: its UNet reads {channels} channels; InstructPix2Pix's reads 8")
    texts = LongTexts(pipeline.pipe, pipeline.device)
    return InstructPix2Pix(pipeline, texts, steps, guidance, image_guidance, batch_size)


@dataclass(frozen=True)
class InstructPix2Pix:
    """Changes pictures as their instructions say; see :class:`pairwright.protocols.Perturbation`."""

    pipeline: _pipelines.TextPipeline
    texts: LongTexts
    steps: int
    guidance: float
    image_guidance: float
    batch_size: int
    reads_instructions: ClassVar[bool] = True

    def edit(self, edits: Sequence[Edit]) -> list[Edited | Failed]:
        """One picture per request, in order, of the size of the original; caption and mask play no part."""
        return _instructed.edited(edits, _instructed.instruction, self._paint, self.pipeline, self.texts, self.batch_size)

    @torch.inference_mode()
    def _paint(self, pixels: Tensor, texts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        output: Tensor = self.pipeline.pipe(
            **self.texts.keywords(texts, guided=self.guidance > 1),
            image=pixels,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            image_guidance_scale=self.image_guidance,
            generator=_pipelines.generators(seeds),
            output_type="pt",
        ).images
        return output
