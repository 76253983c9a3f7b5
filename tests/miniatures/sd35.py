"""A Stable Diffusion 3.5 Medium pipeline in its true on-disk layout, with random weights and a few hundred kB."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from transformers import CLIPTextModelWithProjection, T5Config, T5EncoderModel, T5TokenizerFast

from tests.miniatures.sd15 import autoencoder
from tests.miniatures.sdxl import text_config
from tests.miniatures.tokenizer import write_clip_tokenizer

CLIP_WIDTHS = (16, 24)
T5_WIDTH = 48
"""Of T5's states, and of all states as the transformer reads them."""


def write_sd35(folder: Path, seed: int = 0, *, t5: bool = True) -> Path:
    """Write the pipeline and return ``folder``; the same seed gives the same weights. Without ``t5`` as diffusers saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for suffix, pad, width, activation in (
            ("", "<|endoftext|>", CLIP_WIDTHS[0], "quick_gelu"),
            ("_2", "!", CLIP_WIDTHS[1], "gelu"),
        ):
            vocabulary = write_clip_tokenizer(folder / f"tokenizer{suffix}", pad=pad)
            clip = CLIPTextModelWithProjection(text_config(vocabulary, width, hidden_act=activation))
            if not suffix:  # CLIP-L is read without its projection in the original code; diffusers has ones on the diagonal
                torch.nn.init.eye_(clip.text_projection.weight)
            clip.save_pretrained(folder / f"text_encoder{suffix}")
        if t5:
            text_encoder_3(write_t5_tokenizer(folder / "tokenizer_3")).save_pretrained(folder / "text_encoder_3")
        quantised = {"use_quant_conv": False, "use_post_quant_conv": False}
        autoencoder(latent_channels=16, scaling_factor=1.5305, shift_factor=0.0609, **quantised).save_pretrained(folder / "vae")
        transformer().save_pretrained(folder / "transformer")
    FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusion3Pipeline",
        "_diffusers_version": "0.36.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_3": ["transformers", "T5EncoderModel"] if t5 else [None, None],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "tokenizer_3": ["transformers", "T5TokenizerFast"] if t5 else [None, None],
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder


def write_t5_tokenizer(folder: Path) -> int:
    """A unigram tokenizer in which every letter is a token; returns the size of the vocabulary."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [(f"{space}{letter}", -3.0) for letter in string.ascii_lowercase for space in ("", "\u2581")]
    tokenizer = T5TokenizerFast(vocab=[*special, ("\u2581", -4.0), *pieces], extra_ids=0, model_max_length=512)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def text_encoder_3(vocabulary: int) -> T5EncoderModel:
    """Two layers of T5 1.1, ``T5_WIDTH`` wide."""
    config = T5Config(
        vocab_size=vocabulary,
        d_model=T5_WIDTH,
        d_kv=12,
        d_ff=2 * T5_WIDTH,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        tie_word_embeddings=False,
        use_cache=False,
    )
    return T5EncoderModel(config)


def transformer() -> SD3Transformer2DModel:
    """Three blocks, the first two with a second attention on the picture alone, normalised queries and keys."""
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=T5_WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=sum(CLIP_WIDTHS),
        pos_embed_max_size=16,
        dual_attention_layers=(0, 1),
        qk_norm="rms_norm",
    )
