"""Where a step's losers come from. They are asked for inside the step, after the winner's errors.

That order is what lets DRO do without most of them: see :class:`Gated`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pairwright.diffusion import adapters, rollouts
from pairwright.diffusion.batches import Batch
from pairwright.diffusion.objectives import Errors
from pairwright.diffusion.policy import Policy
from pairwright.diffusion.processes import Ddpm


@dataclass(frozen=True)
class Answer:
    """The loser's errors of a batch, each ``[b]``."""

    policy: Tensor
    reference: Tensor
    asked: Tensor
    """Bool: which were computed. Where one was not, both errors are 0, and the loss has the same gradient as with it."""


class Losers(Protocol):
    """A source of losers."""

    def __call__(self, policy: Policy, batch: Batch, winner: Errors) -> Answer:
        """The loser's errors, given what is known of the winner; the policy's carry a gradient."""
        ...


@dataclass(frozen=True)
class OnDisk:
    """The pair's other picture, at the winner's timestep and with the winner's noise (Diffusion-DPO)."""

    def __call__(self, policy: Policy, batch: Batch, winner: Errors) -> Answer:  # noqa: ARG002 - a Losers
        """See :class:`Losers`."""
        process = policy.family.process
        assert batch.loser is not None
        state = process.add_noise(batch.loser, batch.noise, batch.t)
        target = process.target(batch.loser, batch.noise, batch.t)
        return _answer(policy, batch, state, target)


@dataclass(frozen=True)
class Sampled:
    """A state of the sampling policy's own trajectory and what it predicted there (Diffusion-DRO, the published form)."""

    steps: int
    """States of a trajectory."""
    stop: bool
    """Stop at the state that is used."""

    def __call__(self, policy: Policy, batch: Batch, winner: Errors) -> Answer:  # noqa: ARG002 - a Losers
        """See :class:`Losers`."""
        states = own_states(policy, batch, torch.arange(len(batch)), steps=self.steps, stop=self.stop)
        return _answer(policy, batch, states.latents, states.prediction)


@dataclass(frozen=True)
class Gated:
    """The same for a fresh policy, without what provably changes nothing.

    While the sampling policy *is* the policy, its error on its own prediction is 0 with a gradient of 0, so no forward of
    the policy is needed. The loss is then ``relu(margin - winner_gain + reference_loser)`` with ``reference_loser >= 0``:
    where ``margin - winner_gain > 0`` the gate is open whatever the loser is, and its gradient is the winner's alone.
    Only for the other samples a trajectory is run, to see whether the reference's error opens the gate.
    """

    steps: int
    margin: float

    def __call__(self, policy: Policy, batch: Batch, winner: Errors) -> Answer:
        """See :class:`Losers`."""
        asked = (self.margin - winner.winner_gain.detach() <= 0).cpu()
        reference = torch.zeros_like(winner.policy_winner.detach())
        rows = torch.nonzero(asked)[:, 0]
        if len(rows):
            states = own_states(policy, batch, rows, steps=self.steps, stop=True)
            places = rows.to(reference.device)
            reference[places] = policy.reference_error(states.latents, batch.t[rows], batch.condition[rows], states.prediction)
        return Answer(torch.zeros_like(reference), reference, asked.to(reference.device))


def own_states(policy: Policy, batch: Batch, rows: Tensor, *, steps: int, stop: bool) -> rollouts.States:
    """States of the sampling policy's trajectories at the timesteps of some rows of a batch.

    Raises:
        TypeError: the family's process has no such trajectory.
    """
    process = policy.family.process
    if not isinstance(process, Ddpm):
        raise TypeError(f"{policy.family.name} has no DDPM noise schedule")
    noise = batch.own_noise(rows).to(batch.noise.device)
    with adapters.only(policy.network, policy.snapshot):
        return rollouts.rollout(policy.family.predict, process, noise, batch.t[rows], batch.condition[rows], steps=steps, stop=stop)


def _answer(policy: Policy, batch: Batch, state: Tensor, target: Tensor) -> Answer:
    reference = policy.reference_error(state, batch.t, batch.condition, target)
    own = policy.error(state, batch.t, batch.condition, target)
    return Answer(own, reference, torch.ones_like(own, dtype=torch.bool))
