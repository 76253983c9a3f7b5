"""LoRA files: safetensors in diffusers' and peft's keys, with the settings where diffusers reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pairwright.models import ModelError

METADATA_KEY = "lora_adapter_metadata"
"""Where diffusers reads rank and alpha in a LoRA file."""
FIELDS = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules")
# Only what every version of peft knows: diffusers hands these to peft's configuration as they are.


def read(path: Path, prefix: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (without ``prefix``) and peft settings of a LoRA file in diffusers' or peft's keys.

    Where the file does not say, every module has the rank of its matrices and alpha equals it.

    Raises:
        ModelError: keys of another format or of other parts of the model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from error
    foreign = [key for key in stored if not (key.startswith(f"{prefix}.") and (".lora_A." in key or ".lora_B." in key))]
    if foreign or not stored:
        shown = ", ".join(foreign[:3]) or "nothing"
        raise ModelError(f"{path} has keys that are not '{prefix}.<module>.lora_A/lora_B.weight': {shown}")
    tensors = {key.removeprefix(f"{prefix}."): value.float() for key, value in stored.items()}
    if METADATA_KEY in metadata:
        known = {key.removeprefix(f"{prefix}."): value for key, value in json.loads(metadata[METADATA_KEY]).items()}
        settings = {field: known[field] for field in FIELDS if known.get(field) is not None}
    else:
        settings = settings_by_shape(tensors)
    # Exactly the modules of the file: an ending could match more of them in this base.
    return tensors, {**settings, "target_modules": modules(tensors)}


def write(path: Path, tensors: Mapping[str, Tensor], prefix: str, settings: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write a file that diffusers loads at strength 1; equal content gives equal bytes.

    Args:
        path: of the file.
        tensors: by the network's keys, without ``prefix``.
        prefix: what diffusers calls the network (``unet``).
        settings: peft's, at least :data:`FIELDS`.
        metadata: more header fields.
    """
    header = {
        **metadata,
        "format": "pt",
        "rank": str(settings["r"]),
        "alpha": f"{settings['lora_alpha']:g}",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": "diffusers",
        METADATA_KEY: json.dumps({f"{prefix}.{field}": settings[field] for field in FIELDS}, sort_keys=True),
    }
    save_file({f"{prefix}.{key}": value.float().cpu().contiguous() for key, value in tensors.items()}, path, header)
    _sort_header(path)


def modules(tensors: Mapping[str, Tensor]) -> list[str]:
    """The modules that an adapter's keys belong to."""
    return sorted({key.rsplit(".lora_", 1)[0] for key in tensors})


def settings_by_shape(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings under which every module has the rank of its matrices and strength 1."""
    ranks = {key.rsplit(".lora_", 1)[0]: len(value) for key, value in tensors.items() if ".lora_A." in key}
    rank = max(ranks.values())
    # peft reads pattern keys as regular expressions that match a module's end: ^ pins them to the whole name.
    pattern = {f"^{module}": each for module, each in ranks.items() if each != rank}
    return {"r": rank, "lora_alpha": rank, "rank_pattern": pattern, "alpha_pattern": dict(pattern)}


def _sort_header(path: Path) -> None:
    """Give equal adapters equal bytes: safetensors writes the header's fields in an order that changes from call to call.

    A file is 8 bytes of length, a JSON header, and the data, whose offsets count from the header's end.
    """
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
