"""Inpaint_sd35: the masked region repainted from the caption by Stable Diffusion 3.5 Medium.

The variant of arXiv 2605.19839, Table 4: guidance 7.0, strength 1; 50 steps are diffusers' default. SD-3.5-M has no inpainting
checkpoint: diffusers' pipeline samples with the base, and after every step puts the kept region back, noised to where the
sampling is (Lugmayr et al. 2022, "RePaint", without its resampling). Everything random comes from a generator seeded with the
request's seed. What comes back carries the autoencoder's error in the kept region; pasting the untouched background back is
the caller's.

Latents are decoded here: diffusers' inpainting pipeline leaves out the autoencoder's shift (as of 0.42), which changes colours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from pairwright import runtime, weights
from pairwright.perturbations import _pipelines, _transformers
from pairwright.records import Edit

T5_TOKENS = 256
FILES = (
    "model_index.json",
    "scheduler/*.json",
    *(f"{part}/*" for part in ("tokenizer", "tokenizer_2", "tokenizer_3", "text_encoder", "text_encoder_2", "text_encoder_3")),
    "transformer/*",
    "vae/*",
)
NETWORKS = {
    "transformer": ("diffusers", "SD3Transformer2DModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModelWithProjection"),
    "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
    "text_encoder_3": ("transformers", "T5EncoderModel"),
}


def load(
    *,
    model: str = "stabilityai/stable-diffusion-3.5-medium",
    steps: PositiveInt = 50,
    guidance: float = 7.0,
    strength: float = 1.0,
    crop: NonNegativeFloat | None = None,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: PositiveInt = 4,
) -> InpaintSd35:
    """Stable Diffusion 3 or 3.5 in diffusers' layout. T5 may be left out there (``text_encoder_3`` null, then its states are 0).

    Args:
        model: folder or hub id.
        steps: sampling steps.
        guidance: scale of classifier-free guidance; 1: none.
        strength: share of the schedule that is run; 1 starts from pure noise.
        crop: as of :func:`pairwright.perturbations.inpaint.load`.
        dtype: number format of all networks.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward, of one size.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or cannot be read.
        ValueError: options out of range.
    """
    _transformers.check(steps, strength)
    folder = weights.locate(model, patterns=FILES)
    index = folder / "model_index.json"
    if not index.is_file():
        raise weights.WeightsError(f"{model} is not a pipeline in Stable Diffusion 3's layout: it has no model_index.json")
    parts = json.loads(index.read_text(encoding="utf-8"))
    absent = {name: None for name in ("text_encoder_3", "tokenizer_3") if parts.get(name, [None])[0] is None}
    pipe, where = _pipelines.assembled("StableDiffusion3InpaintPipeline", folder, {**NETWORKS, **absent}, dtype, device)
    return InpaintSd35(pipe, where, _pipelines.Texts(_encoder(pipe, where)), steps, guidance, strength, batch_size, crop)


class InpaintSd35(_transformers.Repainter):
    """See :class:`pairwright.perturbations._transformers.Repainter`."""

    @torch.inference_mode()
    def _paint(self, pixels: Tensor, masks: Tensor, edits: Sequence[Edit]) -> Tensor:
        states, pooled = self.texts([each.caption for each in edits])
        empty: tuple[Tensor | None, ...] = (None, None)
        if self.guidance > 1:
            empty = tuple(each.expand(len(edits), *each.shape[1:]) for each in self.texts([""]))
        latents = self.pipe(
            prompt_embeds=states,
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=empty[0],
            negative_pooled_prompt_embeds=empty[1],
            image=pixels,
            mask_image=masks,
            height=pixels.shape[2],
            width=pixels.shape[3],
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            strength=self.strength,
            generator=_pipelines.generators([each.seed for each in edits]),
            output_type="latent",
        ).images
        config = self.pipe.vae.config
        decoded: Tensor = self.pipe.vae.decode(latents / config.scaling_factor + config.shift_factor).sample
        return decoded / 2 + 0.5


def _encoder(pipe: Any, device: torch.device) -> Any:
    """One text -> its states ``[n, d]`` and its pooled vector."""

    @torch.inference_mode()
    def encode(text: str) -> tuple[Tensor, Tensor]:
        states, _, pooled, _ = pipe.encode_prompt(
            text, None, None, device=device, do_classifier_free_guidance=False, max_sequence_length=T5_TOKENS
        )
        return states[0], pooled[0]

    return encode
