"""DeQA-Score's repository in its published layout, with random weights: every file and key name is its own.

Written down from the authors' modules (github.com/zhiyuanyou/DeQA-Score, ``src/model`` and ``preprocessor``), which are
mPLUG-Owl2's. ``tokenizer.model`` is a protocol buffer of SentencePiece, written here byte by byte.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

SIGHT, SIGHT_MLP, DEPTH, SIGHT_HEADS, PATCH, SIDE = 32, 48, 2, 4, 14, 4
"""Of the picture encoder; a picture has ``SIDE x SIDE`` patches."""
QUERIES, SWIGLU, LOOKS, LOOK_HEADS = 6, 40, 2, 4
"""Of the abstractor, which is as wide as the encoder."""
HIDDEN, MLP, LAYERS, HEADS = 48, 64, 3, 4
RMS_EPS, EPS, THETA = 1e-5, 1e-6, 10000.0
TWO_WAY = ("input_layernorm", "self_attn.k_proj", "self_attn.v_proj", "post_attention_layernorm")

PROMPT = "USER: How would you rate the quality of this image?\n<|image|>\nASSISTANT: The quality of the image is"
WORDS = ("USER", "How", "would", "you", "rate", "the", "quality", "of", "this", "image", "The", "is")
LEVELS = ("excellent", "good", "fair", "poor", "bad")
BLANK = "\u2581"
CONTROL = ("<unk>", "<s>", "</s>")


def pieces() -> list[tuple[str, float, int]]:
    """Text, score and type of every piece: control, bytes, beginnings of the words that are needed, single characters.

    As in LLaMA's own the numbers of the words and the order of merging are one: what is merged earlier has a smaller number.
    """
    words = [f"{BLANK}{word}" for word in (*WORDS, *LEVELS)]
    beginnings = list(dict.fromkeys(word[:length] for word in words for length in range(2, len(word) + 1)))
    letters = list(dict.fromkeys(BLANK + "".join(words) + "ASSISTANT:?"))
    result = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), *((f"<0x{byte:02X}>", 0.0, 6) for byte in range(256))]
    return result + [(each, -float(rank), 1) for rank, each in enumerate(beginnings + letters)]


def write_tokenizer(folder: Path, *, entries: list[tuple[str, float, int]] | None = None, kind: int = 2, blanks: int = 0) -> Path:
    """``tokenizer.model`` (with other ``entries``: that vocabulary) and the configuration beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    message = b""
    for text, score, type_ in pieces() if entries is None else entries:
        # Normal is the type's default; the library leaves it out.
        message += field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + (field(3, type_) if type_ != 1 else b""))
    message += field(2, field(3, kind) + field(4, 1000) + field(35, 1))
    message += field(3, field(1, b"identity") + field(3, 1) + field(4, blanks))
    (folder / "tokenizer.model").write_bytes(message)
    settings = {"add_bos_token": True, "add_eos_token": False, "legacy": False, "tokenizer_class": "LlamaTokenizer"}
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | special | {"model_max_length": 2048}))
    (folder / "special_tokens_map.json").write_text(json.dumps(special | {"pad_token": "<unk>"}))
    return folder


def field(number: int, value: int | bytes) -> bytes:
    """A field of a serialized message: a whole number or counted bytes."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _varint(value >> 7)


def configuration() -> dict[str, Any]:
    """``config.json``."""
    sight = {
        "model_type": "mplug_owl_vision_model",
        "hidden_size": SIGHT,
        "intermediate_size": SIGHT_MLP,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": SIGHT_HEADS,
        "image_size": SIDE * PATCH,
        "patch_size": PATCH,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": EPS,
    }
    look = {
        "model_type": "mplug_owl_visual_abstract",
        "hidden_size": SIGHT,
        "encoder_hidden_size": SIGHT,
        "intermediate_size": SWIGLU,
        "num_hidden_layers": LOOKS,
        "num_attention_heads": LOOK_HEADS,
        "num_learnable_queries": QUERIES,
        "grid_size": SIDE,
        "layer_norm_eps": EPS,
    }
    return {
        "architectures": ["MPLUGOwl2LlamaForCausalLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_mplug_owl2.MPLUGOwl2LlamaForCausalLM"},
        "model_type": "mplug_owl2",
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": MLP,
        "max_position_embeddings": 2048,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": HEADS,
        "rms_norm_eps": RMS_EPS,
        "rope_scaling": None,
        "rope_theta": THETA,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": len(pieces()),
        "visual_config": {"visual_model": sight, "visual_abstractor": look},
    }


class _Random:
    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, scale: float = 0.2) -> Tensor:
        return torch.randn(shape, generator=self.generator) * scale

    def linear(self, name: str, inputs: int, outputs: int, *, bias: bool = True, gain: float = 1.0) -> dict[str, Tensor]:
        weight = {f"{name}.weight": self(outputs, inputs, scale=gain * inputs**-0.5)}
        return weight | ({f"{name}.bias": self(outputs)} if bias else {})

    def norm(self, name: str, size: int) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + self(size), f"{name}.bias": self(size)}


def published_state(seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of the checkpoint, under its published name."""
    random = _Random(seed)
    words = len(pieces())
    state = {"model.embed_tokens.weight": random(words, HIDDEN, scale=0.5), "model.norm.weight": 1 + random(HIDDEN)}
    state["lm_head.weight"] = random(words, HIDDEN)
    for layer in range(LAYERS):
        block = f"model.layers.{layer}"
        # Sharp attention, so that what a token looks at, and where that stands, is seen in the end.
        state |= random.linear(f"{block}.self_attn.q_proj", HIDDEN, HIDDEN, bias=False, gain=2.0)
        state |= random.linear(f"{block}.self_attn.o_proj", HIDDEN, HIDDEN, bias=False)
        for way in range(2):
            state |= random.linear(f"{block}.self_attn.k_proj.multiway.{way}", HIDDEN, HIDDEN, bias=False, gain=2.0)
            state |= random.linear(f"{block}.self_attn.v_proj.multiway.{way}", HIDDEN, HIDDEN, bias=False, gain=1.5)
            for norm in ("input_layernorm", "post_attention_layernorm"):
                state[f"{block}.{norm}.multiway.{way}.weight"] = 1 + random(HIDDEN, scale=0.4)
        for name, inputs, outputs in (("gate_proj", HIDDEN, MLP), ("up_proj", HIDDEN, MLP), ("down_proj", MLP, HIDDEN)):
            state |= random.linear(f"{block}.mlp.{name}", inputs, outputs, bias=False)
    return state | _sight(random) | _look(random)


def _sight(random: _Random) -> dict[str, Tensor]:
    name = "model.vision_model"
    state = {
        f"{name}.embeddings.cls_token": random(1, 1, SIGHT),
        f"{name}.embeddings.patch_embed.weight": random(SIGHT, 3, PATCH, PATCH, scale=0.05),
        f"{name}.embeddings.position_embedding": random(1, SIDE * SIDE + 1, SIGHT, scale=0.5),
        **random.norm(f"{name}.embeddings.pre_layernorm", SIGHT),
        **random.norm(f"{name}.post_layernorm", SIGHT),
    }
    for layer in range(DEPTH):
        block = f"{name}.encoder.layers.{layer}"
        state |= random.linear(f"{block}.self_attn.query_key_value", SIGHT, 3 * SIGHT, gain=1.5)
        state |= random.linear(f"{block}.self_attn.dense", SIGHT, SIGHT)
        state |= random.norm(f"{block}.input_layernorm", SIGHT) | random.norm(f"{block}.post_attention_layernorm", SIGHT)
        state |= random.linear(f"{block}.mlp.fc1", SIGHT, SIGHT_MLP) | random.linear(f"{block}.mlp.fc2", SIGHT_MLP, SIGHT)
    return state


def _look(random: _Random) -> dict[str, Tensor]:
    name = "model.visual_abstractor"
    state = {
        f"{name}.query_embeds": random(1, QUERIES, SIGHT, scale=1.0),
        f"{name}.vit_eos": random(1, 1, HIDDEN, scale=0.5),
        **random.linear(f"{name}.visual_fc", SIGHT, HIDDEN),
    }
    for layer in range(LOOKS):
        block = f"{name}.encoder.layers.{layer}.crossattention"
        state[f"{block}.attention.q_pos_embed"] = random(QUERIES, SIGHT, scale=0.7)
        state[f"{block}.attention.k_pos_embed"] = random(SIDE * SIDE + 1, SIGHT, scale=0.7)
        for part in ("query", "key", "value"):
            state |= random.linear(f"{block}.attention.{part}", SIGHT, SIGHT, gain=1.5)
        state |= random.linear(f"{block}.output.out_proj", SIGHT, SIGHT)
        for norm in ("norm1", "normk", "output.norm2"):
            state |= random.norm(f"{block}.{norm}", SIGHT)
        state |= random.linear(f"{block}.output.mlp.w1", SIGHT, SWIGLU) | random.linear(f"{block}.output.mlp.w3", SIGHT, SWIGLU)
        state |= random.norm(f"{block}.output.mlp.ffn_ln", SWIGLU) | random.linear(f"{block}.output.mlp.w2", SWIGLU, SIGHT)
    return state


def write_deqa(folder: Path, seed: int = 0, *, pickled: bool = False, changes: Mapping[str, Tensor | None] | None = None) -> Path:
    """Everything, the weights in two shards with an index; of the ``changes``, ``None`` leaves a tensor out."""
    write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(configuration()))
    # What the published repository would have run.
    (folder / "modeling_mplug_owl2.py").write_text("raise SystemExit('code beside the weights was run')\n")
    changed = {**published_state(seed), **(changes or {})}
    state = {name: value for name, value in changed.items() if value is not None}
    stem, ending = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    names = [f"{stem}-0000{number}-of-00002.{ending}" for number in (1, 2)]
    places = {name: names[index % 2] for index, name in enumerate(sorted(state))}
    for file in names:
        part = {name: state[name] for name, place in places.items() if place == file}
        if pickled:
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file, {"format": "pt"})
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder
