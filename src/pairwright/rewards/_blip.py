"""ImageReward's network out of its published checkpoint: BLIP's two encoders and a head.

The file holds one dictionary whose keys are those of BLIP's own code; `KEYS` says where each goes in transformers'
modules, and a key without a place is an error. Every size is read from the tensors, so that a smaller network in the same
layout loads through the same code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pairwright import state_dicts
from pairwright.weights import WeightsError

MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the raw rewards over the authors' validation set: what the published score is normalised with."""

DROPPED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.pooler.")
"""In the file because BLIP was pretrained with it; no part of the score."""

KEYS: tuple[tuple[str, str], ...] = (
    (r"blip\.visual_encoder\.cls_token", "vision.embeddings.class_embedding"),
    (r"blip\.visual_encoder\.pos_embed", "vision.embeddings.position_embedding"),
    (r"blip\.visual_encoder\.patch_embed\.proj\.(.+)", r"vision.embeddings.patch_embedding.\1"),
    (r"blip\.visual_encoder\.blocks\.(\d+)\.norm([12])\.(.+)", r"vision.encoder.layers.\1.layer_norm\2.\3"),
    (r"blip\.visual_encoder\.blocks\.(\d+)\.attn\.qkv\.(.+)", r"vision.encoder.layers.\1.self_attn.qkv.\2"),
    (r"blip\.visual_encoder\.blocks\.(\d+)\.attn\.proj\.(.+)", r"vision.encoder.layers.\1.self_attn.projection.\2"),
    (r"blip\.visual_encoder\.blocks\.(\d+)\.mlp\.(fc[12]\..+)", r"vision.encoder.layers.\1.mlp.\2"),
    (r"blip\.visual_encoder\.norm\.(.+)", r"vision.post_layernorm.\1"),
    (r"blip\.text_encoder\.((?:embeddings|encoder)\..+)", r"text.\1"),
    (r"mlp\.layers\.(\d+\..+)", r"head.\1"),
)

_PATTERNS = tuple((re.compile(pattern), target) for pattern, target in KEYS)
_TEXT_DEFAULTS = {"hidden_act": "gelu", "layer_norm_eps": 1e-12}
_VISION_DEFAULTS = {"hidden_act": "gelu", "layer_norm_eps": 1e-6}
_HEAD_WIDTH = 64


class RewardNetwork(nn.Module):
    """BLIP's picture encoder, its text encoder looking at the picture, and a head of plain linear layers."""

    def __init__(self, vision: Any, text: Any, widths: Mapping[int, tuple[int, int]]) -> None:
        from transformers import BlipTextModel, BlipVisionModel

        super().__init__()
        self.vision = BlipVisionModel(vision)
        self.text = BlipTextModel(text, add_pooling_layer=False)
        # Numbered as published, where dropout holds the numbers in between; there is no activation.
        self.head = nn.ModuleDict({str(number): nn.Linear(*sizes) for number, sizes in widths.items()})

    def forward(self, pixels: Tensor, tokens: Tensor, attention: Tensor) -> Tensor:
        """Published scores, ``float32 [b]``.

        Args:
            pixels: ``[b, 3, size, size]``, normalised with CLIP's mean and deviation.
            tokens: ``int64 [b, n]``; the first is [CLS], whose last hidden state is what the head reads.
            attention: ``int64 [b, n]``, 1 where a token is not padding.
        """
        seen = self.vision(pixel_values=pixels).last_hidden_state
        # The configuration says "decoder", which is what builds the cross-attention; the call must not, or the text
        # would be masked causally and [CLS] would see nothing but itself.
        states = self.text(input_ids=tokens, attention_mask=attention, encoder_hidden_states=seen, is_decoder=False)
        raw: Tensor = states.last_hidden_state[:, 0].float()
        for layer in self.head.values():
            raw = layer(raw)
        return (raw[:, 0] - MEAN) / STD


def build(path: Path, folder: Path) -> RewardNetwork:
    """The network in float32, in evaluation mode, on the CPU.

    Args:
        path: ``ImageReward.pt``, or the same dictionary as ``.safetensors``.
        folder: where ``med_config.json`` is and, for networks of another shape than BLIP-large, ``vision_config.json``
            (``num_attention_heads``, ``layer_norm_eps``).

    Raises:
        WeightsError: missing or unexpected keys or other shapes, all of them named.
    """
    state = rename(state_dicts.read(path), str(path))
    try:
        network = RewardNetwork(*_configurations(state, folder))
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{path} is not ImageReward's checkpoint: {error!r}") from error
    state_dicts.fill(network, {name: value.float() for name, value in state.items()}, str(path))
    return network.eval()


def rename(published: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The published dictionary under the names of :class:`RewardNetwork`.

    Raises:
        WeightsError: keys that have no place.
    """
    places = {key: _place(key) for key in published if not key.startswith(DROPPED)}
    state_dicts.complain(what, missing=(), unexpected=[key for key, place in places.items() if place is None])
    return {place: published[key] for key, place in places.items() if place is not None}


def _place(key: str) -> str | None:
    for pattern, target in _PATTERNS:
        match = pattern.fullmatch(key)
        if match:
            return match.expand(target)
    return None


def _configurations(state: Mapping[str, Tensor], folder: Path) -> tuple[Any, Any, dict[int, tuple[int, int]]]:
    from transformers import BlipTextConfig, BlipVisionConfig

    patches = state["vision.embeddings.patch_embedding.weight"]
    width, patch = patches.shape[0], patches.shape[-1]
    side = round((state["vision.embeddings.position_embedding"].shape[1] - 1) ** 0.5)
    given = _VISION_DEFAULTS | {"num_attention_heads": width // _HEAD_WIDTH} | _read(folder / "vision_config.json")
    sizes = {
        "hidden_size": width,
        "patch_size": patch,
        "image_size": side * patch,
        "num_hidden_layers": _count(state, r"vision\.encoder\.layers\.(\d+)\."),
        "intermediate_size": state["vision.encoder.layers.0.mlp.fc1.weight"].shape[0],
    }
    vision = BlipVisionConfig(**(_chosen(given, ("hidden_act", "layer_norm_eps", "num_attention_heads")) | sizes))
    return vision, BlipTextConfig(**_text_settings(state, folder, width)), _head_widths(state)


def _text_settings(state: Mapping[str, Tensor], folder: Path, seen: int) -> dict[str, Any]:
    words = state["text.embeddings.word_embeddings.weight"]
    given = _TEXT_DEFAULTS | {"num_attention_heads": words.shape[1] // _HEAD_WIDTH} | _read(folder / "med_config.json")
    sizes = {
        "vocab_size": words.shape[0],
        "hidden_size": words.shape[1],
        "max_position_embeddings": state["text.embeddings.position_embeddings.weight"].shape[0],
        "num_hidden_layers": _count(state, r"text\.encoder\.layer\.(\d+)\."),
        "intermediate_size": state["text.encoder.layer.0.intermediate.dense.weight"].shape[0],
        # med_config.json says 768; BLIP's own code overwrites it with the width of the picture encoder, as here.
        "encoder_hidden_size": seen,
        "is_decoder": True,
        # No part of the score; transformers' defaults lie outside a small vocabulary.
        "bos_token_id": 0,
        "eos_token_id": 0,
        "sep_token_id": 0,
        "pad_token_id": 0,
    }
    return _chosen(given, ("hidden_act", "layer_norm_eps", "num_attention_heads")) | sizes


def _head_widths(state: Mapping[str, Tensor]) -> dict[int, tuple[int, int]]:
    numbers = sorted(int(key.split(".")[1]) for key in state if re.fullmatch(r"head\.\d+\.weight", key))
    return {number: (state[f"head.{number}.weight"].shape[1], state[f"head.{number}.weight"].shape[0]) for number in numbers}


def _chosen(settings: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: settings[name] for name in names}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    found = [re.match(pattern, key) for key in state]
    return 1 + max(int(match.group(1)) for match in found if match)


def _read(path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return settings


def half(network: RewardNetwork, number: torch.dtype) -> RewardNetwork:
    """Both encoders in ``number``; the head stays float32."""
    network.vision.to(number)
    network.text.to(number)
    return network
