"""Stable Diffusion XL: two CLIP text encoders, a UNet that is also told sizes, noise or v-prediction.

Podell et al. 2023 (arXiv 2307.01952). Of its two stages the base alone; no watermark is put on pictures.

**Size and crop** (section 2.2 there). The UNet reads the height and width that a picture had before it was made smaller,
the top left corner of its crop, and the height and width that are wanted. Here these are the picture's own size, (0, 0),
and its own size, in training as in sampling: the published Diffusion-DPO code's choice, and diffusers' pipeline's default.
They follow from the latents' shape, so that cached captions serve every resolution. (The real size of a photograph before
curation's crop could be told instead; then policy and reference would be asked for pictures that look enlarged or cropped.)

**The empty prompt** is zeros where the model's index says ``force_zeros_for_empty_prompt``, as it was in training and as
diffusers' pipeline has it without a negative prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from pairwright import runtime
from pairwright.diffusion.families import Condition, _encoders, _parts, _unets
from pairwright.diffusion.processes import Ddpm


def load(base: str, *, dtype: runtime.Dtype, device: torch.device) -> Sdxl:
    """The model in a diffusers folder, a hub repository or a single file.

    Raises:
        WeightsError: it is not there.
        SingleFileError: a single file of another family.
    """
    parts = _parts.locate(base, Sdxl.name, device, ("text_encoder", "text_encoder_2", "unet", "vae"))
    return Sdxl(parts, runtime.working_dtype(dtype, device))


class Sdxl:
    """Stable Diffusion XL. The autoencoder and the text encoders run in float32, the UNet in ``dtype``."""

    name = "sdxl"
    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    lora_prefix = "unet"
    architecture = "stable-diffusion-xl-v1-base"

    def __init__(self, parts: _parts.Parts, dtype: torch.dtype) -> None:
        self.base = parts.base
        self.device = parts.device
        self._parts = parts
        self._dtype = dtype
        self._vae = _encoders.Autoencoder(parts)
        self._texts = (
            _encoders.TextEncoder(parts, "CLIPTextModel", original="conditioner.embedders.0."),
            _encoders.TextEncoder(parts, "CLIPTextModelWithProjection", number=2, original="conditioner.embedders.1."),
        )

    @cached_property
    def network(self) -> nn.Module:
        """The UNet, frozen, in ``dtype``."""
        network: nn.Module = _unets.frozen(self._parts, self._dtype)
        return network

    @cached_property
    def process(self) -> Ddpm:
        """The noise schedule that the scheduler's configuration names."""
        return Ddpm.from_config(self.scheduler().config)

    def scheduler(self) -> Any:
        """See :class:`Family`."""
        return self._parts.scheduler()

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """See :class:`Family`."""
        return self._vae.shape(resolution)

    def encode(self, pixels: Tensor) -> Tensor:
        """See :class:`Family`."""
        return self._vae.encode(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        """See :class:`Family`."""
        return self._vae.decode(latents)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> Condition:
        """``states`` ``[b, 77, 2048]``: both encoders' last hidden states but one; ``pooled`` ``[b, 1280]``; float32."""
        first, second = (encode(prompts) for encode in self._texts)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        pooled = second.text_embeds
        if self._parts.index.get("force_zeros_for_empty_prompt", True):
            told = torch.tensor([bool(prompt) for prompt in prompts], device=states.device)
            states, pooled = states * told[:, None, None], pooled * told[:, None]
        return Condition({"states": states, "pooled": pooled})

    def predict(self, latents: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See :class:`Family`; ``t`` is in 0..999."""
        told = {name: value.to(self.device, self._dtype) for name, value in condition.tensors.items()}
        inputs = latents.to(self.device, self._dtype, memory_format=_unets.layout(self.device))
        added = {"text_embeds": told["pooled"], "time_ids": self._sizes(latents)}
        with runtime.autocast(self.device, self._dtype):
            prediction: Tensor = self.network(
                inputs, t.to(self.device), encoder_hidden_states=told["states"], added_cond_kwargs=added, return_dict=False
            )[0]
        return prediction.float()

    def _sizes(self, latents: Tensor) -> Tensor:
        """``[b, 6]`` float32 pixels: original height and width, top and left of the crop, wanted height and width."""
        height, width = (side * self._vae.factor for side in latents.shape[-2:])
        return torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32, device=self.device).expand(len(latents), 6)
