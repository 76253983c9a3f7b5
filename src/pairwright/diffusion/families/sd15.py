"""Stable Diffusion 1.x: one CLIP text encoder, a UNet, noise or v-prediction.

Rombach et al. 2022 (arXiv 2112.10752). The safety checker is never loaded.
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


def load(base: str, *, dtype: runtime.Dtype, device: torch.device) -> Sd15:
    """The model in a diffusers folder, a hub repository or a single file.

    Raises:
        WeightsError: it is not there.
        SingleFileError: a single file of another family.
    """
    parts = _parts.locate(base, Sd15.name, device, ("text_encoder", "unet", "vae"))
    return Sd15(parts, runtime.working_dtype(dtype, device))


class Sd15:
    """Stable Diffusion 1.x. The autoencoder and the text encoder run in float32, the UNet in ``dtype``."""

    name = "sd15"
    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    lora_prefix = "unet"
    architecture = "stable-diffusion-v1"

    def __init__(self, parts: _parts.Parts, dtype: torch.dtype) -> None:
        self.base = parts.base
        self.device = parts.device
        self._parts = parts
        self._dtype = dtype
        self._vae = _encoders.Autoencoder(parts)
        self._text = _encoders.TextEncoder(parts, "CLIPTextModel", original="cond_stage_model.")

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

    def condition(self, prompts: Sequence[str]) -> Condition:
        """``states``: the text encoder's last hidden states, ``[b, 77, 768]`` float32."""
        return Condition({"states": self._text(prompts).last_hidden_state})

    def predict(self, latents: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See :class:`Family`; ``t`` is in 0..999."""
        states = condition.tensors["states"].to(self.device, self._dtype)
        inputs = latents.to(self.device, self._dtype, memory_format=_unets.layout(self.device))
        with runtime.autocast(self.device, self._dtype):
            prediction: Tensor = self.network(inputs, t.to(self.device), encoder_hidden_states=states, return_dict=False)[0]
        return prediction.float()
