"""States of the sampling policy's own trajectories, at the timesteps and with the captions of a batch's samples.

With DDPM a state of the trajectory itself and what the sampling policy predicted there. With rectified flow (SD-3.5-M) the
trajectory's end, noised anew with the real picture's noise to its timestep, and the velocity that the sampling policy
predicts there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pairwright.diffusion import rollouts
from pairwright.diffusion.batches import Batch
from pairwright.diffusion.families import Condition
from pairwright.diffusion.policy import Policy
from pairwright.diffusion.processes import Ddpm, RectifiedFlow
from pairwright.diffusion.replay import Replay, Use, timesteps
from pairwright.diffusion.rollouts import RolloutError, States


def own_states(policy: Policy, batch: Batch, *, steps: int, stop: bool = True, at_once: int | None = None) -> States:
    """The own states of a batch, one per sample. Samples that share a trajectory cost one trajectory.

    Raises:
        TypeError: the family's process has no such trajectory.
    """
    process = policy.family.process
    walks: dict[str, list[int]] = {}
    for row, name in enumerate(batch.trajectories):
        walks.setdefault(name, []).append(row)
    heads = torch.tensor([walk[0] for walk in walks.values()])
    noise, condition = batch.own_noise(heads).to(batch.noise.device), batch.condition[heads]
    # For each row: its trajectory, and how many rows before it took a state of that one.
    place = {row: (index, column) for index, walk in enumerate(walks.values()) for column, row in enumerate(walk)}
    which, column = torch.tensor([place[row] for row in range(len(batch))]).unbind(1)
    shared_by = torch.tensor([float(len(walk)) for walk in walks.values()])[which]
    if isinstance(process, Ddpm):
        t = _padded([batch.t[walk] for walk in walks.values()])
        with policy.sampling() as sampler:
            found = rollouts.rollout(sampler.predict, process, noise, t, condition, steps=steps, stop=stop, at_once=at_once)
        at = which.to(noise.device), column.to(noise.device)
        return States(found.latents[at], found.prediction[at], found.forwards[which] / shared_by)
    if isinstance(process, RectifiedFlow):
        with policy.sampling() as sampler:
            ends = rollouts.euler(sampler.predict, process, noise, condition, steps=steps, at_once=at_once)
        return noised_again(policy, batch, ends[which.to(ends.device)], steps / shared_by, at_once=at_once)
    raise TypeError(f"{policy.family.name}'s {type(process).__name__} has no trajectories that losers could come from")


@torch.no_grad()
def noised_again(policy: Policy, batch: Batch, ends: Tensor, forwards: Tensor, *, at_once: int | None = None) -> States:
    """Ends of trajectories ``[b, ...]`` with the real pictures' noise and timestep, and the sampling policy's velocity there.

    Args:
        policy: samples.
        batch: has noise, timesteps and captions.
        ends: one per sample.
        forwards: what the ends took, ``[b]``.
        at_once: the most samples of a forward; None: all.
    """
    state, width = policy.family.process.add_noise(ends, batch.noise, batch.t), at_once or len(batch)
    with policy.sampling() as sampler:
        parts = [slice(start, start + width) for start in range(0, len(batch), width)]
        velocity = [sampler.predict(state[part], batch.t[part], batch.condition[part]) for part in parts]
    return States(state, torch.cat(velocity), forwards + 1)


def joined(batches: Sequence[Batch]) -> Batch:
    """The samples of several batches as one, for what needs no activations."""
    first = batches[0]
    return replace(
        first,
        occasions=tuple(name for batch in batches for name in batch.occasions),
        t=torch.cat([batch.t for batch in batches]),
        noise=torch.cat([batch.noise for batch in batches]),
        condition=Condition.cat([batch.condition for batch in batches]),
        winner=torch.cat([batch.winner for batch in batches]),
        loser=None,
        weight=None,
        uses=tuple(use for batch in batches for use in batch.uses),
        shared=tuple(name for batch in batches for name in batch.shared),
    )


@dataclass(frozen=True)
class Kept:
    """Own states of trajectories that outlive their step: the published replay buffer, on the CPU.

    A trajectory is sampled in the step of its first use, as far as any use that the plan holds for it needs. It cannot be
    sampled later, when the policy is another one, nor again after a kill, when the policy that sampled it is gone: what lies
    here belongs into a checkpoint.
    """

    replay: Replay
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """By ``<place>/<number>/<what>``: states and predictions of each use (DDPM); by ``<place>/end``: ends (flow)."""

    def grow(self, policy: Policy, step: int, batch: Batch, *, stop: bool, at_once: int | None) -> Tensor:
        """Drop what no use is left for, and sample the step's new trajectories. Doing it twice changes nothing.

        Args:
            policy: samples.
            step: from 0.
            batch: the whole step's samples.
            stop: stop a trajectory at the last state that is used.
            at_once: the most trajectories of a forward.

        Returns:
            How many forwards each of the batch's samples took, ``[b]``: 0 where its trajectory was there already.
        """
        oldest = self.replay.oldest(step)
        for name in [name for name in self.tensors if int(name.split("/")[0]) < oldest]:
            del self.tensors[name]
        rows = torch.tensor([row for row, use in enumerate(batch.uses) if use.number == 0])
        took = torch.zeros(len(batch))
        noise, condition = batch.own_noise(rows).to(batch.noise.device), batch.condition[rows]
        born = [batch.uses[row] for row in rows.tolist()]
        process, steps = policy.family.process, self.replay.steps
        with policy.sampling() as sampler:
            if isinstance(process, RectifiedFlow):
                ends = rollouts.euler(sampler.predict, process, noise, condition, steps=steps, at_once=at_once)
                self._put((f"{use.place}/end", end) for use, end in zip(born, ends, strict=True))
                took[rows] = float(steps)
                return took
            if not isinstance(process, Ddpm):
                raise TypeError(f"{policy.family.name}'s {type(process).__name__} has no trajectories that losers could come from")
            ahead = self.replay.ahead(step)
            uses = [ahead[use.place] for use in born]
            names = [batch.trajectories[row] for row in rows.tolist()]
            t = [timesteps(process, self.replay, [name] * len(each), each) for name, each in zip(names, uses, strict=True)]
            found = rollouts.rollout(
                sampler.predict, process, noise, _padded(t), condition, steps=steps, stop=stop, at_once=at_once
            )
        for row, each in enumerate(uses):
            for column, use in enumerate(each):
                parts = {"latents": found.latents[row, column], "prediction": found.prediction[row, column]}
                self._put((_name(use, what), value) for what, value in parts.items())
        took[rows] = found.forwards
        return took

    def states(self, policy: Policy, batch: Batch, *, at_once: int | None = None) -> States:
        """The own states of a batch, all of whose trajectories lie here; ``forwards`` without theirs.

        Raises:
            RolloutError: a trajectory is missing.
        """
        nothing = torch.zeros(len(batch))
        if isinstance(policy.family.process, RectifiedFlow):
            ends = self._get(f"{use.place}/end" for use in batch.uses).to(batch.noise.device)
            return noised_again(policy, batch, ends, nothing, at_once=at_once)
        latents, prediction = (self._get(_name(use, what) for use in batch.uses) for what in ("latents", "prediction"))
        return States(latents.to(batch.noise.device), prediction.to(batch.noise.device), nothing)

    def _put(self, values: Iterable[tuple[str, Tensor]]) -> None:
        self.tensors.update((name, value.cpu().clone()) for name, value in values)

    def _get(self, names: Iterable[str]) -> Tensor:
        try:
            return torch.stack([self.tensors[name] for name in names])
        except KeyError as error:
            raise RolloutError(
                f"the buffer has no trajectory {error}: it was sampled before this training was resumed, or by another process"
            ) from error


def _name(use: Use, what: str) -> str:
    return f"{use.place}/{use.number}/{what}"


def _padded(t: Sequence[Tensor]) -> Tensor:
    """``[n, k]`` from rows of unequal length: the first one's own timestep once more where there is no other."""
    widest = max(map(len, t))
    return torch.stack([torch.cat([row, row[:1].expand(widest - len(row))]) for row in t])
