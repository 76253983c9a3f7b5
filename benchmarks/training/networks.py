"""Stable Diffusion 1.5 scaled down, and the real configurations for a GPU; random weights, which take as long as trained ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, FlowMatchEulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from pairwright.plan.networks import counted
from tools.tiny_pack.vocabulary import write_clip_tokenizer

Config = Mapping[str, Any]
TOKENS = 77

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
SD15_UNET: Config = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
}
SD15_VAE: Config = {
    "sample_size": 512,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "norm_num_groups": 32,
}
SD15_TEXT: Config = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
SD35_TRANSFORMER: Config = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
}


@dataclass(frozen=True)
class Size:
    """Configurations of a Stable Diffusion 1.5."""

    unet: Config
    vae: Config
    text: Config
    pixels: int

    @property
    def latents(self) -> int:
        """Side of the latents."""
        return self.pixels // 8


REAL = Size(SD15_UNET, SD15_VAE, SD15_TEXT, 512)
SMALL = Size(
    {
        **SD15_UNET,
        "sample_size": 16,
        "block_out_channels": (64, 128, 256, 256),
        "cross_attention_dim": 96,
        "attention_head_dim": 2,  # as many heads, so that each is nearly as wide (32 channels) as a real one (40)
        "norm_num_groups": 8,
    },
    {**SD15_VAE, "sample_size": 128, "block_out_channels": (24, 48, 96, 96), "norm_num_groups": 8},
    {**SD15_TEXT, "hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 1, "num_attention_heads": 8},
    128,
)
"""A fifth of the widths, a quarter of the resolution. Both encoders then take the same share of a step as in the real one."""
TINY = Size(
    {
        **SMALL.unet,
        "sample_size": 8,
        "block_out_channels": (8, 16, 16, 16),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 2,
    },
    {**SMALL.vae, "sample_size": 64, "block_out_channels": (8, 8, 8, 8), "norm_num_groups": 2},
    {**SMALL.text, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    64,
)
"""For the test of the benchmark itself."""


def write(folder: Path, size: Size, seed: int = 0) -> Path:
    """Write the pipeline in diffusers' layout, and return ``folder``."""
    tokenizer = write_clip_tokenizer(folder / "words")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionPipeline(
            vae=autoencoder(size),
            text_encoder=CLIPTextModel(text_config(size.text, len(tokenizer))),
            tokenizer=tokenizer,
            unet=UNet2DConditionModel(**size.unet),
            scheduler=DDIMScheduler(**SCHEDULE),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@torch.no_grad()
def autoencoder(size: Size) -> AutoencoderKL:
    """With latents of deviation 1, as a trained one has them: else all pictures would be alike in the noise."""
    vae = AutoencoderKL(**size.vae)
    pictures = 2 * torch.rand(4, 3, size.pixels, size.pixels) - 1
    vae.register_to_config(scaling_factor=1 / float(vae.encode(pictures).latent_dist.mean.std()))
    return vae


def text_config(size: Config, vocabulary: int) -> CLIPTextConfig:
    """CLIP's text encoder with another vocabulary, whose last two words are its own."""
    first, last = vocabulary - 2, vocabulary - 1
    return CLIPTextConfig(
        **{**size, "vocab_size": vocabulary}, hidden_act="quick_gelu", bos_token_id=first, eos_token_id=last, pad_token_id=last
    )


def write_scheduler(folder: Path, family: str) -> None:
    """What a family reads besides its networks: the schedule, and the autoencoder's configuration."""
    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=3.0) if family == "sd35" else DDIMScheduler(**SCHEDULE)
    scheduler.save_pretrained(folder / "scheduler")


def flop(size: Size) -> dict[str, float]:
    """Floating point operations of one forward with one sample: UNet, encoding a picture, encoding a caption."""
    with torch.device("meta"), torch.no_grad():
        unet, vae = UNet2DConditionModel(**size.unet), AutoencoderKL(**size.vae)
        text = CLIPTextModel(text_config(size.text, int(size.text["vocab_size"])))
        states = torch.empty(1, TOKENS, size.unet["cross_attention_dim"])
        return {
            "unet": counted(lambda: unet(torch.empty(1, 4, size.latents, size.latents), torch.ones(1), states)),
            "encode": counted(lambda: vae.encode(torch.empty(1, 3, size.pixels, size.pixels))),
            "text": counted(lambda: text(torch.zeros(1, TOKENS, dtype=torch.long))),
        }


def parameters(network: nn.Module) -> int:
    """How many numbers a network has."""
    return sum(each.numel() for each in network.parameters())
