"""Low-rank adapters on a frozen network (LoRA, Hu et al. 2021), through peft.

One base, several adapters beside each other; a *name* stands for one of them. Policy, reference and sampling policy are
the same network with other names active: see :func:`only`. Every adapter's weights are float32 whatever the network's
dtype, because a learning rate of 1e-6 moves few bfloat16 numbers at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from pairwright import seeds
from pairwright.diffusion import lora_files
from pairwright.diffusion.quick_lora import quicken
from pairwright.models import LORA_FILE, ModelError

if TYPE_CHECKING:
    from pairwright.diffusion.families import Family


def lora_layers(network: nn.Module) -> list[LoraLayer]:
    """The places where adapters sit."""
    return [module for module in network.modules() if isinstance(module, LoraLayer)]


@contextmanager
def only(network: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Inside, the network runs with these adapters and no others; none: the bare base.

    peft's own ``set_adapter`` also decides what is trainable, which must not change here, so its switch is set directly.
    Backward passes belong outside: with activation checkpointing they run the forward again.
    """
    layers = lora_layers(network)
    before = [layer.active_adapters for layer in layers]
    activate(layers, names)
    try:
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer._active_adapter = active  # noqa: SLF001 - see the docstring


def activate(layers: Sequence[LoraLayer], names: Sequence[str]) -> None:
    """Make these adapters the active ones, without touching what is trainable."""
    for layer in layers:
        layer._active_adapter = list(names)  # noqa: SLF001 - see `only`


def add(family: Family, name: str, *, rank: int, alpha: float, targets: Sequence[str], seed: int) -> None:
    """Attach a fresh adapter that changes nothing yet: A is normal with deviation 1 / rank, B is zero.

    That is peft's ``gaussian`` (the papers' choice), with every draw keyed by the seed and the module's name.

    Raises:
        ModelError: no module of the network has such a name.
    """
    wanted = tuple(targets) or family.lora_targets
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(wanted), init_lora_weights="gaussian")
    try:
        _inject(family.network, name, config)
    except ValueError as error:
        raise ModelError(f"no adapter can be put on {family.name}'s {', '.join(wanted)}: {error}") from error
    for key, parameter in parameters(family.network, name).items():
        if ".lora_A." in key:
            drawn = torch.randn(parameter.shape, generator=seeds.generator(seed, "lora", key)) / rank
            parameter.data.copy_(drawn)


def attach(family: Family, name: str, path: Path, *, scale: float = 1.0, network_only: bool = False) -> None:
    """Attach the adapter in a LoRA file of any common format, frozen and active.

    Args:
        family: gets it.
        name: what it is called.
        path: see :mod:`pairwright.diffusion.lora_files` for what is read.
        scale: strength; 1 is the file's own.
        network_only: leave out what the file says of the text encoders, instead of refusing it.

    Raises:
        ModelError: keys that do not belong to the family's network, or shapes that do not fit.
    """
    names = lora_files.of(family.network, family.lora_prefix)
    try:
        changes = lora_files.read(path, names, network_only=network_only)
    except ModelError as error:
        raise ModelError(f"a layer on {family.name} ({family.base}): {error}") from error
    _inject(family.network, name, LoraConfig(**lora_files.settings(changes), init_lora_weights=False))
    assign(family.network, name, _tensors(changes))
    freeze(family.network, name)
    for layer in lora_layers(family.network):
        layer.set_scale(name, scale)


def copy(family: Family, source: str, name: str) -> None:
    """Attach a frozen copy of an adapter, inactive."""
    network = family.network
    active = lora_layers(network)[0].active_adapters
    config = LoraConfig(**_settings(network, source), init_lora_weights=False)
    _inject(network, name, config)
    assign(network, name, parameters(network, source))
    freeze(network, name)
    for layer in lora_layers(network):
        if source in layer.scaling:
            layer.scaling[name] = layer.scaling[source]
    activate(lora_layers(network), active)


def parameters(network: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """The adapter's weights by key (``down_blocks...to_q.lora_A.weight``), in the network's order."""
    marks = (f".lora_A.{name}.", f".lora_B.{name}.")
    return {key.replace(f".{name}.", "."): value for key, value in network.named_parameters() if any(mark in key for mark in marks)}


@torch.no_grad()
def assign(network: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Copy values into an adapter.

    Raises:
        ValueError: keys are missing or left over.
        RuntimeError: a shape differs.
    """
    own = parameters(network, name)
    if own.keys() != tensors.keys():
        raise ValueError(f"keys differ: {', '.join(sorted(own.keys() ^ tensors.keys())[:5])}")
    for key, parameter in own.items():
        if parameter.shape != tensors[key].shape:
            raise ValueError(f"{key} is {tuple(tensors[key].shape)}, not {tuple(parameter.shape)}")
        parameter.copy_(tensors[key])


def freeze(network: nn.Module, name: str) -> None:
    """Make an adapter constant."""
    for parameter in parameters(network, name).values():
        parameter.requires_grad = False


def thaw(network: nn.Module, name: str) -> None:
    """Make an adapter trainable."""
    for parameter in parameters(network, name).values():
        parameter.requires_grad = True


def changes(network: nn.Module, names: Sequence[str], averaged: Mapping[str, Tensor] | None = None) -> dict[str, lora_files.Change]:
    """What several adapters do together, by module: ranks side by side, every strength folded in.

    Args:
        network: carries the adapters.
        names: the chain, in order.
        averaged: values to take for the last adapter instead of its own.
    """
    parts: dict[str, list[lora_files.Change]] = {}
    for name in names:
        found: Mapping[str, Tensor] = parameters(network, name)
        if averaged is not None and name == names[-1]:
            found = averaged
        for module in modules(found):
            scaling = _scaling(network, module, name)
            down, up = (found[f"{module}.lora_{half}.weight"].detach().float().cpu() for half in "AB")
            parts.setdefault(module, []).append(lora_files.Change(down, up, scaling * len(down)))
    return {module: lora_files.add(each) for module, each in sorted(parts.items())}


def modules(tensors: Mapping[str, Tensor]) -> list[str]:
    """The modules that an adapter's keys belong to."""
    return sorted({key.rsplit(".lora_", 1)[0] for key in tensors})


def save(
    family: Family, names: Sequence[str], folder: Path, metadata: Mapping[str, str], averaged: Mapping[str, Tensor] | None = None
) -> None:
    """Write what several adapters do together as one LoRA file that diffusers loads at strength 1.

    Args:
        family: carries the adapters.
        names: the chain, in order; the last one is the trained one.
        folder: gets ``pytorch_lora_weights.safetensors``.
        metadata: more header fields (ModelSpec).
        averaged: values to write for the last adapter instead of its own.
    """
    spellings = lora_files.of(family.network, family.lora_prefix)
    found = changes(family.network, names, averaged)
    folder.mkdir(parents=True, exist_ok=True)
    lora_files.write(folder / LORA_FILE, found, spellings, {**metadata, **header(family)})


def header(family: Family) -> dict[str, str]:
    """What a LoRA file says of the base that it is for (ModelSpec)."""
    return {
        "base": family.base,
        "modelspec.architecture": f"{family.architecture}/lora",
        "modelspec.prediction_type": {"v_prediction": "v"}.get(family.process.prediction, family.process.prediction),
    }


def _inject(network: Any, name: str, config: LoraConfig) -> None:
    trainable = {parameter for parameter in network.parameters() if parameter.requires_grad}
    active: list[str] = next((layer.active_adapters for layer in lora_layers(network)), [])
    with warnings.catch_warnings():
        # Several adapters are what is wanted here.
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        network.add_adapter(config, adapter_name=name)
    quicken(network)
    for parameter in network.parameters():
        parameter.requires_grad = parameter in trainable
    for parameter in parameters(network, name).values():
        parameter.data = parameter.data.float()
        parameter.requires_grad = True
    activate(lora_layers(network), [*active, name])


def _settings(network: Any, name: str) -> dict[str, Any]:
    config = network.peft_config[name]
    found = {field: getattr(config, field) for field in lora_files.FIELDS}
    return {**found, "target_modules": modules(parameters(network, name))}


def _tensors(found: lora_files.Changes) -> dict[str, Tensor]:
    """Changes by peft's keys."""
    return {
        f"{module}.lora_{half}.weight": value
        for module, each in found.items()
        for half, value in (("A", each.down), ("B", each.up))
    }


def _scaling(network: nn.Module, module: str, name: str) -> float:
    layer = network.get_submodule(module)
    assert isinstance(layer, LoraLayer), f"{module} carries an adapter"
    return float(layer.scaling[name])


class Average:
    """Exponential moving average of weights.

    After n steps the decay is ``min(most, (1 + n) / (10 + n))``, warmed up as for SD-1.5, or always ``most``; the average
    moves after every ``every`` steps only (SD-3.5-M: 0.9 every 8, not warmed up).
    """

    def __init__(self, weights: Mapping[str, Tensor], most: float, *, every: int = 1, warmup: bool = True) -> None:
        self.most, self.every, self.warmup = most, every, warmup
        self.tensors = {key: value.detach().clone() for key, value in weights.items()}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor], steps: int) -> None:
        """Move towards ``weights`` after optimiser step number ``steps`` (the first is 1)."""
        if steps % self.every:
            return
        decay = min(self.most, (1 + steps) / (10 + steps)) if self.warmup else self.most
        for key, average in self.tensors.items():
            average.lerp_(weights[key].detach(), 1 - decay)
