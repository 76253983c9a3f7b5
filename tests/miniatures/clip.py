"""A CLIP in PickScore's true on-disk layout (``CLIPModel`` of transformers), with random weights and some 100 kB."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel

from tests.miniatures.tokenizer import write_clip_tokenizer

SIZE = 32
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def write_clip(folder: Path, seed: int = 0, *, logit_scale: float = 4.6052, processor: bool = True) -> Path:
    """Write weights and configuration, and with ``processor`` tokenizer and preprocessing too, as one folder."""
    vocabulary = write_processor(folder) if processor else write_clip_tokenizer(folder / "unused")
    text = {
        "vocab_size": vocabulary,
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
        "hidden_act": "gelu",
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "patch_size": 8,
        "hidden_act": "gelu",
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16, initializer_factor=4.0))
        network.logit_scale.data.fill_(logit_scale)
        network.save_pretrained(folder)
    return folder


def write_processor(folder: Path) -> int:
    """Tokenizer and preprocessing as the laion repository has them; returns the size of the vocabulary."""
    vocabulary = write_clip_tokenizer(folder)
    settings = {
        "crop_size": SIZE,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": MEAN,
        "image_std": STD,
        "resample": 3,
        "size": SIZE,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return vocabulary
