"""Stable Diffusion 1.x: one CLIP text encoder, a UNet, noise or v-prediction.

Rombach et al. 2022 (arXiv 2112.10752). The safety checker is never loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pairwright import runtime, state_dicts, weights
from pairwright.diffusion.families import Condition
from pairwright.diffusion.processes import Ddpm
from pairwright.models import ModelError

_WEIGHTS = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "*-of-*.safetensors",
    "*.safetensors.index.json",
    "config.json",
)
PATTERNS = (
    "model_index.json",
    "scheduler/*",
    "tokenizer/*",
    *(f"{part}/{name}" for part in ("text_encoder", "unet", "vae") for name in _WEIGHTS),
)
"""The files of a hub repository that are read: safetensors only, no half-precision or EMA duplicates."""


def load(base: str, *, dtype: runtime.Dtype, device: torch.device) -> Sd15:
    """The model in a diffusers folder or hub repository.

    Raises:
        WeightsError: it is not there.
        ModelError: it is a single file.
    """
    folder = weights.locate(base, patterns=PATTERNS)
    if not folder.is_dir():
        raise ModelError(f"{folder} is a single file; give a folder in diffusers' layout")
    return Sd15(base, folder, runtime.dtype(dtype), device)


class Sd15:
    """Stable Diffusion 1.x in diffusers' layout. The autoencoder and the text encoder run in float32, the UNet in ``dtype``."""

    name = "sd15"
    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    lora_prefix = "unet"
    architecture = "stable-diffusion-v1"

    def __init__(self, base: str, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
        self.base = base
        self.device = device
        self._folder = folder
        self._dtype = dtype

    @cached_property
    def network(self) -> nn.Module:
        """The UNet, frozen, in ``dtype``."""
        from diffusers import UNet2DConditionModel

        network: nn.Module = self._part(UNet2DConditionModel, "unet", self._dtype).to(memory_format=self._layout)
        return network

    @property
    def _layout(self) -> torch.memory_format:
        # Tensor cores read channels last; on CPUs it was measured to gain nothing.
        return torch.channels_last if self.device.type == "cuda" else torch.contiguous_format

    @cached_property
    def _vae(self) -> Any:
        from diffusers import AutoencoderKL

        return self._part(AutoencoderKL, "vae", torch.float32)

    @cached_property
    def _text_encoder(self) -> Any:
        from transformers import CLIPTextModel

        return self._part(CLIPTextModel, "text_encoder", torch.float32)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(self._folder / "tokenizer", local_files_only=True)

    @cached_property
    def process(self) -> Ddpm:
        """The noise schedule that the scheduler's configuration names."""
        return Ddpm.from_config(self.scheduler().config)

    def _part(self, kind: Any, name: str, dtype: torch.dtype) -> Any:
        part = state_dicts.pretrained(kind, self._folder / name)
        with state_dicts.quietly():  # diffusers warns of casting layers that must stay float32, also where it has none
            part = part.to(self.device, dtype)
        return part.requires_grad_(requires_grad=False)

    def scheduler(self) -> Any:
        """See :class:`Family`."""
        import json

        import diffusers

        config = json.loads((self._folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
        return getattr(diffusers, config["_class_name"]).from_config(config)

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """See :class:`Family`."""
        factor = 2 ** (len(self._vae_config["block_out_channels"]) - 1)
        if resolution % factor:
            raise ModelError(f"resolution {resolution} is not a multiple of {factor}, which the autoencoder of {self.base} needs")
        side = resolution // factor
        return int(self._vae_config["latent_channels"]), side, side

    @cached_property
    def _vae_config(self) -> dict[str, Any]:
        from diffusers import AutoencoderKL

        config: dict[str, Any] = AutoencoderKL.load_config(self._folder / "vae", local_files_only=True)
        return config

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """See :class:`Family`. The autoencoder reads -1..1."""
        posterior = self._vae.encode(pixels.to(self.device) * 2 - 1).latent_dist
        latents: Tensor = posterior.mean * self._vae.config.scaling_factor
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """See :class:`Family`."""
        pixels: Tensor = self._vae.decode(latents.to(self.device) / self._vae.config.scaling_factor).sample
        return (pixels / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> Condition:
        """``states``: the text encoder's last hidden states, ``[b, tokens, width]`` float32."""
        tokens = self._tokenizer(
            list(prompts), padding="max_length", max_length=self._tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        return Condition({"states": self._text_encoder(tokens.input_ids.to(self.device))[0]})

    def predict(self, latents: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """See :class:`Family`; ``t`` is int64 in 0..999."""
        states = condition.tensors["states"].to(self.device, self._dtype)
        inputs = latents.to(self.device, self._dtype, memory_format=self._layout)
        with runtime.autocast(self.device, self._dtype):
            prediction: Tensor = self.network(inputs, t.to(self.device), encoder_hidden_states=states, return_dict=False)[0]
        return prediction.float()
