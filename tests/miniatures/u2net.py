"""U^2-Net files as people have them, with random weights: ``u2net.pth`` with its counters, and safetensors with widths."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from pairwright.saliency.u2net_network import U2Net, Widths

NARROW = Widths((3, 4, 3, 4, 3, 4), (6, 5, 6, 5, 6, 5), (4, 3, 4, 3, 4), (5, 6, 5, 6, 5))
"""No two neighbours alike, so that a width that is read from the wrong place shows."""


def network(seed: int = 0) -> U2Net:
    """A narrow network whose batch norms have seen something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        result = U2Net(NARROW)
        for module in result.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
                torch.nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return result.eval()


def write_pth(folder: Path, seed: int = 0, name: str = "u2net.pth") -> Path:
    """The pickle of the authors: a plain dictionary of tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network(seed).state_dict(), folder / name)
    return folder / name


def write_folder(folder: Path, seed: int = 0, size: int = 32) -> Path:
    """The tiny pack's form: ``u2net.safetensors`` without counters, ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value for name, value in network(seed).state_dict().items() if value.is_floating_point()}
    save_file(state, folder / "u2net.safetensors")
    (folder / "config.json").write_text(json.dumps({"widths": asdict(NARROW), "image_size": size}))
    return folder
