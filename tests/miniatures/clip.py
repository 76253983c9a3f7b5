"""A CLIP in the true on-disk layout of PickScore and of OpenAI's ViT-L/14 (``CLIPModel`` of transformers), some 100 kB.

And the two heads of LAION's aesthetic predictors that stand on the latter.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.miniatures.tokenizer import write_clip_tokenizer

SIZE = 32
JOINT = 16
"""Length of the vectors that pictures and texts have in common."""
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def write_clip(folder: Path, seed: int = 0, *, logit_scale: float = 4.6052, processor: bool = True, openai: bool = False) -> Path:
    """Write weights and configuration, and with ``processor`` tokenizer and preprocessing too, as one folder.

    With ``openai`` it is as OpenAI's repositories have it: the quick GELU, and numbers of special tokens that are wrong.
    """
    vocabulary = write_processor(folder) if processor else write_clip_tokenizer(folder / "unused")
    activation = "quick_gelu" if openai else "gelu"
    text: dict[str, int | str] = {
        "vocab_size": vocabulary,
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 77,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
        "hidden_act": activation,
    }
    if openai:
        text |= {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "patch_size": 8,
        "hidden_act": activation,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=JOINT, initializer_factor=4.0))
        network.logit_scale.data.fill_(logit_scale)
        network.save_pretrained(folder)
    return folder


def aesthetic_state(seed: int = 0) -> dict[str, Tensor]:
    """``sa_0_4_vit_l_14_linear.pth``: one linear layer by itself, here on ``JOINT`` numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {"weight": torch.randn(1, JOINT, generator=generator), "bias": torch.tensor([5.5])}


def aesthetic_sac_state(seed: int = 0) -> dict[str, Tensor]:
    """``sac+logos+ava1-l14-linearMSE.pth``: five linear layers, numbered between dropouts."""
    generator = torch.Generator().manual_seed(seed)
    widths = {"layers.0": (JOINT, 32), "layers.2": (32, 12), "layers.4": (12, 8), "layers.6": (8, 4), "layers.7": (4, 1)}
    state: dict[str, Tensor] = {}
    for name, (inputs, outputs) in widths.items():
        state[f"{name}.weight"] = torch.randn(outputs, inputs, generator=generator) * inputs**-0.5
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator)
    return state


def write_head(path: Path, state: dict[str, Tensor]) -> str:
    """Write a head as its authors did; returns its sha256."""
    torch.save(state, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_style_encoder(folder: Path, seed: int = 0) -> Path:
    """OneIG's style encoder: a ``CLIPVisionModelWithProjection``."""
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=24,
        patch_size=8,
        projection_dim=JOINT,
        hidden_act="gelu",
        initializer_factor=4.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPVisionModelWithProjection(config).save_pretrained(folder)
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
