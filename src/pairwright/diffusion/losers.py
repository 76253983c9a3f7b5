"""Where a step's losers come from, and the errors of both sides.

Losers that are known beforehand are one batch with the winners: half as many forwards, each twice as large. Others are asked
for inside the step, after the winner's errors. That order is what lets DRO do without most of them: see :class:`Gated`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from pairwright import options
from pairwright.diffusion.batches import Batch, Batches
from pairwright.diffusion.objectives import Errors
from pairwright.diffusion.own_states import Kept, joined, own_states
from pairwright.diffusion.pair_errors import Answer, gated, noised, together, winner_errors
from pairwright.diffusion.policy import Policy
from pairwright.diffusion.processes import Process, RectifiedFlow
from pairwright.diffusion.replay import Replay
from pairwright.diffusion.rollouts import States


class Losers(Protocol):
    """A source of losers."""

    def prepare(self, policy: Policy, step: int, batches: Batches) -> Losers:
        """The same source for the batches of one optimiser step, with what can be done for all of them at once done.

        Called before the step's first batch. Calling it again for the same step does the same again.
        """
        ...

    def __call__(self, policy: Policy, batch: Batch) -> tuple[Errors, Answer]:
        """The four errors of a batch, the policy's with a gradient."""
        ...


@dataclass(frozen=True)
class OnDisk:
    """The pair's other picture, at the winner's timestep and with the winner's noise (Diffusion-DPO)."""

    def prepare(self, policy: Policy, step: int, batches: Batches) -> Losers:  # noqa: ARG002 - a Losers
        """See :class:`Losers`."""
        return self

    def __call__(self, policy: Policy, batch: Batch) -> tuple[Errors, Answer]:
        """See :class:`Losers`."""
        assert batch.loser is not None
        state, target = noised(policy, batch, batch.loser)
        return together(policy, batch, States(state, target, torch.zeros(len(batch))))


@dataclass(frozen=True)
class Sampled:
    """A state of the sampling policy's own trajectory and what it predicted there (Diffusion-DRO, the published form).

    Every sample needs its own. So a whole step's are sampled at once, where they may stop early: samples that have arrived
    make room for others, and the forwards stay as large as the micro-batch until the last.
    """

    steps: int
    """States of a trajectory."""
    stop: bool
    """Stop at the state that is used."""
    at_once: int | None = None
    """Trajectories of a forward; None: as many as the micro-batch has samples."""

    def prepare(self, policy: Policy, step: int, batches: Batches) -> Losers:
        """See :class:`Losers`."""
        if not self.stop:
            return self
        whole = joined(list(batches.of_step(step)))
        every, at_once = torch.arange(len(whole)), self.at_once or batches.micro
        states = own_states(policy, whole, every, steps=self.steps, at_once=at_once)
        return _Ready(states, {name: row for row, name in enumerate(whole.occasions)})

    def __call__(self, policy: Policy, batch: Batch) -> tuple[Errors, Answer]:
        """See :class:`Losers`."""
        every = torch.arange(len(batch))
        states = own_states(policy, batch, every, steps=self.steps, stop=self.stop, at_once=self.at_once)
        return together(policy, batch, states)


@dataclass(frozen=True)
class _Ready:
    """States that were sampled for a whole step."""

    states: States
    rows: dict[str, int]

    def prepare(self, policy: Policy, step: int, batches: Batches) -> Losers:  # noqa: ARG002 - a Losers
        return self

    def __call__(self, policy: Policy, batch: Batch) -> tuple[Errors, Answer]:
        rows = torch.tensor([self.rows[name] for name in batch.occasions])
        there = rows.to(self.states.latents.device)
        states = States(self.states.latents[there], self.states.prediction[there], self.states.forwards[rows])
        return together(policy, batch, states)


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
    at_once: int | None = None

    def prepare(self, policy: Policy, step: int, batches: Batches) -> Losers:  # noqa: ARG002 - a Losers
        """See :class:`Losers`. Which losers are needed is known only after the winners."""
        return self

    def __call__(self, policy: Policy, batch: Batch) -> tuple[Errors, Answer]:
        """See :class:`Losers`."""
        winner = winner_errors(policy, batch)
        rows = closed(winner, self.margin)
        states = own_states(policy, batch, rows, steps=self.steps, at_once=self.at_once) if len(rows) else None
        return gated(policy, batch, winner, rows, states)


@dataclass(frozen=True)
class Replayed:
    """Losers from a buffer whose trajectories outlive the step that they were sampled in.

    A buffered DDPM state carries what an older policy predicted: nothing is exact but to stop at the last state that is used.
    With rectified flow the target is predicted anew by the sampling policy: while that is the policy in training, its own
    error is still 0 with a gradient of 0, and open gates need no reference either. Sampling itself can never be left out.
    """

    kept: Kept
    stop: bool
    margin: float | None
    """Of the gate; None: every loser is computed in full."""
    at_once: int | None = None
    sampled: dict[str, float] = field(default_factory=dict, compare=False)
    """Forwards by occasion that sampling took in the present step."""

    def prepare(self, policy: Policy, step: int, batches: Batches) -> Losers:
        """See :class:`Losers`."""
        whole = joined(list(batches.of_step(step)))
        took = self.kept.grow(policy, step, whole, stop=self.stop, at_once=self.at_once or batches.micro)
        self.sampled.clear()
        self.sampled.update(zip(whole.occasions, took.tolist(), strict=True))
        return self

    def __call__(self, policy: Policy, batch: Batch) -> tuple[Errors, Answer]:
        """See :class:`Losers`."""
        sampled = torch.tensor([self.sampled[name] for name in batch.occasions])
        if self.margin is None:
            states = self.kept.states(policy, batch, torch.arange(len(batch)), at_once=self.at_once)
            return together(policy, batch, replace(states, forwards=states.forwards + sampled))
        winner = winner_errors(policy, batch)
        rows = closed(winner, self.margin)
        found = self.kept.states(policy, batch, rows, at_once=self.at_once) if len(rows) else None
        errors, answer = gated(policy, batch, winner, rows, found)
        return errors, replace(answer, forwards=answer.forwards + sampled)


def source(settings: options.Train, process: Process) -> Losers | None:
    """Where this training's losers come from; None: it has none. Savings are taken where they are exact.

    Raises:
        RolloutError: a number of states or a buffer that does not go with the batch.
    """
    if settings.objective == "sft":
        return None
    if settings.paired:
        return OnDisk()
    rollout, plan = settings.rollout, replay(settings)
    gate = settings.margin if rollout.savings and rollout.refresh == 1 else None
    if plan and plan.carried:
        flow = isinstance(process, RectifiedFlow)
        return Replayed(Kept(plan), rollout.savings, gate if flow else None, rollout.at_once)
    if gate is None:
        return Sampled(rollout.steps, rollout.savings, rollout.at_once)
    return Gated(rollout.steps, gate, rollout.at_once)


def replay(settings: options.Train) -> Replay | None:
    """Which trajectories a step's samples use; None: each has one of its own.

    Raises:
        RolloutError: a number of states or a buffer that does not go with the batch.
    """
    rollout = settings.rollout
    if settings.objective != "dro" or rollout.states == 1:
        return None
    new = settings.batch // rollout.states
    return Replay(settings.batch, rollout.states, rollout.buffer or new, rollout.steps, settings.seed)


def note(settings: options.Train) -> str | None:
    """Which of the exact savings are not taken, and why, in a sentence; None: all of them are, or there are none."""
    rollout, plan = settings.rollout, replay(settings)
    if settings.objective != "dro":
        return None
    if not rollout.savings:
        return "rollout.savings is off: every trajectory is sampled to its end, every loser computed in full"
    if rollout.refresh > 1:
        return (
            f"the sampling policy lags (rollout.refresh = {rollout.refresh}), so every loser is sampled and computed in full; "
            "trajectories still stop at the last state that is used"
        )
    if plan and plan.carried:
        return f"the buffer of {plan.size} trajectories outlives a step, so every new trajectory is sampled at once"
    return None


def closed(winner: Errors, margin: float) -> Tensor:
    """The rows, on the CPU, of the samples whose gate the winner alone does not open."""
    return torch.nonzero((margin - winner.winner_gain.detach() <= 0).cpu())[:, 0]
