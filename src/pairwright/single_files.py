"""Bases that are one ``.safetensors`` file in the original key layout (LDM, SGM, SD3), as other programs write them.

Such a file has weights and nothing else: configurations, tokenizers and the scheduler lie elsewhere. They are read from a
folder in diffusers' layout beside the file that has its name without the suffix (``dream/`` for ``dream.safetensors``),
and where there is none from the family's public repository. Only the file's header is read here.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pairwright import weights
from pairwright.errors import Explained

CONFIGURATIONS = {
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
    "sd35": "stabilityai/stable-diffusion-3.5-medium",
}
"""The public repository whose configuration fits a family's single files."""
NETWORK = "model.diffusion_model."
"""Of the denoising network's keys, in every original layout."""
_KEYS = {
    "conditioner.embedders.1.": "sdxl",
    "cond_stage_model.transformer.": "sd15",
    f"{NETWORK}joint_blocks.": "sd35",
}
"""Beginnings of keys that tell the families apart."""
_OTHERS = {
    "conditioner.embedders.0.model.": "the refiner of Stable Diffusion XL",
    "cond_stage_model.model.": "Stable Diffusion 2",
    "lora_": "a LoRA, which is a layer and no base",
    "unet.": "a LoRA, which is a layer and no base",
    "transformer.": "a LoRA, which is a layer and no base",
    NETWORK: "a denoising network without its text encoders, which is a layer and no base",
}
_LARGEST_HEADER = 100_000_000  # safetensors' own limit


class SingleFileError(Explained, ValueError):
    """A file that is no base of a known family; the message says what it is."""


def header(path: Path) -> dict[str, Any]:
    """The tensors that a safetensors file lists (``dtype``, ``shape``, ``data_offsets`` by key), without its metadata.

    Raises:
        SingleFileError: it is not a safetensors file.
    """
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if length <= _LARGEST_HEADER else b""
    try:
        listed = json.loads(text)
    except ValueError:
        listed = None
    if path.suffix != ".safetensors" or not isinstance(listed, dict):
        raise SingleFileError(f"{path} is not a .safetensors file; other formats can execute code and are not read")
    return {key: value for key, value in listed.items() if key != "__metadata__"}


def family(path: Path) -> str:
    """The family of a single file, by its keys.

    Raises:
        SingleFileError: no family here has such keys, or it is an inpainting model.
    """
    tensors = header(path)
    found = _first(_KEYS, tensors)
    if found is None:
        what = _first(_OTHERS, tensors) or f"something with keys like {', '.join(sorted(tensors)[:3]) or 'none'}"
        raise SingleFileError(f"{path} is {what}; bases that can be trained and sampled are of {', '.join(CONFIGURATIONS)}")
    first = tensors.get(f"{NETWORK}input_blocks.0.0.weight", {}).get("shape", [0, 4])
    if first[1] != 4:
        raise SingleFileError(f"{path} is an inpainting or editing model: its network reads {first[1]} channels instead of 4")
    return found


def configuration(path: Path, name: str) -> str:
    """Where a single file's configuration is: a folder, or the hub id of the family's public repository."""
    beside = path.with_suffix("")
    return str(beside) if (beside / "model_index.json").is_file() else CONFIGURATIONS[name]


def schedule(path: Path) -> dict[str, Any]:
    """What a file says of its own noise schedule, as fields of diffusers' schedulers.

    Fine-tuned SDXL files with v-prediction carry empty tensors called ``v_pred`` and ``ztsnr``, by which other programs
    know them; read as noise prediction they would be trained towards the wrong target without an error.
    """
    marks: dict[str, dict[str, Any]] = {"v_pred": {"prediction_type": "v_prediction"}, "ztsnr": {"rescale_betas_zero_snr": True}}
    tensors = header(path)
    return {field: value for mark, fields in marks.items() if mark in tensors for field, value in fields.items()}


def identity(base: str, name: str) -> str:
    """What a fingerprint says of a base: :func:`weights.identity`, and for a single file that of its configuration too."""
    path = weights.tiny(base)
    own = weights.identity(base)
    return f"{own}+{weights.identity(configuration(path, name))}" if path.is_file() else own


def _first(beginnings: dict[str, str], keys: Collection[str]) -> str | None:
    return next((what for beginning, what in beginnings.items() if any(key.startswith(beginning) for key in keys)), None)
