"""Denoising networks and whole pipelines in diffusers' layout, made of safetensors and JSON alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pairwright import weights
from pairwright.diffusion.families import _parts
from pairwright.models import NETWORK_FILES, ModelError
from pairwright.store import write_text

INDEX = "model_index.json"
_PLAIN = {".json", ".txt", ".model"}
"""Configurations, vocabularies and sentencepiece's tokenizers."""
_WEIGHTS = ("model", "diffusion_pytorch_model")
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx"}


def write_network(network: Any, folder: Path, metadata: Mapping[str, str], dtype: torch.dtype) -> None:
    """Write a network as ``from_pretrained`` reads it; equal weights give equal bytes.

    Args:
        network: of diffusers, without adapters.
        folder: is made.
        metadata: header fields.
        dtype: of its floating-point weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(network.to_json_string())
    config.pop("_name_or_path", None)  # where the base lay on this disk is nobody's business
    write_text(folder / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    path = folder / NETWORK_FILES[0]
    save_file(tensors, path, {**metadata, "format": "pt"})
    sort_header(path)


def sort_header(path: Path) -> None:
    """Put a safetensors file's header in order, in place: the library writes its fields in one that changes from call to call.

    A file is 8 bytes of length, a JSON header, and the data, whose offsets count from the header's end.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "the same fields in another order are no longer"
        file.seek(8)
        file.write(text.ljust(length))


def locate(name: str, network: str) -> Path:
    """A base with all parts of a pipeline but, where they are not here yet, the weights of the network that is replaced.

    Raises:
        ModelError: it is a single file, lacks a part, or has a part's weights only in formats that can execute code.
        WeightsError: it is not there.
    """
    networks = ("text_encoder", "text_encoder_2", "text_encoder_3", "vae")
    base = weights.locate(name, patterns=[*_parts.patterns(*networks), "feature_extractor/*.json"])
    if not (base / INDEX).is_file():
        raise ModelError(f"{base} is not a folder in diffusers' layout, so no pipeline can be made of it; write 'merged' instead")
    for part in _named(base):
        if part != network:
            list(_files(base / part))
    return base


def write_pipeline(base: Path, network: str, written: Path, folder: Path) -> None:
    """Write a pipeline: a base's parts with another network. What is untouched is linked where the disk allows, else copied.

    Args:
        base: a pipeline in diffusers' layout.
        network: which part is replaced (``unet``, ``transformer``).
        written: that part's new folder, which is linked too.
        folder: is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = json.loads((base / INDEX).read_text(encoding="utf-8"))
    index.pop("_name_or_path", None)
    there = _named(base)
    for name, value in index.items():
        if isinstance(value, list) and name not in there:
            index[name] = [None, None]  # an optional part that was not downloaded: the safety checker
    if index.get("safety_checker") == [None, None]:
        index["requires_safety_checker"] = False
    write_text(folder / INDEX, json.dumps(index, indent=2) + "\n")
    for name in there:
        for path in _files(written if name == network else base / name):
            _link(path, folder / name / path.name)


def _named(base: Path) -> list[str]:
    """The folders of a pipeline that its index names.

    Raises:
        ModelError: one is not there that is needed.
    """
    index = json.loads((base / INDEX).read_text(encoding="utf-8"))
    named = [name for name, value in index.items() if isinstance(value, list) and value[0] is not None]
    optional = {"safety_checker", "feature_extractor", "image_encoder"}
    missing = [name for name in named if not (base / name).is_dir() and name not in optional]
    if missing:
        raise ModelError(f"{base} has no {', '.join(missing)}, which its {INDEX} names")
    checker = "safety_checker" in named and any(_of_kind(base / "safety_checker", {".safetensors"}))
    return [name for name in named if (base / name).is_dir() and (checker or name != "safety_checker")]


def _files(part: Path) -> Iterator[Path]:
    """The files of a part that ``from_pretrained`` reads by default.

    Raises:
        ModelError: its weights are there only as a variant or in a format that can execute code.
    """
    weights = [path for path in _of_kind(part, {".safetensors"}) if path.name.split(".")[0].split("-")[0] in _WEIGHTS]
    plain = [path for path in weights if len(path.name.split(".")) == 2]  # no ".fp16", no ".non_ema"
    if not plain and (weights or any(_of_kind(part, _PICKLES))):
        raise ModelError(f"{part} has no {_WEIGHTS[0]}.safetensors or {_WEIGHTS[1]}.safetensors, only other variants or formats")
    yield from plain
    for path in _of_kind(part, _PLAIN):
        if not path.name.endswith(".index.json") or path.name.split(".")[1:] == ["safetensors", "index", "json"]:
            yield path


def _of_kind(folder: Path, suffixes: set[str]) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in suffixes and path.is_file())


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)  # the hub's cache has symbolic links into a folder of blobs
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
