"""Inpaint: the masked region of a photograph repainted from its caption by Stable Diffusion's inpainting model.

Defaults are those of arXiv 2605.19839, section on curation: SD-1.5 inpainting, 50 steps, guidance 7.5, strength 1.0, the
caption as prompt. The mask is cut at 0.5 by the pipeline. Everything that is random in a repaint, the initial noise (at
strength 1.0 nothing else) and the sampled latents of the masked photograph, comes from a generator of its own seeded with
the request's seed. What comes back is the pipeline's whole picture, whose kept region carries the autoencoder's error;
pasting the untouched background back is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from pairwright import runtime
from pairwright.perturbations import _pipelines, _regions, _step_cache
from pairwright.records import Edit, Edited, Failed


def load(
    *,
    model: str = "stable-diffusion-v1-5/stable-diffusion-inpainting",
    steps: int = 50,
    guidance: float = 7.5,
    strength: float = 1.0,
    sampler: _pipelines.Sampler = "model",
    crop: NonNegativeFloat | None = None,
    cache_every: PositiveInt = 1,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 8,
) -> Inpaint:
    """An inpainting model in Stable Diffusion's layout.

    Args:
        model: folder or hub id; a UNet of 9 input channels, or of 4 (a base that repaints with its background put back).
        steps: sampling steps.
        guidance: scale of classifier-free guidance; 1: none.
        strength: share of the schedule that is run; 1 starts from pure noise.
        sampler: ``model`` (the scheduler that comes with it), ``ddim`` or ``dpmsolver++``.
        crop: repaint only the mask's surroundings, enlarged to the picture's size: its bounding box, grown by this share of
            itself at each end (0.5 doubles it). Default: the whole picture, as published.
        cache_every: run the whole UNet in every so many steps, and only its outermost layers in between (2 to 5; see
            :mod:`pairwright.perturbations._step_cache`). Faster, and another result. 1: every step, as published.
        dtype: number format of all networks.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward, of one size.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or cannot be read.
        ValueError: options out of range.
    """
    if steps < 1 or batch_size < 1 or not 0 < strength <= 1 or int(steps * strength) < 1:
        raise ValueError(
            f"steps={steps}, strength={strength}, batch_size={batch_size}: at least one step and one picture are needed"
        )
    pipeline = _pipelines.load("StableDiffusionInpaintPipeline", model, dtype=dtype, device=device, sampler=sampler)
    return Inpaint(pipeline, steps, guidance, strength, batch_size, crop, cache_every)


@dataclass(frozen=True)
class Inpaint:
    """Repaints masked regions; see :class:`pairwright.protocols.Perturbation`."""

    pipeline: _pipelines.TextPipeline
    steps: int
    guidance: float
    strength: float
    batch_size: int
    crop: float | None = None
    cache_every: int = 1

    def edit(self, edits: Sequence[Edit]) -> list[Edited | Failed]:
        """One repainted picture per request, in order, of the size of the original.

        Sides that are no multiple of the autoencoder's factor are padded with their edge and cut again.
        """
        return self._repaint(edits) if self.crop is None else _regions.close_up(edits, self.crop, self._repaint)

    def _repaint(self, edits: Sequence[Edit]) -> list[Edited | Failed]:
        return _regions.repainted(edits, self._paint, factor=self.pipeline.factor, batch_size=self.batch_size)

    @torch.inference_mode()
    def _paint(self, pixels: Tensor, masks: Tensor, edits: Sequence[Edit]) -> Tensor:
        texts = self.pipeline.embed([each.caption for each in edits])
        empty = self.pipeline.embed([""]).expand_as(texts) if self.guidance > 1 else None
        with _step_cache.every(self.pipeline.pipe.unet, self.cache_every):
            output: Tensor = self.pipeline.pipe(
                prompt_embeds=texts,
                negative_prompt_embeds=empty,
                image=pixels,
                mask_image=masks,
                height=pixels.shape[2],
                width=pixels.shape[3],
                num_inference_steps=self.steps,
                guidance_scale=self.guidance,
                strength=self.strength,
                generator=_pipelines.generators([each.seed for each in edits]),
                output_type="pt",
            ).images
        return output
