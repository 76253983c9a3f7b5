"""Which samples make up an optimiser step, and everything that is drawn for them.

Sample ``k`` of step ``s`` is place ``s * batch + k`` of an endless sequence: one keyed permutation of the pairs after
the other. Each pair comes once per pass, so (pair, pass) names the *occasion* that keys its timestep, noise, flip and
caption dropout. The micro-batch therefore changes nothing but rounding, and resuming needs no generator states.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor

from pairwright import seeds
from pairwright.diffusion.encodings import Encoded, chunks
from pairwright.diffusion.families import Condition
from pairwright.diffusion.mixing import Mix
from pairwright.diffusion.objectives import focus_weight
from pairwright.diffusion.processes import Process
from pairwright.diffusion.replay import Replay, Use, timesteps
from pairwright.options import Focus


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
    weight: Tensor | None = None
    """``[b, 1, h, w]``: how much each place of the latents counts in the errors; None: all the same."""
    uses: tuple[Use, ...] = ()
    """Of DRO's sampling trajectories, one per sample; empty: each sample has one of its own."""
    shared: tuple[str, ...] = ()
    """What those trajectories are called."""

    def __len__(self) -> int:
        return len(self.occasions)

    def take(self, rows: Tensor) -> Batch:
        """Some of its samples, by an index tensor on the CPU."""
        there, places = rows.to(self.winner.device), rows.tolist()
        return replace(
            self,
            occasions=tuple(self.occasions[row] for row in places),
            t=self.t[rows],
            noise=self.noise[there],
            condition=self.condition[rows],
            winner=self.winner[there],
            loser=None if self.loser is None else self.loser[there],
            weight=None if self.weight is None else self.weight[there],
            uses=tuple(self.uses[row] for row in places) if self.uses else (),
            shared=tuple(self.shared[row] for row in places) if self.shared else (),
        )

    @property
    def trajectories(self) -> tuple[str, ...]:
        """What each sample's own sampling trajectory is called."""
        return self.shared or self.occasions

    def own_noise(self, rows: Tensor) -> Tensor:
        """Where the sampling trajectories of some rows start, ``[n, c, h, w]`` on the CPU.

        A draw of its own: leaving it out changes no other.
        """
        return seeds.noise(self.winner.shape[1:], [self.trajectories[row] for row in rows.tolist()], self.seed, "rollout")


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
    focus: Focus = field(default_factory=Focus)
    """Where in the pictures the errors are measured."""
    replay: Replay | None = None
    """Which of DRO's trajectories a step's samples use, where one serves several; None: each sample has one of its own."""
    mix: Mix | None = None
    """How samples are drawn where the pairs are of several sets."""
    rank: int = 0
    """Which of the processes that share each step this is."""
    ranks: int = 1

    @property
    def share(self) -> int:
        """How many samples of a step are this process's."""
        return len(range(self.size)[self._own])

    @property
    def _own(self) -> slice:
        first, last = (self.size * number // self.ranks for number in (self.rank, self.rank + 1))
        return slice(first, last)

    def of_step(self, step: int) -> Iterator[Batch]:
        """This process's batches of optimiser step ``step`` (from 0), at most ``micro`` samples each."""
        places = range(step * self.size, (step + 1) * self.size)
        uses = self.replay.of_step(step) if self.replay else [Use(place) for place in places]
        for part in chunks(uses[self._own], self.micro):
            yield self._batch(part)

    def _batch(self, uses: Sequence[Use]) -> Batch:
        drawn = [self._sample(use.place) for use in uses]
        rows = [row for row, _ in drawn]
        trajectories = tuple(f"{self.encoded.ids[row]}#{number}" for row, number in drawn)
        names = tuple(use.key(trajectory) for trajectory, use in zip(trajectories, uses, strict=True))
        flips = [self.flips and seeds.uniform(self.seed, "flip", name) < 0.5 for name in names]
        dropped = [seeds.uniform(self.seed, "dropout", name) < self.dropout for name in trajectories]
        sides = {side: latents.take(rows, flips).to(self.device) for side, latents in self.encoded.sides.items()}
        return Batch(
            occasions=names,
            t=self._timesteps(trajectories, uses),
            noise=seeds.noise(sides["winner"].shape[1:], names, self.seed, "noise").to(self.device),
            condition=self.encoded.condition(rows, dropped).to(self.device),
            winner=sides["winner"],
            loser=sides.get("loser"),
            seed=self.seed,
            weight=focus_weight(self.focus, sides),
            uses=tuple(uses) if self.replay else (),
            shared=trajectories if self.replay else (),
        )

    def _sample(self, place: int) -> tuple[int, int]:
        """Its row, and the pass."""
        if self.mix is not None:
            return self.mix.sample(place, self.seed)
        count = len(self.encoded.ids)
        return permutation(count, self.seed, place // count)[place % count], place // count

    def _timesteps(self, trajectories: Sequence[str], uses: Sequence[Use]) -> Tensor:
        if self.replay:
            return timesteps(self.process, self.replay, trajectories, uses)
        uniform = [seeds.uniform(self.seed, "timestep", name) for name in trajectories]
        return self.process.draw(torch.tensor(uniform, dtype=torch.float64))


@lru_cache(maxsize=2)
def permutation(count: int, seed: int, number: int) -> list[int]:
    """The order of pass ``number``."""
    return seeds.permutation(count, seed, "order", number)
