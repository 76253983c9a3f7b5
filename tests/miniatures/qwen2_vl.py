"""Qwen2-VL and Qwen2.5-VL in their published layout, with random weights: every file and key name is the repositories' own.

The keys are those that transformers 4 wrote (``model.*``, ``visual.*``, ``lm_head.weight``) and the configuration is flat,
as in ``Qwen/Qwen2-VL-7B-Instruct``, ``Qwen/Qwen2.5-VL-7B-Instruct`` and what was tuned from them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

HIDDEN, MLP, LAYERS, HEADS, KEY_HEADS = 64, 96, 2, 4, 2
SECTIONS = (2, 3, 3)
"""Of half a head's 16 numbers: time, height, width."""
SIGHT, SIGHT_MLP, DEPTH, SIGHT_HEADS, PATCH = 32, 64, 3, 2, 14
FULL = (1,)
"""Of Qwen2.5-VL's blocks those that look at the whole picture."""
WINDOW = 56
"""Pixels of the others' windows: 2 x 2 of the merged patches."""
HEAD = ((0, HIDDEN, 24), (3, 24, 16), (5, 16, 2))
"""Number in the published ``nn.Sequential``, inputs, outputs."""
THETA, EPS = 1_000_000.0, 1e-6

LETTERS = sorted(ByteLevel.alphabet())
CONTROL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
SPARE = 7
"""Rows of the base model's embedding that no token has."""


def number(token: str) -> int:
    """The id of a byte's letter or of a control token; the next one after them is what a tuned model adds."""
    return [*LETTERS, *CONTROL].index(token)


def rows() -> int:
    """Letters and control tokens."""
    return len(LETTERS) + len(CONTROL)


def write_base(folder: Path, kind: str = "qwen2_vl", *, processor: bool = True) -> Path:
    """Configuration and (with ``processor``) tokenizer and preprocessing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_configuration(kind)))
    if processor:
        write_processor(folder)
    return folder


def write_processor(folder: Path) -> None:
    """A byte-level tokenizer without merges, and the published preprocessing."""
    letters = {letter: index for index, letter in enumerate(LETTERS)}
    (folder / "vocab.json").write_text(json.dumps(letters))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    added = {
        str(number(token)): {
            "content": token,
            **dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False),
            "special": True,
        }
        for token in CONTROL
    }
    settings = {
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": CONTROL[1:],
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 32768,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    preprocessing = {
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))


def _configuration(kind: str) -> dict[str, Any]:
    common = {
        "attention_dropout": 0.0,
        "bos_token_id": number("<|endoftext|>"),
        "eos_token_id": number("<|im_end|>"),
        "vision_start_token_id": number("<|vision_start|>"),
        "vision_end_token_id": number("<|vision_end|>"),
        "vision_token_id": number("<|vision_pad|>"),
        "image_token_id": number("<|image_pad|>"),
        "video_token_id": number("<|video_pad|>"),
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": MLP,
        "max_position_embeddings": 32768,
        "max_window_layers": LAYERS,
        "model_type": kind,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KEY_HEADS,
        "rms_norm_eps": EPS,
        "rope_theta": THETA,
        "sliding_window": 32768,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "rope_scaling": {"type": "mrope", "mrope_section": list(SECTIONS)},
        "vocab_size": rows() + SPARE,
    }
    if kind == "qwen2_vl":
        sight = _sight() | {"embed_dim": SIGHT, "hidden_size": HIDDEN, "mlp_ratio": SIGHT_MLP // SIGHT}
        sight |= {"in_chans": 3, "spatial_patch_size": PATCH}
        return {"architectures": ["Qwen2VLForConditionalGeneration"], **common, "vision_config": sight}
    vision: dict[str, Any] = {
        "hidden_act": "silu",
        "hidden_size": SIGHT,
        "intermediate_size": SIGHT_MLP,
        "out_hidden_size": HIDDEN,
        "in_chans": 3,
        "spatial_patch_size": PATCH,
        "window_size": WINDOW,
        "fullatt_block_indexes": list(FULL),
        "tokens_per_second": 2,
    }
    return {"architectures": ["Qwen2_5_VLForConditionalGeneration"], **common, "vision_config": _sight() | vision}


def _sight() -> dict[str, Any]:
    return {"depth": DEPTH, "num_heads": SIGHT_HEADS, "patch_size": PATCH, "spatial_merge_size": 2, "temporal_patch_size": 2}


def published_state(kind: str = "qwen2_vl", seed: int = 0, vocabulary: int | None = None) -> dict[str, Tensor]:
    """Every tensor of the base model, under its published name."""
    random = _Random(seed)
    words = vocabulary or rows() + SPARE
    state = {"model.embed_tokens.weight": random(words, HIDDEN, scale=0.3), "lm_head.weight": random(words, HIDDEN)}
    state["model.norm.weight"] = 1 + random(HIDDEN)
    for layer in range(LAYERS):
        block, head = f"model.layers.{layer}", HIDDEN // HEADS
        # Sharp attention, so that what a token looks at, and where that stands, is seen in the end.
        state |= random.linear(f"{block}.self_attn.q_proj", HIDDEN, HIDDEN, gain=2.5)
        state |= random.linear(f"{block}.self_attn.k_proj", HIDDEN, head * KEY_HEADS, gain=2.5)
        state |= random.linear(f"{block}.self_attn.v_proj", HIDDEN, head * KEY_HEADS, gain=2.0)
        state |= random.linear(f"{block}.self_attn.o_proj", HIDDEN, HIDDEN, bias=False)
        state |= random.gated(f"{block}.mlp", HIDDEN, MLP, bias=False)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            state[f"{block}.{norm}.weight"] = 1 + random(HIDDEN)
    return state | _published_sight(kind, random)


def _published_sight(kind: str, random: _Random) -> dict[str, Tensor]:
    plain = kind == "qwen2_vl"
    state = {"visual.patch_embed.proj.weight": random(SIGHT, 3, 2, PATCH, PATCH, scale=0.05)}
    for layer in range(DEPTH):
        block = f"visual.blocks.{layer}"
        state |= random.linear(f"{block}.attn.qkv", SIGHT, 3 * SIGHT) | random.linear(f"{block}.attn.proj", SIGHT, SIGHT)
        if plain:
            state |= random.linear(f"{block}.mlp.fc1", SIGHT, SIGHT_MLP) | random.linear(f"{block}.mlp.fc2", SIGHT_MLP, SIGHT)
        else:
            state |= random.gated(f"{block}.mlp", SIGHT, SIGHT_MLP, bias=True)
        for norm in ("norm1", "norm2"):
            state |= random.norm(f"{block}.{norm}", SIGHT, bias=plain)
    state |= random.norm("visual.merger.ln_q", SIGHT, bias=plain)
    state |= random.linear("visual.merger.mlp.0", 4 * SIGHT, 4 * SIGHT)
    return state | random.linear("visual.merger.mlp.2", 4 * SIGHT, HIDDEN)


class _Random:
    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, scale: float = 0.2) -> Tensor:
        return torch.randn(shape, generator=self.generator) * scale

    def linear(self, name: str, inputs: int, outputs: int, *, bias: bool = True, gain: float = 1.0) -> dict[str, Tensor]:
        weight = {f"{name}.weight": self(outputs, inputs, scale=gain * inputs**-0.5)}
        return weight | ({f"{name}.bias": self(outputs)} if bias else {})

    def gated(self, name: str, inputs: int, inner: int, *, bias: bool) -> dict[str, Tensor]:
        result = self.linear(f"{name}.gate_proj", inputs, inner, bias=bias)
        result |= self.linear(f"{name}.up_proj", inputs, inner, bias=bias)
        return result | self.linear(f"{name}.down_proj", inner, inputs, bias=bias)

    def norm(self, name: str, size: int, *, bias: bool) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + self(size)} | ({f"{name}.bias": self(size)} if bias else {})


def hpsv3_state(seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of ``HPSv3.safetensors``: the embedding is cut to the vocabulary and has one row for ``<|Reward|>``."""
    random = _Random(seed + 1)
    state = published_state("qwen2_vl", seed, vocabulary=rows() + 1)
    for place, inputs, outputs in HEAD:
        state |= random.linear(f"rm_head.{place}", inputs, outputs, gain=3.0)
    return state


def write_hpsv3(folder: Path, seed: int = 0, *, base: bool = True) -> Path:
    """``HPSv3.safetensors``, and (with ``base``) what comes from the model it was tuned from."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(hpsv3_state(seed), folder / "HPSv3.safetensors", {"format": "pt"})
    return write_base(folder) if base else folder


def write_unifiedreward(folder: Path, seed: int = 0, says: Sequence[str] = ()) -> Path:
    """UnifiedReward-qwen's repository: two shards and an index. With ``says`` its answer is that, whatever is asked.

    What is said is a text or pieces of one, of which none may come twice: each token's successor is what the last layer
    knows, nothing else. Pieces of several letters become tokens of their own, in the spare rows.
    """
    write_base(folder, "qwen2_5_vl")
    state = published_state("qwen2_5_vl", seed)
    if says:
        long = [each for each in says if len(each) > 1]
        _add_tokens(folder, long)
        _teach(state, says, {token: rows() + index for index, token in enumerate(long)})
    generation = {
        "bos_token_id": number("<|endoftext|>"),
        "do_sample": True,
        "eos_token_id": [number("<|im_end|>"), number("<|endoftext|>")],
        "pad_token_id": number("<|endoftext|>"),
        "repetition_penalty": 1.05,
        "temperature": 1e-06,
    }
    (folder / "generation_config.json").write_text(json.dumps(generation))
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    places = {name: names[index % 2] for index, name in enumerate(sorted(state))}
    for file in names:
        save_file({name: state[name] for name, place in places.items() if place == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def _add_tokens(folder: Path, tokens: list[str]) -> None:
    assert len(tokens) <= SPARE
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    for index, token in enumerate(tokens):
        flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word", "special"), False)
        settings["added_tokens_decoder"][str(rows() + index)] = {"content": token, **flags}
    path.write_text(json.dumps(settings))


def _teach(state: dict[str, Tensor], says: Sequence[str], added: dict[str, int]) -> None:
    for name, value in state.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")) and name.startswith("model."):
            state[name] = torch.zeros_like(value)
    pieces = [added[each] if each in added else number(each.replace(" ", "Ġ")) for each in says]
    state["model.norm.weight"] = torch.ones(HIDDEN)
    state["lm_head.weight"] = torch.zeros_like(state["lm_head.weight"])
    for before, after in pairwise([number("Ċ"), *pieces, number("<|im_end|>")]):
        state["lm_head.weight"][after] = state["model.embed_tokens.weight"][before]
