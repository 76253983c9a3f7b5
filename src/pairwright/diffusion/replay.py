"""Which trajectory, and which of its states, each sample of a step uses, where trajectories are used more than once.

A plan and not a buffer: it is decided by keys alone, so a step's samples are the same whoever asks, and a resumed training
goes on with the very same uses. The states themselves lie in :class:`pairwright.diffusion.losers.Kept`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pairwright import seeds
from pairwright.diffusion.processes import Ddpm, Process
from pairwright.diffusion.rollouts import RolloutError


@dataclass(frozen=True)
class Use:
    """One use of a trajectory."""

    place: int
    """The trajectory: its place in the endless sequence of occasions."""
    number: int = 0
    """0 is its first use, in the step that it is sampled in; the others are in no order."""

    def key(self, trajectory: str) -> str:
        """What the sample is called in the keys of draws; a first use is called like its trajectory."""
        return f"{trajectory}/{self.number}" if self.number else trajectory


@dataclass(frozen=True)
class Replay:
    """``batch / states`` new trajectories per step, each used ``states`` times on average.

    A step takes each of its new trajectories once, and fills the batch up from the ``size`` newest (its own included) in
    keyed random order, all of them before one comes again. The published buffer draws the whole batch at random; here no
    trajectory is sampled in vain.
    """

    batch: int
    """Samples per step."""
    states: int
    """Samples per trajectory, on average."""
    size: int
    """Trajectories that are kept; as many as are new in a step: nothing outlives its step."""
    steps: int
    """States of a whole trajectory."""
    seed: int

    def __post_init__(self) -> None:
        if self.batch % self.states:
            raise RolloutError(f"rollout.states must divide batch ({self.batch}); got {self.states}")
        if self.states > self.steps:
            raise RolloutError(f"rollout.states must be at most rollout.steps ({self.steps}); got {self.states}")
        if self.size < self.new:
            raise RolloutError(
                f"rollout.buffer must hold the {self.new} new trajectories of a step (batch / states); got {self.size}"
            )

    @property
    def new(self) -> int:
        """New trajectories per step."""
        return self.batch // self.states

    @property
    def carried(self) -> bool:
        """Whether trajectories outlive the step that they were sampled in."""
        return self.size > self.new

    def of_step(self, step: int) -> list[Use]:
        """The uses of optimiser step ``step`` (from 0), those of one trajectory next to each other."""
        return _uses(self, step)

    def ahead(self, step: int) -> dict[int, list[Use]]:
        """Every use that the new trajectories of a step will ever have, by place, the first one first."""
        born = range(step * self.new, (step + 1) * self.new)
        found: dict[int, list[Use]] = {place: [] for place in born}
        for later in range(step, step + -(-self.size // self.new)):
            for use in self.of_step(later):
                if use.place in found:
                    found[use.place].append(use)
        return found

    def oldest(self, step: int) -> int:
        """The place of the oldest trajectory that step ``step`` or a later one may use."""
        return max(0, (step + 1) * self.new - self.size)

    def timestep(self, process: Process, trajectory: str, use: Use) -> float:
        """The timestep of a use, in the network's unit.

        With DDPM a use takes a state of the trajectory: the first use any, the others another one each until all have been
        taken. With rectified flow it takes the trajectory's end and noises it anew, to any timestep.
        """
        if use.number == 0 or not isinstance(process, Ddpm):
            return _drawn(process, self.seed, use.key(trajectory))
        gap, first = process.length // self.steps, int(_drawn(process, self.seed, trajectory))
        levels = seeds.permutation(self.steps, self.seed, "level", trajectory)
        levels.remove(first // gap)
        return gap * [first // gap, *levels][use.number % self.steps] + first % gap


def timesteps(process: Process, replay: Replay, trajectories: Sequence[str], uses: Sequence[Use]) -> Tensor:
    """``[b]`` in the network's unit and the process's type, one per use."""
    found = [replay.timestep(process, name, use) for name, use in zip(trajectories, uses, strict=True)]
    return torch.tensor(found, dtype=torch.long if isinstance(process, Ddpm) else torch.float32)


def _drawn(process: Process, seed: int, name: str) -> float:
    return float(process.draw(torch.tensor([seeds.uniform(seed, "timestep", name)], dtype=torch.float64)))


@lru_cache(maxsize=512)
def _uses(replay: Replay, step: int) -> list[Use]:
    end = (step + 1) * replay.new
    kept = range(replay.oldest(step), end)
    uses = [Use(place) for place in range(step * replay.new, end)]
    taken = 0
    while len(uses) < replay.batch:
        order = seeds.permutation(len(kept), replay.seed, "replay", step, taken)
        # At most states - 1 rounds, so the numbers of two steps never meet.
        uses += [
            Use(kept[index], 1 + (step - kept[index] // replay.new) * (replay.states - 1) + taken)
            for index in order[: replay.batch - len(uses)]
        ]
        taken += 1
    return sorted(uses, key=lambda use: (use.place, use.number))
