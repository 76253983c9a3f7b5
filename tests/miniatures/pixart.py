"""A PixArt-alpha pipeline in its true on-disk layout, with random weights and a few hundred kB."""

from __future__ import annotations

import json
import string
import struct
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, PixArtTransformer2DModel

from tests.miniatures.deqa import field
from tests.miniatures.sd15 import autoencoder
from tests.miniatures.sd35 import T5_WIDTH, text_encoder_3

EXTRA = 100
"""T5's sentinels, which stand behind the vocabulary and are no pieces."""


def write_pixart(folder: Path, seed: int = 0, *, sample_size: int = 64) -> Path:
    """Write the pipeline and return ``folder``; the same seed gives the same weights. ``sample_size`` 128: as of 1024 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vocabulary = write_spiece(folder / "tokenizer")
        # In shards, as T5-XXL is published.
        text_encoder_3(vocabulary).save_pretrained(folder / "text_encoder", max_shard_size="40KB")
        autoencoder().save_pretrained(folder / "vae")
        network = transformer(sample_size)
        network.save_pretrained(folder / "transformer")
    # The published file was written before the network had a class of its own.
    path = folder / "transformer" / "config.json"
    said = json.loads(path.read_text())
    said |= {"_class_name": "Transformer2DModel", "_diffusers_version": "0.22.0.dev0", "double_self_attention": False}
    said |= {"num_vector_embeds": None, "only_cross_attention": False, "use_linear_projection": False}
    for name in ("interpolation_scale", "use_additional_conditions", "_name_or_path"):
        said.pop(name, None)
    path.write_text(json.dumps(said, indent=2) + "\n")
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="linear",
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "PixArtAlphaPipeline",
        "_diffusers_version": "0.22.0.dev0",
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder


def write_spiece(folder: Path) -> int:
    """T5's tokenizer as SentencePiece wrote it, a unigram in which every letter is a piece; returns the size of the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    special = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2)]
    pieces = [(f"{space}{letter}", -3.0, 1) for letter in string.ascii_lowercase for space in ("", "\u2581")]
    entries = [*special, ("\u2581", -4.0, 1), *pieces]
    message = b""
    for text, score, kind in entries:
        message += field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + (field(3, kind) if kind != 1 else b""))
    message += field(2, field(3, 1) + field(4, len(entries)) + field(40, 2) + field(41, 127) + field(42, 1) + field(43, 0))
    message += field(3, field(1, b"identity") + field(3, 1) + field(4, 1) + field(5, 1))
    (folder / "spiece.model").write_bytes(message)
    sentinels = [f"<extra_id_{number}>" for number in range(EXTRA)]
    (folder / "added_tokens.json").write_text(json.dumps({name: len(entries) + EXTRA - 1 - n for n, name in enumerate(sentinels)}))
    named = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "additional_special_tokens": sentinels}
    (folder / "special_tokens_map.json").write_text(json.dumps(named))
    said = {
        **named,
        "extra_ids": EXTRA,
        "legacy": True,
        "model_max_length": 512,
        "sp_model_kwargs": {},
        "tokenizer_class": "T5Tokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return len(entries) + EXTRA


def transformer(sample_size: int = 64) -> PixArtTransformer2DModel:
    """Two blocks, 48 wide; it says the variance beside the noise."""
    return PixArtTransformer2DModel(
        sample_size=sample_size,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        attention_head_dim=12,
        num_attention_heads=4,
        cross_attention_dim=48,
        caption_channels=T5_WIDTH,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
    )
