"""Stable Diffusion 3.5 Medium: three text encoders, a multimodal diffusion transformer, a rectified flow.

Esser et al. 2024 (arXiv 2403.03206). Stable Diffusion 3 and 3.5 Large have the same layout and load too.

**T5** (4.7 billion parameters, the third text encoder) may be left out, as the paper and diffusers allow: save the pipeline
without it (``text_encoder_3=None``), so that ``model_index.json`` has ``[null, null]`` there. Its states are zeros then.
It runs in the number format that it is stored in (float16 as published: half of the 19 GB of float32).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pairwright import runtime, single_files
from pairwright.diffusion.families import Condition, _encoders, _parts
from pairwright.diffusion.processes import RectifiedFlow

T5_TOKENS = 256
"""Length to which T5's tokens are padded or cut: diffusers' default, and the training's."""


def load(base: str, *, dtype: runtime.Dtype, device: torch.device) -> Sd35:
    """The model in a diffusers folder, a hub repository or a single file.

    Raises:
        WeightsError: it is not there.
        SingleFileError: a single file of another family.
    """
    parts = _parts.locate(base, Sd35.name, device, ("text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "vae"))
    return Sd35(parts, runtime.working_dtype(dtype, device))


class Sd35:
    """Stable Diffusion 3.5. The autoencoder and CLIP run in float32, T5 as it is stored, the transformer in ``dtype``."""

    name = "sd35"
    lora_targets: tuple[str, ...] = tuple(
        f"attn.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    )
    lora_prefix = "transformer"
    architecture = "stable-diffusion-v3.5-medium"

    def __init__(self, parts: _parts.Parts, dtype: torch.dtype) -> None:
        self.base = parts.base
        self.device = parts.device
        self._parts = parts
        self._dtype = dtype
        self._vae = _encoders.Autoencoder(parts, multiple=2)
        self._clips = tuple(
            _encoders.TextEncoder(parts, "CLIPTextModelWithProjection", number=number, original=f"text_encoders.{name}.")
            for number, name in ((1, "clip_l"), (2, "clip_g"))
        )

    @cached_property
    def network(self) -> nn.Module:
        """The transformer, frozen, in ``dtype``."""
        from diffusers import SD3Transformer2DModel

        network: nn.Module = self._parts.network(SD3Transformer2DModel, "transformer", self._dtype, single_files.NETWORK)
        return network

    @cached_property
    def process(self) -> RectifiedFlow:
        """The flow with the shift that the scheduler's configuration names."""
        return RectifiedFlow.from_config(self.scheduler().config)

    def scheduler(self) -> Any:
        """See :class:`Family`."""
        return self._parts.scheduler()

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """See :class:`Family`. The transformer reads patches of 2 x 2 latents."""
        return self._vae.shape(resolution)

    def encode(self, pixels: Tensor) -> Tensor:
        """See :class:`Family`."""
        return self._vae.encode(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        """See :class:`Family`."""
        return self._vae.decode(latents)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> Condition:
        """What each text encoder says of each prompt.

        ``clip`` ``[b, 77, 2048]`` float32: both CLIPs' last hidden states but one; ``pooled`` ``[b, 2048]`` float32: their
        projections; ``t5`` ``[b, 256, 4096]`` in T5's number format, absent where T5 is. They are put together in
        :meth:`predict`: padded as the transformer reads them, a cached caption would take twice the room.
        """
        encoded = [clip(prompts) for clip in self._clips]
        tensors = {
            "clip": torch.cat([each.hidden_states[-2] for each in encoded], dim=-1),
            "pooled": torch.cat([each.text_embeds for each in encoded], dim=-1),
        }
        if self._parts.has("text_encoder_3"):
            tokens = self._t5_tokenizer(
                list(prompts), padding="max_length", max_length=T5_TOKENS, truncation=True, return_tensors="pt"
            )
            tensors["t5"] = self._t5(tokens.input_ids.to(self.device))[0]
        return Condition(tensors)

    def predict(self, latents: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The velocity, see :class:`Family`; ``t`` is 1000 times sigma."""
        with runtime.autocast(self.device, self._dtype):
            prediction: Tensor = self.network(
                latents.to(self.device, self._dtype),
                timestep=t.to(self.device),
                encoder_hidden_states=self._states(condition),
                pooled_projections=condition.tensors["pooled"].to(self.device, self._dtype),
                return_dict=False,
            )[0]
        return prediction.float()

    def _states(self, condition: Condition) -> Tensor:
        """``[b, 77 + 256, 4096]``: CLIP's states, padded with zeros, and T5's, or zeros for them."""
        clip = condition.tensors["clip"].to(self.device, self._dtype)
        width = self._width
        t5 = condition.tensors.get("t5")
        long = clip.new_zeros(len(clip), T5_TOKENS, width) if t5 is None else t5.to(self.device, self._dtype)
        return torch.cat([functional.pad(clip, (0, width - clip.shape[-1])), long], dim=1)

    @cached_property
    def _width(self) -> int:
        return int(self._parts.config("transformer")["joint_attention_dim"])

    @cached_property
    def _t5_tokenizer(self) -> Any:
        from transformers import T5TokenizerFast

        return self._parts.tokenizer(T5TokenizerFast, "tokenizer_3")

    @cached_property
    def _t5(self) -> Any:
        from transformers import T5EncoderModel

        return self._parts.network(T5EncoderModel, "text_encoder_3", None, original="text_encoders.t5xxl.")
