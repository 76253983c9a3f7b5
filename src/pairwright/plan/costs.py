"""What a model costs: counted where its configuration is here, else looked up in the catalogue."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pairwright import catalogue, plugins
from pairwright.catalogue import Costs
from pairwright.literals import weights_of
from pairwright.options import Plugin
from pairwright.plan import networks

POSITIONS = 180
"""A scorer's forward is taken as two operations per parameter and position. At 180 positions this comes within a sixth of
what CLIP-H and ImageReward need for a picture and its text."""


def pipeline(name: str, folder: Path | None, side: int) -> Costs | None:
    """Of a Stable Diffusion pipeline: counted where it is here, else from the catalogue; None where nothing is known."""
    if folder is not None and (found := networks.pipeline(folder, side)) is not None:
        return found
    known = catalogue.known(name)
    return known.at(side) if known and "unet" in known.parameters else None


def controlled(base: Costs | None, name: str, folder: Path | None, side: int) -> Costs | None:
    """A pipeline with a ControlNet, which runs at every step of its network; None where either is not known.

    Args:
        base: of the pipeline at ``side`` pixels.
        name: of the ControlNet.
        folder: where it is, if it is here.
        side: pixels.
    """
    known = catalogue.known(name)
    found = networks.controlnet(folder, side) if folder is not None else None
    if found is None and known is not None and "controlnet" in known.parameters:
        found = known.at(side)
    if base is None or found is None:
        return None
    flop = {**base.flop, "unet": base.flop["unet"] + found.flop["controlnet"]}
    rough = base.rough or found.rough
    return replace(base, parameters={**base.parameters, **found.parameters}, flop=flop, rough=rough)


def reward(name: str, path: Path | None) -> Costs | None:
    """Of a network that scores one picture and one text."""
    known = catalogue.known(name)
    if known and ("score" in known.flop or not known.flop):
        return known
    count = sum(_numel(shape) for shape in shapes(path).values()) if path else 0
    return Costs({"network": count}, {"score": 2.0 * count * POSITIONS}, side=0, rough=True) if count else None


def rewards(asked: Iterable[Plugin], folder: Callable[[str], Path | None]) -> list[Costs | None]:
    """Of each network that these rewards stand on, once: what several of them share is computed once.

    None where nothing is known, as of a model behind a server.

    Args:
        asked: the rewards.
        folder: where weights of a name are, if they are here.
    """
    asked = list(asked)
    names = dict.fromkeys(name for each in asked for name in weights_of("rewards", each))
    takes = [{each.name for each in plugins.signature("rewards", plugin.name).options} for plugin in asked]
    return [*(reward(name, folder(name)) for name in names), *(None for each in takes if "served_model" in each)]


def saliency(name: str, path: Path | None, side: int | None) -> Costs | None:
    """Of a U^2-Net."""
    if path is not None and (found := _u2net(path, side)) is not None:
        return found
    known = catalogue.known(name)
    return known if known and "map" in known.flop else None


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors in a file or in a folder's own files, read from headers."""
    if path.is_dir():
        safe = sorted(path.glob("*.safetensors"))
        files = safe or sorted(each for each in path.iterdir() if each.suffix in {".pt", ".pth", ".bin"})
        return {name: shape for file in files for name, shape in shapes(file).items()}
    if path.suffix == ".safetensors":
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header: dict[str, Any] = json.loads(stream.read(min(length, 100_000_000)))
        return {name: tuple(each["shape"]) for name, each in header.items() if name != "__metadata__"}
    if path.suffix in {".pt", ".pth", ".bin"}:
        import torch

        return dict(_tensors(torch.load(path, map_location="meta", weights_only=True)))
    return {}


def _tensors(value: object, prefix: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _tensors(each, f"{prefix}{name}")
    elif hasattr(value, "shape"):
        yield prefix, tuple(value.shape)


def _numel(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


@cache
def _u2net(path: Path, side: int | None) -> Costs | None:
    import torch

    from pairwright.saliency import u2net
    from pairwright.saliency.u2net_network import U2Net

    config = (path if path.is_dir() else path.parent) / "config.json"
    settings = networks.config(config.parent) if config.is_file() else {}
    size = side or int(settings.get("image_size", u2net.SIZE))
    with torch.device("meta"):
        try:
            network = U2Net(u2net.widths({name: torch.empty(shape) for name, shape in shapes(path).items()}))
        except KeyError:  # an ONNX file, or another network
            return None
        with torch.no_grad():
            flop = networks.counted(lambda: network.eval().side_outputs(torch.empty(1, 3, size, size)))
    return Costs({"network": networks.size(network)}, {"map": flop}, side=0)
