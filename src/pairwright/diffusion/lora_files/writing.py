"""LoRA files as diffusers, kohya's scripts and ComfyUI spell them, with ModelSpec 1.0.1 and kohya's metadata.

Equal content gives equal bytes: tensors and header fields stand in a fixed order, and no time is written by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from pairwright.diffusion.lora_files.changes import Change, Changes, stack, swap_halves
from pairwright.diffusion.lora_files.reading import METADATA_KEY
from pairwright.diffusion.lora_files.spellings import Format, Spellings

FIELDS = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules")
# Only what every version of peft knows: diffusers hands these to peft's configuration as they are.
SAI_MODEL_SPEC = "1.0.1"


def settings(changes: Changes) -> dict[str, Any]:
    """Settings of peft for these changes: the commonest rank and alpha, and the modules that differ."""
    rank = Counter(each.rank for each in changes.values()).most_common(1)[0][0]
    alpha = Counter(each.alpha for each in changes.values()).most_common(1)[0][0]
    # peft reads pattern keys as regular expressions that match a module's end: ^ pins them to the whole name.
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {f"^{module}": each.rank for module, each in changes.items() if each.rank != rank},
        "alpha_pattern": {f"^{module}": each.alpha for module, each in changes.items() if each.alpha != alpha},
        "target_modules": sorted(changes),
    }


def content(
    changes: Changes, names: Spellings, form: Format, metadata: Mapping[str, str], dtype: torch.dtype = torch.float32
) -> bytes:
    """A LoRA file.

    Args:
        changes: of the network, by its module names.
        names: of the network's modules; see :func:`spell` for how each format uses them.
        form: whose keys.
        metadata: header fields beside those of the format itself (ModelSpec, ``ss_*``, ours).
        dtype: of the matrices; ``.alpha`` is always float32.
    """
    spelled = spell(changes, names, form)
    found = {
        key: (value if key.endswith(".alpha") else value.to(dtype)).cpu().contiguous()
        for key, value in _tensors(spelled, form).items()
    }
    body: bytes = save(found)
    start = 8 + int.from_bytes(body[:8], "little")
    digest = hashlib.sha256(memoryview(body)[start:]).hexdigest()
    fields = {
        **metadata,
        **_fields(spelled, form),
        "format": "pt",
        "modelspec.sai_model_spec": SAI_MODEL_SPEC,
        "modelspec.hash_sha256": f"0x{digest}",
    }
    header = {"__metadata__": dict(sorted(fields.items())), **json.loads(body[8:start])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body[start:]


def write(
    path: Path,
    changes: Changes,
    names: Spellings,
    metadata: Mapping[str, str],
    form: Format = "diffusers",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write :func:`content` to ``path`` (not atomically: callers write into a temporary place)."""
    path.write_bytes(content(changes, names, form, metadata, dtype))


def spell(changes: Changes, names: Spellings, form: Format) -> dict[str, Change]:
    """The changes by what a format calls their modules.

    - ``diffusers``: ``unet.<module>``.
    - ``kohya``: ``lora_unet_<module>`` with underscores; diffusers' module names for SD-1.5, the original
      implementation's for SDXL and SD-3.5, since that is what kohya's scripts train.
    - ``comfy``: ``diffusion_model.<module>`` with the original implementation's names.

    The last two are given one alpha, the commonest rank: kohya's header has room for one, and so have some loaders.
    """
    if form == "diffusers":
        return {f"{names.prefix}.{module}": change for module, change in changes.items()}
    original = form == "comfy" or names.kohya_is_original
    spelled = dict(_original(changes, names)) if original else dict(changes)
    alpha = float(Counter(each.rank for each in spelled.values()).most_common(1)[0][0])
    if len({each.alpha for each in spelled.values()}) == 1:
        alpha = next(iter(spelled.values())).alpha
    prefix = "diffusion_model." if form == "comfy" else "lora_unet_"
    return {
        prefix + (name if form == "comfy" else name.replace(".", "_")): change.with_alpha(alpha) for name, change in spelled.items()
    }


def _tensors(spelled: Mapping[str, Change], form: Format) -> dict[str, Tensor]:
    """Of a file: diffusers reads strengths in the header, the others in a number beside the matrices."""
    if form == "diffusers":
        return {
            f"{key}.lora_{half}.weight": value
            for key, each in spelled.items()
            for half, value in (("A", each.down), ("B", each.up))
        }
    found: dict[str, Tensor] = {}
    for key, change in spelled.items():
        found[f"{key}.alpha"] = torch.tensor(change.alpha)
        found[f"{key}.lora_down.weight"] = change.down
        found[f"{key}.lora_up.weight"] = change.up
    return found


def _original(changes: Changes, names: Spellings) -> Iterator[tuple[str, Change]]:
    """By the original implementation's module names; what it fuses is stacked."""
    for name, place in names.original.items():
        parts = [changes.get(module) for module in place.modules]
        if all(part is None for part in parts):
            continue
        if len(parts) > 1:
            change = stack(parts, [names.shapes[module][0] for module in place.modules])
        else:
            assert parts[0] is not None
            change = parts[0]
        yield name, swap_halves(change) if place.swapped else change


def _fields(spelled: Mapping[str, Change], form: Format) -> dict[str, str]:
    said = settings(spelled)
    rank, alpha = str(said["r"]), f"{said['lora_alpha']:g}"
    fields = {"rank": rank, "alpha": alpha, "modelspec.implementation": "diffusers"}
    if form != "diffusers":
        return {**fields, "ss_network_dim": rank, "ss_network_alpha": alpha}
    prefix = next(iter(spelled)).split(".")[0]
    plain = settings({key.removeprefix(f"{prefix}."): change for key, change in spelled.items()})
    shown = {f"{prefix}.{field}": plain[field] for field in FIELDS}
    return {**fields, METADATA_KEY: json.dumps(shown, sort_keys=True)}
