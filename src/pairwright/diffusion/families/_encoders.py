"""What stands around a denoising network and is alike in all families: the autoencoder and CLIP's text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pairwright.diffusion.families._parts import Parts
from pairwright.models import ModelError

PIXELS_AT_ONCE = 8 * 512 * 512
"""Of the autoencoder, whose activations in float32 are the largest thing in memory at 1024 x 1024."""


class Autoencoder:
    """The VAE of a latent diffusion model, loaded when it is first used, always in float32.

    In half precision SDXL's overflows (a repaired one is published), and its error would be part of every latent. Latents
    are ``(z - shift) * scale``, with the posterior's mean for z (Rombach et al. 2022; the shift is SD3's).
    """

    def __init__(self, parts: Parts, multiple: int = 1) -> None:
        self._parts = parts
        self._multiple = multiple
        """The network reads squares of so many latents."""

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its configuration.

        Raises:
            ModelError: latents that are normalised per channel (Playground 2.5), which only an EDM process can train.
        """
        found = self._parts.config("vae")
        if found.get("latents_mean") is not None:
            raise ModelError(
                f"{self._parts.base}: latents with a mean and deviation per channel (Playground 2.5) are not supported"
            )
        return found

    @cached_property
    def network(self) -> Any:
        """The AutoencoderKL of diffusers."""
        from diffusers import AutoencoderKL

        return self._parts.network(AutoencoderKL, "vae", torch.float32, original="first_stage_model.")

    @property
    def factor(self) -> int:
        """Pixels per latent along a side."""
        return int(2 ** (len(self.config["block_out_channels"]) - 1))

    def shape(self, resolution: int) -> tuple[int, int, int]:
        """See :meth:`pairwright.diffusion.families.Family.latent_shape`."""
        least = self.factor * self._multiple
        if resolution % least:
            raise ModelError(f"resolution {resolution} is not a multiple of {least}, which {self._parts.base} needs")
        side = resolution // self.factor
        return int(self.config["latent_channels"]), side, side

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """``[b, 3, h, w]`` in 0..1 -> latents. The network reads -1..1."""
        means = [self.network.encode(part.to(self._parts.device) * 2 - 1).latent_dist.mean for part in _split(pixels, 1)]
        latents: Tensor = (torch.cat(means) - self._shift) * self._scale
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> ``[b, 3, h, w]``, clamped to 0..1."""
        scaled = latents.to(self._parts.device) / self._scale + self._shift
        pixels = torch.cat([self.network.decode(part).sample for part in _split(scaled, self.factor)])
        return (pixels / 2 + 0.5).clamp(0, 1)

    @property
    def _scale(self) -> float:
        return float(self.network.config.scaling_factor)

    @property
    def _shift(self) -> float:
        return float(self.network.config.shift_factor or 0)


def _split(batch: Tensor, factor: int) -> tuple[Tensor, ...]:
    """Parts of a batch that are computed at once."""
    return torch.split(batch, max(1, PIXELS_AT_ONCE // (batch.shape[-1] * batch.shape[-2] * factor**2)))


class TextEncoder:
    """One of CLIP's text encoders with its tokenizer, loaded when it is first used, in float32."""

    def __init__(self, parts: Parts, kind: str, *, number: int = 1, original: str) -> None:
        suffix = "" if number == 1 else f"_{number}"
        self._parts, self._kind, self._original = parts, kind, original
        self._names = (f"tokenizer{suffix}", f"text_encoder{suffix}")

    @cached_property
    def tokenizer(self) -> Any:
        """The CLIPTokenizer of transformers."""
        from transformers import CLIPTokenizer

        return self._parts.tokenizer(CLIPTokenizer, self._names[0])

    @cached_property
    def network(self) -> Any:
        """The encoder: ``CLIPTextModel`` or ``CLIPTextModelWithProjection`` of transformers."""
        import transformers

        return self._parts.network(getattr(transformers, self._kind), self._names[1], torch.float32, original=self._original)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Any:
        """The output with all hidden states. Prompts are padded to the tokenizer's length (77), or cut there."""
        length = self.tokenizer.model_max_length
        tokens = self.tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return self.network(tokens.input_ids.to(self._parts.device), output_hidden_states=True)
