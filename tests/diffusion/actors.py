"""A policy and batches without a store of pairs: random latents, real captions, a family of a miniature checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from pairwright import seeds
from pairwright.diffusion import policy
from pairwright.diffusion.batches import Batches
from pairwright.diffusion.encodings import Encoded
from pairwright.diffusion.families import Condition, Family
from pairwright.diffusion.policy import Policy
from pairwright.diffusion.replay import Replay
from pairwright.models import ModelRef
from pairwright.options import Lora
from pairwright.store import Store


@dataclass(frozen=True)
class Latents:
    """Both flips of random latents."""

    values: torch.Tensor

    def take(self, rows: Sequence[int], flips: Sequence[bool]) -> torch.Tensor:
        return torch.stack([self.values[row].flip(-1) if flip else self.values[row] for row, flip in zip(rows, flips, strict=True)])


@dataclass(frozen=True)
class Drawn:
    """What Batches reads of encoded pairs."""

    ids: list[str]
    sides: Mapping[str, Latents]
    captions: Condition

    def condition(self, rows: Sequence[int], dropped: Sequence[bool]) -> Condition:
        assert not any(dropped)
        return self.captions[torch.tensor(rows)]


def make_batches(
    family: Family, *, size: int = 4, micro: int = 4, count: int = 6, seed: int = 0, replay: Replay | None = None, side: int = 32
) -> Batches:
    """Batches of ``count`` random pictures with three captions."""
    ids = [f"pair{index}" for index in range(count)]
    latents = seeds.noise(family.latent_shape(side), ids, 0, "latents")
    captions = family.condition([f"flower {index % 3}" for index in range(count)])
    encoded = cast("Encoded", Drawn(ids, {"winner": Latents(latents)}, captions))
    return Batches(encoded, family.process, family.device, size, micro, seed, flips=True, dropout=0.0, replay=replay)


def make_policy(family: Family, store: Store, *, moved: float = 0.0, lagging: bool = False, **lora: Any) -> Policy:
    """A policy that is ``moved`` away from its reference; a lagging sampling policy is where the policy is moved to."""
    found = policy.build(family, ModelRef(family.base, family.name), None, store, Lora(**lora), seed=0, lagging=lagging)
    move(found, moved)
    if lagging:
        found.refresh()
    return found


def move(found: Policy, deviation: float, seed: int = 7) -> None:
    """Add noise to the trained weights."""
    generator = torch.Generator().manual_seed(seed)
    for value in found.trained.values():
        value.data.add_(torch.randn(value.shape, generator=generator) * deviation)
