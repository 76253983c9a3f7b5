"""A Stable Diffusion XL pipeline in its true on-disk layout, with random weights and a few hundred kB."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.miniatures.sd15 import autoencoder
from tests.miniatures.tokenizer import write_clip_tokenizer

WIDTHS = (32, 40)
"""Of the two text encoders' states."""
POOLED = 24


def write_sdxl(folder: Path, seed: int = 0, *, prediction_type: str = "epsilon") -> Path:
    """Write the pipeline and return ``folder``; the same seed gives the same weights."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vocabulary = write_clip_tokenizer(folder / "tokenizer")
        write_clip_tokenizer(folder / "tokenizer_2", pad="!")
        CLIPTextModel(text_config(vocabulary, WIDTHS[0])).save_pretrained(folder / "text_encoder")
        second = text_config(vocabulary, WIDTHS[1], projection_dim=POOLED, hidden_act="gelu")
        CLIPTextModelWithProjection(second).save_pretrained(folder / "text_encoder_2")
        autoencoder(scaling_factor=0.13025, force_upcast=True).save_pretrained(folder / "vae")
        unet().save_pretrained(folder / "unet")
    EulerDiscreteScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
        prediction_type=prediction_type,
    ).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "_diffusers_version": "0.36.0",
        "feature_extractor": [None, None],
        "force_zeros_for_empty_prompt": True,
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder


def text_config(
    vocabulary: int, width: int, *, projection_dim: int | None = None, hidden_act: str = "quick_gelu"
) -> CLIPTextConfig:
    """Three layers, so that the last but one is neither the first nor the last."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=2,
        projection_dim=projection_dim or width,
        hidden_act=hidden_act,
        initializer_factor=4.0,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def unet() -> UNet2DConditionModel:
    """Two resolutions, attention at the lower one alone, two transformer layers there, sizes embedded 8 wide."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=sum(WIDTHS),
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=POOLED + 6 * 8,
        norm_num_groups=4,
    )
