"""Optimisers of float32 weights, the learning rate, and an optimiser's state as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pairwright import options


def build(parameters: list[nn.Parameter], settings: options.Optimiser) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), or Adafactor (Shazeer and Stern 2018, arXiv 1804.04235).

    Adafactor in the form of the original Diffusion-DPO for SDXL: the learning rate is given and not scaled by the size of the
    weights, updates are clipped at a root mean square of 1, and there is no first moment.
    """
    if settings.name == "adafactor":
        from transformers.optimization import Adafactor

        found: torch.optim.Optimizer = Adafactor(
            parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            clip_threshold=1.0,
            scale_parameter=False,
            relative_step=False,
        )
        return found
    return torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=parameters[0].device.type in {"cpu", "cuda"},
    )


def learning_rate(settings: options.Optimiser, step: int) -> float:
    """Of step ``step`` (from 0): linear warm-up, then constant. A function of the step alone, so it needs no state."""
    return settings.learning_rate * min(1.0, (step + 1) / settings.warmup if settings.warmup else 1.0)


def bytes_to_come(parameters: Sequence[nn.Parameter], settings: options.Optimiser) -> int:
    """What the optimiser will take after its first step (Adafactor's rows and columns are next to nothing)."""
    return sum(each.numel() for each in parameters) * (8 if settings.name == "adamw" else 0)


def state(optimiser: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """An optimiser's state as tensors, ``<weight>|<kind>``; plain numbers (Adafactor's step) are float64 or int64 scalars."""
    found = optimiser.state_dict()["state"]
    return {f"{names[index]}|{kind}": torch.as_tensor(value) for index, each in found.items() for kind, value in each.items()}


def put(optimiser: torch.optim.Optimizer, names: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
    """The inverse of :func:`state`."""
    numbers = {name: index for index, name in enumerate(names)}
    found: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        name, kind = key.split("|")
        plain = kind == "step" and not value.is_floating_point()
        found.setdefault(numbers[name], {})[kind] = int(value) if plain else value
    optimiser.load_state_dict({"state": found, "param_groups": optimiser.state_dict()["param_groups"]})
