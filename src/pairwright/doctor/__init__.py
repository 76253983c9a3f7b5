"""What is installed, what hardware is there and which models are cached; with a hint wherever something is off.

On request also whether the scorers still say what they said (:mod:`pairwright.doctor.scorers`).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pairwright
from pairwright import __version__, catalogue, hardware, places, weights
from pairwright.doctor.findings import Finding
from pairwright.progress import SILENT, Progress

GIGA = 1e9
LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "huggingface_hub", "pyarrow", "pillow")
EXTRAS = {
    "datasets": "opens results with load_dataset, reads the hub's data sets",
    "onnxruntime": "saliency from .onnx files",
}
"""What is not installed by itself, and what it is for."""
TINY_PARTS = (
    *("base", "inpaint", "controlnet", "pickscore", "imagereward", "classifier", "u2net"),
    *("photos", "prompts.txt", "training-prompts.txt"),
)
LITTLE_DISK, LITTLE_MEMORY = 20 * GIGA, 8 * GIGA


def doctor(*, scorers: bool = False, progress: Progress = SILENT) -> str:
    """The report as text for the terminal.

    Args:
        scorers: load every scorer whose weights are here, and compare its scores with those that it gave before.
        progress: told which scorer is being loaded; large ones take minutes.
    """
    sections = {
        "Software": [*_software(), *_extras()],
        "Hardware": [*_processor(), *_accelerators()],
        "Models": [*_hub(), *_cached(), *_tiny()],
    }
    if scorers:
        from pairwright.doctor.scorers import checked

        sections["Scorers"] = list(checked(progress))
    width = max(len(each.label) for findings in sections.values() for each in findings)
    lines: list[str] = []
    for title, findings in sections.items():
        lines += [title, *(line for each in findings for line in _shown(each, width)), ""]
    hints = sum(bool(each.hint) for findings in sections.values() for each in findings)
    return "\n".join([*lines, f"{hints} hint{'s' if hints > 1 else ''} above (->)" if hints else "Nothing is off."])


def _shown(finding: Finding, width: int) -> list[str]:
    lines = [f"  {finding.label:<{width}}  {finding.text}".rstrip()]
    return [*lines, f"  {'':<{width}}  -> {finding.hint}"] if finding.hint else lines


def _software() -> Iterator[Finding]:
    yield Finding("pairwright", f"{__version__} in {Path(pairwright.__file__).parent}")
    yield Finding("python", f"{platform.python_version()} in {sys.prefix}")
    yield Finding("platform", platform.platform())
    for name in LIBRARIES:
        yield _library(name)


def _library(name: str) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "MISSING", "pip install pairwright installs it; this installation is damaged")
    if name != "torch":
        return Finding(name, version)
    try:
        import torch
    except (ImportError, OSError) as error:  # a broken library on the path raises OSError
        return Finding(name, f"{version}, but it cannot be imported: {error}", "install torch anew: see pytorch.org/get-started")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "ROCm" if torch.version.hip else "CPU"
    return Finding(name, f"{version}, built for {built}, {torch.get_num_threads()} threads")


def _extras() -> Iterator[Finding]:
    for name, purpose in EXTRAS.items():
        there = importlib.util.find_spec(name) is not None
        text = importlib.metadata.version(name) if there else "not installed"
        yield Finding(name, f"{text} (optional: {purpose})")


def _processor() -> Iterator[Finding]:
    found = hardware.processor()
    features = f", {', '.join(found.features)}" if found.features else ""
    yield Finding(
        "cpu",
        f"{found.model}, {found.cores} cores{features}",
        "" if hardware.multiplies("bfloat16") else "no bfloat16 in hardware: networks on it run in float32, whatever dtype says",
    )
    total, free = hardware.memory()
    if total is None or free is None:
        yield Finding("memory", "cannot be read")
    else:
        hint = "the tiny recipe needs about 2 GB; close something" if free < LITTLE_MEMORY else ""
        yield Finding("memory", f"{_gb(total)}, {_gb(free)} available", hint)


def _accelerators() -> Iterator[Finding]:
    try:
        found = [each for each in hardware.devices() if each.name != "cpu"]
    except (ImportError, OSError):
        return  # said with the libraries
    for each in found:
        room = f", {_gb(each.total)}, {_gb(each.free)} free" if each.total is not None and each.free is not None else ""
        yield Finding(each.name, f"{each.label}{room}")
    if found:
        return
    if shutil.which("nvidia-smi"):
        yield Finding(
            "gpu", "none that torch can use", "there is an NVIDIA driver: install a CUDA build of torch (pytorch.org/get-started)"
        )
    else:
        yield Finding("gpu", "none: full-size models take days or years here; `pairwright run tiny` takes minutes")


def _hub() -> Iterator[Finding]:
    from huggingface_hub import get_token
    from huggingface_hub.constants import HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE

    source = "HF_HOME" if "HF_HOME" in os.environ else "default; set HF_HOME to move it"
    yield Finding("hub cache", f"{HF_HOME} ({source})")
    yield Finding(
        "hub",
        "offline: HF_HUB_OFFLINE is set, nothing is downloaded"
        if HF_HUB_OFFLINE
        else "models are downloaded when needed (HF_HUB_OFFLINE is not set)",
    )
    yield Finding("token", "present" if get_token() else "none (needed for gated models only: hf auth login)")
    free = shutil.disk_usage(_existing(Path(HF_HUB_CACHE))).free
    yield Finding(
        "disk", f"{_gb(free)} free for the cache", "SD-1.5's recipe downloads 14 GB; set HF_HOME" if free < LITTLE_DISK else ""
    )
    here = shutil.disk_usage(Path.cwd()).free
    yield Finding("", f"{_gb(here)} free in {Path.cwd()}", "results go there; use --root" if here < LITTLE_DISK / 4 else "")


def _cached() -> Iterator[Finding]:
    silent = places.Hub(silent="the doctor asks nobody")
    roles: dict[str, places.Role] = dict.fromkeys(catalogue.TOKENIZERS, "processor")
    for name, costs in catalogue.KNOWN.items():
        if "/" in name:
            roles[name] = "pipeline" if "unet" in costs.parameters else "weights"
    found = [places.place(name, role, silent) for name, role in roles.items()]
    cached = [each for each in found if each.state == "cached"]
    if not cached:
        yield Finding("cached", "no model that pairwright knows (the tiny pack needs none)")
    for index, each in enumerate(cached):
        yield Finding("" if index else "cached", f"{each.name}, {_gb(each.bytes or 0)}")


def _tiny() -> Iterator[Finding]:
    folder = weights.tiny_pack()
    missing = [part for part in TINY_PARTS if not (folder / part).exists()]
    size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()) if folder.is_dir() else 0
    text = f"{size / 1e6:.1f} MB in {folder}" if size else f"nothing in {folder}"
    if missing:
        text += f"; it lacks {', '.join(missing)}"
    hint = (
        "PAIRWRIGHT_TINY points there" if "PAIRWRIGHT_TINY" in os.environ else "install pairwright anew, or build the pack (tools/)"
    )
    yield Finding("tiny pack", text if missing else f"complete, {text}", hint if missing else weights.untrained())


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _gb(count: float) -> str:
    return f"{count / GIGA:.1f} GB"
