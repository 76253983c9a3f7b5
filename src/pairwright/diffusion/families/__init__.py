"""Families of models that are trained and sampled: one file each, one protocol.

A family's file exposes ``load(base, *, dtype, device) -> Family`` and is named like the family. The rest of
``diffusion/`` knows nothing of networks beyond this protocol.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pairwright import runtime
from pairwright.diffusion import adapters, full
from pairwright.diffusion.processes import Process
from pairwright.models import Layer, ModelError, ModelRef
from pairwright.store import Store


@dataclass(frozen=True)
class Condition:
    """What prompts become for a network: named tensors ``[b, ...]``, one row per prompt."""

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, rows: Tensor | slice) -> Condition:
        """The rows that an index tensor (on the CPU) or a slice names."""
        return Condition(
            {name: value[rows.to(value.device) if isinstance(rows, Tensor) else rows] for name, value in self.tensors.items()}
        )

    def to(self, device: torch.device) -> Condition:
        """The same on another device."""
        return Condition({name: value.to(device, non_blocking=True) for name, value in self.tensors.items()})

    @staticmethod
    def cat(conditions: Sequence[Condition]) -> Condition:
        """All rows, in order."""
        names = conditions[0].tensors
        return Condition({name: torch.cat([each.tensors[name] for each in conditions]) for name in names})


class Family(Protocol):
    """A model's parts behind one interface. Parts are loaded when they are first used.

    Pixels are float32 ``[b, 3, h, w]`` in 0..1; latents and predictions are float32 whatever the network's dtype.
    """

    name: str
    base: str
    device: torch.device
    lora_targets: tuple[str, ...]
    """Where the papers put their adapters (module name endings)."""
    lora_prefix: str
    """Of the network's keys in a LoRA file (``unet``, ``transformer``)."""
    architecture: str
    """ModelSpec's name of the base (``stable-diffusion-v1``)."""

    @property
    def process(self) -> Process:
        """How pictures become noise for this network."""
        ...

    @property
    def network(self) -> nn.Module:
        """The denoising network (a diffusers model that takes peft adapters), frozen; a cached property."""
        ...

    def scheduler(self) -> Any:
        """A fresh copy of the diffusers scheduler that came with the model."""
        ...

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """Channels, height and width of the latents of a square picture.

        Raises:
            ValueError: the autoencoder cannot halve that side often enough.
        """
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents, scaled as the network expects them; the posterior's mean, so that nothing is drawn."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels, clamped to 0..1."""
        ...

    def condition(self, prompts: Sequence[str]) -> Condition:
        """What the network is told of the prompts; prompts that are too long for the text encoder are cut."""
        ...

    def predict(self, latents: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The network's prediction for states ``[b, ...]`` at timesteps ``[b]``, float32.

        Gradients reach whatever adapters are active and trainable.
        """
        ...


def load(ref: ModelRef, store: Store, *, dtype: runtime.Dtype, device: torch.device) -> Family:
    """The model that ``ref`` stands for, ready to sample: its layers are attached, frozen and active.

    Args:
        ref: base and layers.
        store: where layers of earlier steps lie.
        dtype: of the frozen weights and the network's forwards.
        device: where it runs.

    Raises:
        WeightsError: weights that cannot be found.
        ModelError: a layer that does not fit.
    """
    family = load_base(ref, dtype=dtype, device=device)
    put(family, ref.layers, store)
    return family


def load_whole(ref: ModelRef, store: Store, *, dtype: runtime.Dtype, device: torch.device) -> Family:
    """The model that ``ref`` stands for as one network of its own: float32 weights without adapters, for full fine-tuning.

    LoRAs are merged into the weights, in float32. Forwards run in ``dtype``, which the weights are cast to on the way.

    Raises:
        WeightsError: weights that cannot be found.
        ModelError: a layer that does not fit.
    """
    family = load(ref, store, dtype="float32", device=device)
    full.merge(family.network)
    if dtype == "float32":
        return family
    runs = load_base(ref, dtype=dtype, device=device)
    runs.__dict__["network"] = family.network  # a cached property: what the instance has is not loaded
    assert runs.network is family.network
    return runs


def put(family: Family, layers: Sequence[Layer], store: Store, label: str = "layer") -> tuple[str, ...]:
    """Put layers on a base, in order, and return the adapters' names; they are frozen and active.

    Raises:
        WeightsError: weights that cannot be read or do not fit.
        ModelError: a layer that does not fit, or full weights above an adapter.
    """
    names: list[str] = []
    for index, layer in enumerate(layers):
        path = layer.file(store)
        if layer.kind == "weights":
            if names or adapters.lora_layers(family.network):
                raise ModelError(f"{path} holds a whole network: the LoRAs named before it would be lost; name it first")
            full.put(family, path)
        else:
            names.append(f"{label}{index}")
            adapters.attach(family, names[-1], path, scale=layer.scale, network_only=layer.network_only)
    return tuple(names)


def load_base(ref: ModelRef, *, dtype: runtime.Dtype, device: torch.device) -> Family:
    """The base of ``ref`` without its layers."""
    module = importlib.import_module(f"pairwright.diffusion.families.{ref.family}")
    family: Family = module.load(ref.base, dtype=dtype, device=device)
    return family
