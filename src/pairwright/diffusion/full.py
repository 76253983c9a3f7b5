"""Full fine-tuning: every weight of a denoising network, in diffusers' layout.

Trained weights are float32, as an adapter's are, and forwards cast them to the training's dtype. The reference is a second
network; see :func:`shrink` for how it takes half the memory and still agrees with the policy to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pairwright import state_dicts
from pairwright.diffusion import adapters
from pairwright.models import NETWORK_FILES, ModelError
from pairwright.weights import WeightsError

if TYPE_CHECKING:
    from pairwright.diffusion.families import Family


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of all the files that an index names.

    Raises:
        WeightsError: a file that is not there or not readable, or an index that is none.
    """
    if path.suffix != ".json":
        return state_dicts.read(path)
    try:
        files = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} is not an index of safetensors files: {error}") from error
    tensors: dict[str, Tensor] = {}
    for name in files:
        place = path.parent / Path(name).name
        if place.suffix != ".safetensors" or not place.is_file():
            raise WeightsError(f"{path} names {name}, which is no .safetensors file beside it")
        tensors |= state_dicts.read(place)
    return tensors


def put(family: Family, path: Path) -> None:
    """Give a family's network, which has no adapters yet, the weights in a file, in the network's own dtype.

    Raises:
        WeightsError: the file is not readable.
        ModelError: keys or shapes of another network.
    """
    try:
        state_dicts.fill(family.network, read(path), str(path))
    except WeightsError as error:
        raise ModelError(f"{path} does not fit {family.name} ({family.base}): {error}") from error


def merge(network: Any) -> None:
    """Fold the active adapters into the weights and take the adapters away."""
    layers = adapters.lora_layers(network)
    if not layers:
        return
    for layer in layers:
        layer.merge(adapter_names=list(layer.active_adapters))
    network.unload_lora()


def parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """All weights by name, in the network's order."""
    return dict(network.named_parameters())


@torch.no_grad()
def assign(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy values into a network, in the dtypes that it has.

    Raises:
        ValueError: names are missing or left over.
    """
    own = parameters(network)
    if own.keys() != tensors.keys():
        raise ValueError(f"names differ: {', '.join(sorted(own.keys() ^ tensors.keys())[:5])}")
    for name, parameter in own.items():
        parameter.copy_(tensors[name])


def shrink(network: nn.Module, dtype: torch.dtype) -> None:
    """Cast a frozen network to ``dtype``, all but its normalisation layers.

    Under autocast, matrices and convolutions cast their float32 weights to ``dtype`` anyway, so casting them beforehand
    changes nothing. Normalisations read theirs as they are: rounded ones would make the reference differ from the policy
    before the first step, by about as much as the gains that are to be measured.
    """
    for module in network.modules():
        if not type(module).__name__.endswith("Norm"):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)


def save(family: Family, tensors: Mapping[str, Tensor], folder: Path, metadata: Mapping[str, str]) -> None:
    """Write a network as diffusers does, float32: ``<folder>/unet/`` (or ``transformer/``) with configuration and weights.

    Args:
        family: whose network it is.
        tensors: every weight, by the network's names.
        folder: gets the network's folder.
        metadata: more header fields (ModelSpec).
    """
    place = folder / family.lora_prefix
    place.mkdir(parents=True, exist_ok=True)
    network: Any = family.network
    network.save_config(place)
    said = {**metadata, "format": "pt", "base": family.base, "modelspec.architecture": family.architecture}
    buffers = {name: value for name, value in network.state_dict().items() if name not in tensors}
    values = {name: value.detach().float() for name, value in tensors.items()} | buffers
    save_file({name: value.cpu().contiguous() for name, value in values.items()}, place / NETWORK_FILES[0], said)
