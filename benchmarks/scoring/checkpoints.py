"""Checkpoints in the published layouts with random weights: as large as asked for, and nothing learned."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from pairwright.options import Plugin
from tools.tiny_pack.vocabulary import write_clip_tokenizer

WORDS = 49408
"""Rows of CLIP's embedding. The tokenizer has a small vocabulary of its own: only the number of tokens costs time."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a CLIP."""

    label: str
    side: int
    patch: int
    vision: tuple[int, int, int]
    """Width, layers, heads."""
    text: tuple[int, int, int]
    joint: int
    """Length of the vectors that pictures and texts have in common."""


SHAPES: Mapping[str, Shape] = {
    "mini": Shape("a miniature", 32, 8, (32, 2, 2), (32, 2, 2), 16),
    "b32": Shape("ViT-B/32", 224, 32, (768, 12, 12), (512, 12, 8), 512),
    "b16": Shape("ViT-B/16", 224, 16, (768, 12, 12), (512, 12, 8), 512),
    "l14": Shape("ViT-L/14", 224, 14, (1024, 24, 16), (768, 12, 12), 768),
    "h14": Shape("ViT-H/14", 224, 14, (1280, 32, 16), (1024, 24, 16), 1024),
}


@dataclass(frozen=True)
class Checkpoints:
    """Where everything lies."""

    preference: Path
    """PickScore's layout, for ``pickscore`` and ``realism``."""
    looks: Path
    """OpenAI's CLIP, for both aesthetics and CLIPScore."""
    linear: Path
    """LAION's first head."""
    layers: Path
    """LAION's second head."""

    def rewards(self, dtype: str) -> list[Plugin]:
        """The five scorers on these weights, in that number format."""
        looks = {"backbone": str(self.looks), "dtype": dtype}
        return [
            Plugin(name="pickscore", options={"model": str(self.preference), "dtype": dtype}),
            Plugin(name="realism", options={"model": str(self.preference), "dtype": dtype}),
            Plugin(name="aesthetic", options={"model": str(self.linear), "sha256": _sha256(self.linear), **looks}),
            Plugin(name="aesthetic_sac", options={"model": str(self.layers), "sha256": _sha256(self.layers), **looks}),
            Plugin(name="clipscore", options={"model": str(self.looks), "variant": "cosine", "dtype": dtype}),
        ]


def write(folder: Path, preference: Shape, looks: Shape) -> Checkpoints:
    """Write both networks and both heads."""
    made = Checkpoints(folder / "preference", folder / "looks", folder / "linear.pth", folder / "layers.pth")
    write_clip(made.preference, preference, "gelu", seed=0)
    write_clip(made.looks, looks, "quick_gelu", seed=1)
    generator = torch.Generator().manual_seed(2)
    torch.save({"weight": torch.randn(1, looks.joint, generator=generator), "bias": torch.tensor([5.5])}, made.linear)
    torch.save(_layers(looks.joint, generator), made.layers)
    return made


def write_clip(folder: Path, shape: Shape, activation: str, seed: int) -> None:
    """A ``CLIPModel`` with tokenizer and preprocessing as one folder."""
    tokenizer = write_clip_tokenizer(folder)
    settings = {"size": {"shortest_edge": shape.side}, "crop_size": {"height": shape.side, "width": shape.side}}
    CLIPImageProcessorPil(**settings).save_pretrained(folder)
    torch.manual_seed(seed)
    network = CLIPModel(configuration(shape, tokenizer, activation))
    network.logit_scale.data.fill_(math.log(100))
    network.save_pretrained(folder)


def configuration(shape: Shape, tokenizer: CLIPTokenizer, activation: str) -> Any:
    """CLIP's configuration of that shape, whose special tokens are the tokenizer's."""

    def tower(sizes: tuple[int, int, int]) -> dict[str, Any]:
        width, layers, heads = sizes
        return {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "hidden_act": activation,
            # The library's default keeps random networks so quiet that all pictures look the same to them.
            "initializer_factor": 2.0,
        }

    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = {**tower(shape.text), "vocab_size": WORDS, **ends}
    vision = {**tower(shape.vision), "image_size": shape.side, "patch_size": shape.patch}
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=shape.joint)


def _layers(width: int, generator: torch.Generator) -> dict[str, Tensor]:
    widths = (width, 1024, 128, 64, 16, 1)
    state = {}
    for number, inputs, outputs in zip((0, 2, 4, 6, 7), widths, widths[1:], strict=False):
        state[f"layers.{number}.weight"] = torch.randn(outputs, inputs, generator=generator) * inputs**-0.5
        state[f"layers.{number}.bias"] = torch.randn(outputs, generator=generator)
    return state


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
