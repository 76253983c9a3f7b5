"""A ControlNet for the miniatures of SD-1.5 and SDXL, and an InstructPix2Pix, each in its true on-disk layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import ControlNetModel

from tests.miniatures import sd15, sdxl

HINT = (8, 16, 16)
"""Channels of the control image's way down: as many halvings as the miniatures' autoencoder makes."""


def write_controlnet(folder: Path, seed: int = 0, *, xl: bool = False, older: bool = False, hint: tuple[int, ...] = HINT) -> Path:
    """Write ``config.json`` and the weights and return ``folder``; ``older``: as a pickle, which early repositories hold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ControlNetModel.from_unet(sdxl.unet() if xl else sd15.unet(), conditioning_embedding_out_channels=hint)
        # A new ControlNet adds nothing: its last layers are zeros until they are trained.
        for each in (network.controlnet_cond_embedding.conv_out, *network.controlnet_down_blocks, network.controlnet_mid_block):
            torch.nn.init.normal_(each.weight, std=0.3)
    network.save_pretrained(folder, safe_serialization=not older)
    return folder


def write_pix2pix(folder: Path, seed: int = 0) -> Path:
    """The whole pipeline: a UNet of 8 input channels, and the scheduler that adds noise at every step, as published."""
    sd15.write_sd15(folder, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        sd15.unet(8).save_pretrained(folder / "unet")
    path = folder / "scheduler" / "scheduler_config.json"
    settings = json.loads(path.read_text())
    kept = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type", "steps_offset")
    named = {"_class_name": "EulerAncestralDiscreteScheduler", "_diffusers_version": "0.36.0"}
    path.write_text(json.dumps(named | {name: settings[name] for name in kept}, indent=2) + "\n")
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    index |= {
        "_class_name": "StableDiffusionInstructPix2PixPipeline",
        "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
    }
    path.write_text(json.dumps(index, indent=2) + "\n")
    return folder
