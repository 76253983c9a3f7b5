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
from pairwright.diffusion import adapters
from pairwright.diffusion.processes import Process
from pairwright.models import ModelRef
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
        """The denoising network (a diffusers model that takes peft adapters), frozen."""
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
    for index, layer in enumerate(ref.layers):
        adapters.attach(family, f"layer{index}", layer.file(store), scale=layer.scale)
    return family


def load_base(ref: ModelRef, *, dtype: runtime.Dtype, device: torch.device) -> Family:
    """The base of ``ref`` without its layers."""
    module = importlib.import_module(f"pairwright.diffusion.families.{ref.family}")
    family: Family = module.load(ref.base, dtype=dtype, device=device)
    return family
