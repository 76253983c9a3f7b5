"""Which samples make up an optimiser step, and everything that is drawn for them.

Sample ``k`` of step ``s`` is place ``s * batch + k`` of an endless sequence: one keyed permutation of the pairs after
the other. Each pair comes once per pass, so (pair, pass) names the *occasion* that keys its timestep, noise, flip and
caption dropout. The micro-batch therefore changes nothing but rounding, and resuming needs no generator states.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pairwright import seeds
from pairwright.diffusion.encodings import Encoded, chunks
from pairwright.diffusion.families import Condition
from pairwright.diffusion.processes import Process


@dataclass(frozen=True)
class Batch:
    """Samples of one forward. Winner and loser share timestep, noise, caption and flip."""

    occasions: tuple[str, ...]
    """What each sample is called in the keys of draws."""
    t: Tensor
    """``[b]`` on the CPU, in the network's unit."""
    noise: Tensor
    """``[b, c, h, w]``."""
    condition: Condition
    winner: Tensor
    """Latents ``[b, c, h, w]``."""
    loser: Tensor | None
    """Latents ``[b, c, h, w]`` of the pair's other side, where the objective reads it from the disk."""
    seed: int

    def __len__(self) -> int:
        return len(self.occasions)

    def own_noise(self, rows: Tensor) -> Tensor:
        """Where the sampling trajectories of some rows start, ``[n, c, h, w]`` on the CPU.

        A draw of its own: leaving it out changes no other.
        """
        return seeds.noise(self.winner.shape[1:], [self.occasions[row] for row in rows.tolist()], self.seed, "rollout")


@dataclass(frozen=True)
class Batches:
    """The batches of a training."""

    encoded: Encoded
    process: Process
    device: torch.device
    size: int
    """Samples per optimiser step."""
    micro: int
    """Samples per forward."""
    seed: int
    flips: bool
    dropout: float
    """Probability that a caption is replaced by the empty prompt."""

    def of_step(self, step: int) -> Iterator[Batch]:
        """The batches of optimiser step ``step`` (from 0), at most ``micro`` samples each."""
        count = len(self.encoded.ids)
        places = range(step * self.size, (step + 1) * self.size)
        members = [(permutation(count, self.seed, place // count)[place % count], place // count) for place in places]
        for part in chunks(members, self.micro):
            yield self._batch([row for row, _ in part], [number for _, number in part])

    def _batch(self, rows: list[int], passes: list[int]) -> Batch:
        names = tuple(f"{self.encoded.ids[row]}#{number}" for row, number in zip(rows, passes, strict=True))
        uniform = torch.tensor([seeds.uniform(self.seed, "timestep", name) for name in names], dtype=torch.float64)
        flips = [self.flips and seeds.uniform(self.seed, "flip", name) < 0.5 for name in names]
        dropped = [seeds.uniform(self.seed, "dropout", name) < self.dropout for name in names]
        sides = {side: latents.take(rows, flips).to(self.device) for side, latents in self.encoded.sides.items()}
        return Batch(
            occasions=names,
            t=self.process.draw(uniform),
            noise=seeds.noise(sides["winner"].shape[1:], names, self.seed, "noise").to(self.device),
            condition=self.encoded.condition(rows, dropped).to(self.device),
            winner=sides["winner"],
            loser=sides.get("loser"),
            seed=self.seed,
        )


@lru_cache(maxsize=2)
def permutation(count: int, seed: int, number: int) -> list[int]:
    """The order of pass ``number``."""
    return seeds.permutation(count, seed, "order", number)
