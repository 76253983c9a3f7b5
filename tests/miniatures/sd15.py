"""A Stable Diffusion 1.5 pipeline in its true on-disk layout, with random weights and a few hundred kB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from tests.miniatures.tokenizer import write_clip_tokenizer

SIZE = 32
"""Side of the pictures in pixels."""
LATENT_SIZE = 8
"""Side of the latents: one for 4 x 4 pixels."""
WIDTH = 32
"""Of the text states."""


def write_sd15(folder: Path, seed: int = 0, *, inpaint: bool = False, prediction_type: str = "epsilon") -> Path:
    """Write the pipeline and return ``folder``; the same seed gives the same weights.

    ``inpaint`` writes the inpainting pipeline, whose UNet reads 9 channels. The base has SD-1.5's own PNDM scheduler.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vocabulary = write_clip_tokenizer(folder / "tokenizer")
        text_encoder(vocabulary).save_pretrained(folder / "text_encoder")
        autoencoder().save_pretrained(folder / "vae")
        unet(9 if inpaint else 4).save_pretrained(folder / "unet")
    schedule = {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": prediction_type,
    }
    scheduler = DDIMScheduler(**schedule, clip_sample=False) if inpaint else PNDMScheduler(**schedule, skip_prk_steps=True)
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionInpaintPipeline" if inpaint else "StableDiffusionPipeline",
        "_diffusers_version": "0.36.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", type(scheduler).__name__],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder


def text_encoder(vocabulary: int) -> CLIPTextModel:
    """Two layers, ``WIDTH`` wide."""
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=WIDTH,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return CLIPTextModel(config)


def autoencoder(**settings: Any) -> AutoencoderKL:
    """Two halvings, 8 to 16 channels."""
    return AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=SIZE,
        **{"latent_channels": 4, **settings},
    )


def unet(in_channels: int = 4) -> UNet2DConditionModel:
    """Two resolutions with attention at both."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=8,
    )
