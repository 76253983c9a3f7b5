"""Checkpoints under OpenAI's key names, with random weights: HPSv2's two files, and CSD with OneIG's references.

Every key name is the file's own: an open_clip ViT-H-14 in ``{"state_dict": ...}`` beside its training state for HPSv2; CLIP's
picture tower with two heads in ``{"model_state_dict": ...}``, each key after ``module.``, for CSD.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.miniatures.tokenizer import write_clip_tokenizer

VISION, TEXT, JOINT = 40, 24, 16
"""Widths of both towers and of what they have in common."""
HEAD_WIDTH, TEXT_HEADS, LAYERS = 20, 3, 2
PATCH, SIDE = 4, 5
"""A picture has ``SIDE x SIDE`` patches."""
CSD_WIDTH, CSD_STYLE = 128, 12
"""Of CSD's states, in heads of 64 as in ViT-L, and of its style vectors."""
STYLES = ("watercolor", "pixel_art", "line_art")


def write_hpsv2(folder: Path, seed: int = 0, *, name: str = "HPS_v2_compressed.pt", tokenizer: bool = True) -> Path:
    """Write the checkpoint, ``open_clip_config.json`` and (with ``tokenizer``) CLIP's tokenizer; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = clip_state(seed)
    if name.endswith(".safetensors"):
        save_file(state, folder / name)
    else:
        torch.save({"epoch": 3, "name": "hps", "state_dict": state}, folder / name)
    vision = {"image_size": SIDE * PATCH, "layers": LAYERS, "width": VISION, "head_width": HEAD_WIDTH, "patch_size": PATCH}
    text = {"context_length": 77, "vocab_size": rows(), "width": TEXT, "heads": TEXT_HEADS, "layers": LAYERS}
    config = {"model_cfg": {"embed_dim": JOINT, "vision_cfg": vision, "text_cfg": text}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if tokenizer:
        write_clip_tokenizer(folder)
    return folder


def write_csd(folder: Path, seed: int = 0, *, style_encoder_width: int = 16) -> Path:
    """Write ``checkpoint.pth``, ``CSD_embed.pt`` and ``SE_embed.pt``; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"module.{key}": value for key, value in csd_state(seed).items()}
    torch.save({"model_state_dict": state, "iter": 80000, "opt_bb": {"state": {}}}, folder / "checkpoint.pth")
    generator = torch.Generator().manual_seed(seed + 100)
    for name, width, number in (("CSD", CSD_STYLE, torch.float32), ("SE", style_encoder_width, torch.bfloat16)):
        vectors = {style: torch.randn(3, width, generator=generator) for style in STYLES}
        torch.save(
            {style: (each / each.norm(dim=-1, keepdim=True)).to(number) for style, each in vectors.items()},
            folder / f"{name}_embed.pt",
        )
    return folder


def rows() -> int:
    """Of the miniature tokenizer's vocabulary: every byte, every byte at a word's end, start and end."""
    return 2 * 256 + 2


def clip_state(seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of an open_clip checkpoint."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "logit_scale": torch.tensor(4.6052),
        "token_embedding.weight": _random(generator, rows(), TEXT),
        "positional_embedding": _random(generator, 77, TEXT),
        "text_projection": _random(generator, TEXT, JOINT),
        **_norm(generator, "ln_final", TEXT),
        **_blocks(generator, "transformer", TEXT),
        **_picture_tower(generator, "visual.", VISION, JOINT),
    }


def csd_state(seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of CSD, without the ``module.`` of its training."""
    generator = torch.Generator().manual_seed(seed)
    tower = _picture_tower(generator, "backbone.", CSD_WIDTH, CSD_STYLE)
    style = tower.pop("backbone.proj")
    return {**tower, "last_layer_style": style, "last_layer_content": _random(generator, CSD_WIDTH, CSD_STYLE)}


def _picture_tower(generator: torch.Generator, prefix: str, width: int, joint: int) -> dict[str, Tensor]:
    return {
        f"{prefix}class_embedding": _random(generator, width),
        f"{prefix}positional_embedding": _random(generator, SIDE * SIDE + 1, width),
        f"{prefix}conv1.weight": _random(generator, width, 3, PATCH, PATCH, scale=0.15),
        f"{prefix}proj": _random(generator, width, joint),
        **_norm(generator, f"{prefix}ln_pre", width),
        **_norm(generator, f"{prefix}ln_post", width),
        **_blocks(generator, f"{prefix}transformer", width),
    }


def _blocks(generator: torch.Generator, name: str, width: int) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for layer in range(LAYERS):
        block = f"{name}.resblocks.{layer}"
        state |= _norm(generator, f"{block}.ln_1", width) | _norm(generator, f"{block}.ln_2", width)
        state[f"{block}.attn.in_proj_weight"] = _random(generator, 3 * width, width, scale=2 * width**-0.5)
        state[f"{block}.attn.in_proj_bias"] = _random(generator, 3 * width)
        for part, inputs, outputs in (
            ("attn.out_proj", width, width),
            ("mlp.c_fc", width, 2 * width),
            ("mlp.c_proj", 2 * width, width),
        ):
            state[f"{block}.{part}.weight"] = _random(generator, outputs, inputs, scale=inputs**-0.5)
            state[f"{block}.{part}.bias"] = _random(generator, outputs)
    return state


def _norm(generator: torch.Generator, name: str, width: int) -> dict[str, Tensor]:
    return {f"{name}.weight": 1 + _random(generator, width), f"{name}.bias": _random(generator, width)}


def _random(generator: torch.Generator, *shape: int, scale: float = 0.3) -> Tensor:
    return torch.randn(shape, generator=generator) * scale
