"""Text2image: a new picture from the caption, by Stable Diffusion; nothing of the photograph is kept.

The variant without a mask in arXiv 2605.19839, Table 4: SD-1.5, here at its usual 50 steps and guidance 7.5. In a recipe, say
``saliency = false`` with it: then no region is looked for and nothing of the photograph is pasted back. The initial noise
comes from a generator seeded with the request's seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import torch
from pydantic import PositiveInt
from torch import Tensor

from pairwright import runtime, weights
from pairwright.perturbations import _pipelines, _regions, _step_cache
from pairwright.records import Edit, Edited, Failed


def load(
    *,
    model: str = "stable-diffusion-v1-5/stable-diffusion-v1-5",
    steps: PositiveInt = 50,
    guidance: float = 7.5,
    sampler: _pipelines.Sampler = "model",
    cache_every: PositiveInt = 1,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: PositiveInt = 8,
) -> Text2Image:
    """A text-to-image model in Stable Diffusion's layout.

    Args:
        model: folder or hub id; a UNet of 4 input channels.
        steps: sampling steps.
        guidance: scale of classifier-free guidance; 1: none.
        sampler: ``model`` (the scheduler that comes with it), ``ddim`` or ``dpmsolver++``.
        cache_every: as of :func:`pairwright.perturbations.inpaint.load`.
        dtype: number format of all networks.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward, of one size.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or cannot be read, or an inpainting model.
    """
    pipeline = _pipelines.load("StableDiffusionPipeline", model, dtype=dtype, device=device, sampler=sampler)
    channels = int(pipeline.pipe.unet.config.in_channels)
    if channels != 4:
        raise weights.WeightsError(f"{model}: its UNet reads {channels} channels; text to image needs one of 4")
    return Text2Image(pipeline, steps, guidance, batch_size, cache_every)


@dataclass(frozen=True)
class Text2Image:
    """Replaces pictures by what their captions give; see :class:`pairwright.protocols.Perturbation`."""

    pipeline: _pipelines.TextPipeline
    steps: int
    guidance: float
    batch_size: int
    cache_every: int = 1

    def edit(self, edits: Sequence[Edit]) -> list[Edited | Failed]:
        """One picture per request, in order, of the size of the original; a mask plays no part."""
        factor = lcm(self.pipeline.factor, 8)  # diffusers' pipeline asks for multiples of 8 whatever the autoencoder
        return _regions.repainted(edits, self._paint, factor=factor, batch_size=self.batch_size, masked=False)

    @torch.inference_mode()
    def _paint(self, pixels: Tensor, _: Tensor, edits: Sequence[Edit]) -> Tensor:
        texts = self.pipeline.embed([each.caption for each in edits])
        empty = self.pipeline.embed([""]).expand_as(texts) if self.guidance > 1 else None
        with _step_cache.every(self.pipeline.pipe.unet, self.cache_every):
            output: Tensor = self.pipeline.pipe(
                prompt_embeds=texts,
                negative_prompt_embeds=empty,
                height=pixels.shape[2],
                width=pixels.shape[3],
                num_inference_steps=self.steps,
                guidance_scale=self.guidance,
                generator=_pipelines.generators([each.seed for each in edits]),
                output_type="pt",
            ).images
        return output
