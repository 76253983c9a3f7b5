"""ImageReward's checkpoint in its published layout, with random weights: every key name is the file's own.

Written down from the authors' modules (github.com/THUDM/ImageReward: ``ImageReward.py``, ``models/BLIP``), including the
parts that are in the file and play no part in the score.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

VISION, TEXT, MLP = 32, 24, 48
LAYERS, HEADS, PATCH, SIDE = 2, 4, 8, 4
"""Layers and heads of both encoders; a picture has ``SIDE x SIDE`` patches."""
HEAD = ((0, TEXT, 20), (2, 20, 16), (4, 16, 12), (6, 12, 8), (7, 8, 1))
"""Number in the published ``nn.Sequential``, inputs, outputs."""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *SPECIAL,
    *string.ascii_lowercase,
    *(f"##{letter}" for letter in string.ascii_lowercase),
    "a",
    "red",
    "rose",
    "on",
    "grass",
]


def write_imagereward(folder: Path, seed: int = 0, *, name: str = "ImageReward.pt", vocabulary: bool = True) -> Path:
    """Write the checkpoint, ``med_config.json``, ``vision_config.json`` and (with ``vocabulary``) ``vocab.txt``."""
    folder.mkdir(parents=True, exist_ok=True)
    state = published_state(seed)
    if name.endswith(".safetensors"):
        save_file(state, folder / name)
    else:
        torch.save(state, folder / name)
    med = {
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": TEXT,
        "intermediate_size": MLP,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 40,
        "model_type": "bert",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "vocab_size": rows(),
        "encoder_width": 768,
        "add_cross_attention": True,
    }
    (folder / "med_config.json").write_text(json.dumps(med))
    (folder / "vision_config.json").write_text(json.dumps({"num_attention_heads": HEADS}))
    if vocabulary:
        write_vocabulary(folder)
    return folder


def write_vocabulary(folder: Path) -> Path:
    """``vocab.txt`` of BERT."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(WORDS)) + "\n")
    return folder


def rows() -> int:
    """Of the embedding: the vocabulary and BLIP's two own tokens."""
    return len(dict.fromkeys(WORDS)) + 2


def published_state(seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of the file, under its published name."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float = 0.3) -> Tensor:
        return torch.randn(shape, generator=generator) * scale

    def linear(name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
        return {f"{name}.weight": random(outputs, inputs, scale=inputs**-0.5), f"{name}.bias": random(outputs)}

    def norm(name: str, width: int) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + random(width), f"{name}.bias": random(width)}

    state = {
        "blip.visual_encoder.cls_token": random(1, 1, VISION),
        "blip.visual_encoder.pos_embed": random(1, SIDE * SIDE + 1, VISION),
        "blip.visual_encoder.patch_embed.proj.weight": random(VISION, 3, PATCH, PATCH, scale=0.1),
        "blip.visual_encoder.patch_embed.proj.bias": random(VISION),
        **norm("blip.visual_encoder.norm", VISION),
        "blip.text_encoder.embeddings.word_embeddings.weight": random(rows(), TEXT),
        "blip.text_encoder.embeddings.position_embeddings.weight": random(40, TEXT),
        "blip.text_encoder.embeddings.position_ids": torch.arange(40)[None],
        **norm("blip.text_encoder.embeddings.LayerNorm", TEXT),
        **linear("blip.vision_proj", VISION, 16),
        **linear("blip.text_proj", TEXT, 16),
    }
    for layer in range(LAYERS):
        block = f"blip.visual_encoder.blocks.{layer}"
        state |= norm(f"{block}.norm1", VISION) | norm(f"{block}.norm2", VISION)
        state |= linear(f"{block}.attn.qkv", VISION, 3 * VISION) | linear(f"{block}.attn.proj", VISION, VISION)
        state |= linear(f"{block}.mlp.fc1", VISION, MLP) | linear(f"{block}.mlp.fc2", MLP, VISION)
        block = f"blip.text_encoder.encoder.layer.{layer}"
        for attention, seen in (("attention", TEXT), ("crossattention", VISION)):
            state |= linear(f"{block}.{attention}.self.query", TEXT, TEXT)
            state |= linear(f"{block}.{attention}.self.key", seen, TEXT) | linear(f"{block}.{attention}.self.value", seen, TEXT)
            state |= linear(f"{block}.{attention}.output.dense", TEXT, TEXT) | norm(f"{block}.{attention}.output.LayerNorm", TEXT)
        state |= linear(f"{block}.intermediate.dense", TEXT, MLP) | linear(f"{block}.output.dense", MLP, TEXT)
        state |= norm(f"{block}.output.LayerNorm", TEXT)
    for number, inputs, outputs in HEAD:
        state |= linear(f"mlp.layers.{number}", inputs, outputs)
    return state
