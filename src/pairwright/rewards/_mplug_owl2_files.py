"""mPLUG-Owl2's checkpoint in its published layout: ``config.json``, shards, and where each tensor goes.

The repository brings its network as code, which is never run: :mod:`pairwright.rewards._mplug_owl2` has it written out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError
from torch import Tensor

from pairwright import state_dicts
from pairwright.weights import WeightsError

DROPPED = re.compile(r".*rotary_emb\.inv_freq")
"""Some files hold the angles' speeds, which follow from the configuration."""
WORDS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
"""Stay under their own names: a network keeps only some of their rows."""
KEYS: tuple[tuple[str, str], ...] = (
    (r"model\.vision_model\.embeddings\.(.+)", r"vision.\1"),
    (r"model\.vision_model\.encoder\.layers\.(\d+)\.self_attn\.(.+)", r"vision.layers.\1.\2"),
    (r"model\.vision_model\.encoder\.layers\.(\d+)\.mlp\.(.+)", r"vision.layers.\1.\2"),
    (r"model\.vision_model\.encoder\.layers\.(\d+)\.(\w+_layernorm\..+)", r"vision.layers.\1.\2"),
    (r"model\.vision_model\.(post_layernorm\..+)", r"vision.\1"),
    (r"model\.visual_abstractor\.encoder\.layers\.(\d+)\.crossattention\.attention\.(.+)", r"abstractor.layers.\1.\2"),
    (r"model\.visual_abstractor\.encoder\.layers\.(\d+)\.crossattention\.output\.mlp\.(.+)", r"abstractor.layers.\1.\2"),
    (r"model\.visual_abstractor\.encoder\.layers\.(\d+)\.crossattention\.output\.(.+)", r"abstractor.layers.\1.\2"),
    (r"model\.visual_abstractor\.encoder\.layers\.(\d+)\.crossattention\.(norm[1k]\..+)", r"abstractor.layers.\1.\2"),
    (r"model\.visual_abstractor\.(query_embeds|vit_eos|visual_fc\..+)", r"abstractor.\1"),
    (r"model\.layers\.(\d+)\.self_attn\.([kv]_proj)\.multiway\.([01]\..+)", r"language.layers.\1.\2.\3"),
    (r"model\.layers\.(\d+)\.(\w+_layernorm)\.multiway\.([01]\..+)", r"language.layers.\1.\2.\3"),
    (r"model\.layers\.(\d+)\.self_attn\.([qo]_proj\..+)", r"language.layers.\1.\2"),
    (r"model\.layers\.(\d+)\.mlp\.(.+)", r"language.layers.\1.\2"),
    (r"model\.(norm\..+)", r"language.\1"),
)
"""The checkpoint's names and where each goes. Of two ways the first is the sentence's, the second the picture's."""
_PATTERNS = tuple((re.compile(pattern), target) for pattern, target in KEYS)


class _Sizes(BaseModel):
    model_config = ConfigDict(frozen=True)


class VisionSizes(_Sizes):
    """``visual_config.visual_model``; where it is silent, the published code's values."""

    hidden_size: PositiveInt = 1024
    intermediate_size: PositiveInt = 4096
    num_hidden_layers: PositiveInt = 24
    num_attention_heads: PositiveInt = 16
    image_size: PositiveInt = 448
    patch_size: PositiveInt = 14
    layer_norm_eps: PositiveFloat = 1e-6

    @property
    def tokens(self) -> int:
        """Patches, and one that stands for the whole."""
        return (self.image_size // self.patch_size) ** 2 + 1


class AbstractorSizes(_Sizes):
    """``visual_config.visual_abstractor``."""

    hidden_size: PositiveInt = 1024
    intermediate_size: PositiveInt = 2816
    num_hidden_layers: PositiveInt = 6
    num_attention_heads: PositiveInt = 16
    num_learnable_queries: PositiveInt = 64
    layer_norm_eps: PositiveFloat = 1e-6


class VisualSizes(_Sizes):
    """``visual_config``."""

    visual_model: VisionSizes = VisionSizes()
    visual_abstractor: AbstractorSizes = AbstractorSizes()


class Sizes(_Sizes):
    """What is read of ``config.json``; a kind of LLaMA that is not written out here is refused."""

    model_type: Literal["mplug_owl2"]
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    rms_norm_eps: PositiveFloat
    rope_theta: PositiveFloat = 10_000.0
    rope_scaling: None = None
    hidden_act: Literal["silu"] = "silu"
    visual_config: VisualSizes = VisualSizes()


def configuration(folder: Path) -> Sizes:
    """Of a folder's ``config.json``.

    Raises:
        WeightsError: there is none, or it is that of another kind of network.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise WeightsError(f"{folder} has no config.json")
    try:
        return Sizes.model_validate_json(path.read_bytes())
    except ValidationError as error:
        found = error.errors()[0]
        raise WeightsError(f"{path}, {'.'.join(map(str, found['loc'])) or 'as a whole'}: {found['msg']}") from error


def tensors(folder: Path, number: torch.dtype) -> dict[str, Tensor]:
    """Every tensor of a folder under the network's names, on the CPU; what has no place keeps its own name.

    Files are read one after the other and each tensor is converted by itself, so that no second copy is in memory.

    Args:
        folder: in transformers' layout.
        number: number format of everything but `WORDS` and `HEAD`, which stay as they are stored.

    Raises:
        WeightsError: a file is missing or cannot be read.
    """
    state: dict[str, Tensor] = {}
    for path in state_dicts.files(folder):
        shard = state_dicts.read(path)
        for key in list(shard):
            value = shard.pop(key)
            if not DROPPED.fullmatch(key):
                state[_place(key)] = value if key in {WORDS, HEAD} else value.to(number)
    return state


def _place(key: str) -> str:
    matches = ((pattern.fullmatch(key), target) for pattern, target in _PATTERNS)
    return next((match.expand(target) for match, target in matches if match), key)
