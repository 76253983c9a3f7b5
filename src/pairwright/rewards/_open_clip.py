"""CLIP under the key names of OpenAI's own code, which open_clip and much that was tuned from either kept, in transformers.

`KEYS` says where each key goes; one without a place is an error. Attention's three projections are stored as one matrix
and are taken apart; both final projections are stored transposed. Sizes are read from the tensors, so that a smaller
network in the same layout loads through the same code; what they cannot tell is how many heads there are (:class:`Heads`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pairwright import state_dicts
from pairwright.weights import WeightsError

DROPPED = ("attn_mask",)
"""A buffer that some versions wrote: the causal mask, which is no parameter."""

_TOWERS = (("visual\\.", "vision_model."), ("", "text_model."))
_BLOCK = (
    (r"transformer\.resblocks\.(\d+)\.ln_([12])\.(.+)", r"encoder.layers.\1.layer_norm\2.\3"),
    (r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", r"encoder.layers.\1.self_attn.in_proj.\2"),
    (r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(.+)", r"encoder.layers.\1.self_attn.out_proj.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(.+)", r"encoder.layers.\1.mlp.fc1.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(.+)", r"encoder.layers.\1.mlp.fc2.\2"),
    (r"positional_embedding", "embeddings.position_embedding.weight"),
)
KEYS: tuple[tuple[str, str], ...] = (
    *((prefix + pattern, target + place) for prefix, target in _TOWERS for pattern, place in _BLOCK),
    (r"visual\.class_embedding", "vision_model.embeddings.class_embedding"),
    (r"visual\.conv1\.weight", "vision_model.embeddings.patch_embedding.weight"),
    (r"visual\.ln_pre\.(.+)", r"vision_model.pre_layrnorm.\1"),
    (r"visual\.ln_post\.(.+)", r"vision_model.post_layernorm.\1"),
    (r"visual\.proj", "visual_projection.weight"),
    (r"token_embedding\.weight", "text_model.embeddings.token_embedding.weight"),
    (r"ln_final\.(.+)", r"text_model.final_layer_norm.\1"),
    (r"text_projection", "text_projection.weight"),
    (r"logit_scale", "logit_scale"),
)
_PATTERNS = tuple((re.compile(pattern), place) for pattern, place in KEYS)
_TRANSPOSED = ("visual_projection.weight", "text_projection.weight")
_VISION_SIZES = (
    "vision_model.embeddings.patch_embedding.weight",
    "vision_model.embeddings.position_embedding.weight",
    "vision_model.encoder.layers.0.mlp.fc1.weight",
    "visual_projection.weight",
)
_TEXT_SIZES = (
    "text_model.embeddings.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight",
    "text_model.encoder.layers.0.mlp.fc1.weight",
)
"""What the sizes are read from: without these there is no network that could say what else is missing."""


@dataclass(frozen=True)
class Heads:
    """How wide one attention head is, in each tower."""

    vision: int = 64
    text: int = 64


def rename(published: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The published dictionary under transformers' names, in float32.

    Raises:
        WeightsError: keys that have no place, all of them named.
    """
    places = {key: _place(key) for key in published if key not in DROPPED}
    state_dicts.complain(what, missing=(), unexpected=[key for key, place in places.items() if place is None])
    return {
        name: value.float() for key, place in places.items() if place is not None for name, value in _parts(place, published[key])
    }


def _place(key: str) -> str | None:
    for pattern, place in _PATTERNS:
        match = pattern.fullmatch(key)
        if match:
            return match.expand(place)
    return None


def _parts(place: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    if ".in_proj." in place:
        for name, part in zip("qkv", value.chunk(3), strict=True):
            yield place.replace("in_proj", f"{name}_proj"), part
    else:
        yield place, value.T if place in _TRANSPOSED else value


def network(published: Mapping[str, Tensor], what: str, *, heads: Heads, activation: str) -> Any:
    """A ``CLIPModel`` in float32, in evaluation mode, on the CPU.

    Args:
        published: the checkpoint under OpenAI's key names.
        what: how error messages call it.
        heads: of both towers.
        activation: ``gelu`` (open_clip's own models) or ``quick_gelu`` (OpenAI's).

    Raises:
        WeightsError: missing or unexpected keys or other shapes, all of them named.
    """
    from transformers import CLIPConfig, CLIPModel

    state = rename(published, what)
    state_dicts.complain(what, missing={*_VISION_SIZES, *_TEXT_SIZES} - state.keys(), unexpected=())
    vision, text = _vision(state, heads.vision, activation), _text(state, heads.text, activation)
    width = state["visual_projection.weight"].shape[0]
    result = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=width))
    state_dicts.fill(result, state, what)
    return result.eval()


def vision_network(published: Mapping[str, Tensor], what: str, *, heads: int = 64, activation: str) -> Any:
    """The picture tower alone, a ``CLIPVisionModelWithProjection``; arguments and errors as :func:`network`."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    state = rename(published, what)
    state_dicts.complain(what, missing=set(_VISION_SIZES) - state.keys(), unexpected=())
    width = state["visual_projection.weight"].shape[0]
    result = CLIPVisionModelWithProjection(CLIPVisionConfig(**_vision(state, heads, activation), projection_dim=width))
    state_dicts.fill(result, state, what)
    return result.eval()


def heads_beside(path: Path, default: Heads) -> Heads:
    """What ``open_clip_config.json`` beside a checkpoint says of the heads, where there is one."""
    file = path.parent / "open_clip_config.json"
    if not file.is_file():
        return default
    try:
        model = json.loads(file.read_text(encoding="utf-8"))["model_cfg"]
        vision, text = model["vision_cfg"], model["text_cfg"]
        return Heads(int(vision.get("head_width", 64)), int(text["width"]) // int(text["heads"]))
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise WeightsError(f"{file} is not an open_clip configuration with model_cfg.vision_cfg and text_cfg: {error!r}") from error


def _vision(state: Mapping[str, Tensor], head: int, activation: str) -> dict[str, Any]:
    patches = state["vision_model.embeddings.patch_embedding.weight"]
    side = round((state["vision_model.embeddings.position_embedding.weight"].shape[0] - 1) ** 0.5)
    sizes = {"patch_size": patches.shape[-1], "image_size": side * patches.shape[-1]}
    return sizes | _tower(state, "vision_model", patches.shape[0], head, activation)


def _text(state: Mapping[str, Tensor], head: int, activation: str) -> dict[str, Any]:
    rows, width = state["text_model.embeddings.token_embedding.weight"].shape
    return {
        "vocab_size": rows,
        "max_position_embeddings": state["text_model.embeddings.position_embedding.weight"].shape[0],
        # The last two of the vocabulary; the features are read where the second stands.
        "bos_token_id": rows - 2,
        "eos_token_id": rows - 1,
        "pad_token_id": rows - 1,
        **_tower(state, "text_model", width, head, activation),
    }


def _tower(state: Mapping[str, Tensor], name: str, width: int, head: int, activation: str) -> dict[str, Any]:
    found = [re.match(rf"{name}\.encoder\.layers\.(\d+)\.", key) for key in state]
    return {
        "hidden_size": width,
        "intermediate_size": state[f"{name}.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": 1 + max(int(match.group(1)) for match in found if match),
        "num_attention_heads": max(1, width // head),
        "hidden_act": activation,
        "layer_norm_eps": 1e-5,
    }
