"""Where a step's losers come from, and the errors of both sides.

Losers that are known beforehand are one batch with the winners: half as many forwards, each twice as large. Of others only the
winners' errors say whether they are needed at all, which is what lets DRO do without most of them: see :class:`Gated`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from pairwright import options
from pairwright.diffusion.batches import Batches
from pairwright.diffusion.objectives import Errors
from pairwright.diffusion.own_states import Kept, joined, own_states
from pairwright.diffusion.pair_errors import Answer, Waiting, noised, parts, together, winner_errors
from pairwright.diffusion.policy import Policy
from pairwright.diffusion.processes import Process, RectifiedFlow
from pairwright.diffusion.replay import Replay
from pairwright.diffusion.rollouts import States


class Losers(Protocol):
    """A source of losers."""

    def of_step(self, policy: Policy, step: int, batches: Batches) -> Iterator[tuple[Errors, Answer]]:
        """The four errors of this process's samples of an optimiser step, the policy's with a gradient where there is one.

        Each sample comes once, at most a micro-batch of them at a time. Asking for a step again gives the same again.
        """
        ...


@dataclass(frozen=True)
class OnDisk:
    """The pair's other picture, at the winner's timestep and with the winner's noise (Diffusion-DPO)."""

    def of_step(self, policy: Policy, step: int, batches: Batches) -> Iterator[tuple[Errors, Answer]]:
        """See :class:`Losers`."""
        for batch in batches.of_step(step):
            assert batch.loser is not None
            state, target = noised(policy, batch, batch.loser)
            yield together(policy, batch, States(state, target, torch.zeros(len(batch))))


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

    def of_step(self, policy: Policy, step: int, batches: Batches) -> Iterator[tuple[Errors, Answer]]:
        """See :class:`Losers`."""
        if self.stop:
            whole = joined(list(batches.of_step(step)))
            states = own_states(policy, whole, steps=self.steps, at_once=self.at_once or batches.micro)
            for rows in parts(len(whole), batches.micro):
                yield together(policy, whole.take(rows), states.take(rows))
        else:
            for batch in batches.of_step(step):
                yield together(policy, batch, own_states(policy, batch, steps=self.steps, stop=False, at_once=self.at_once))


@dataclass(frozen=True)
class Gated:
    """The same for a fresh policy, without what provably changes nothing.

    While the sampling policy *is* the policy, its error on its own prediction is 0 with a gradient of 0, so no forward of
    the policy is needed. The loss is then ``relu(margin - winner_gain + reference_loser)`` with ``reference_loser >= 0``:
    where ``margin - winner_gain > 0`` the gate is open whatever the loser is, and its gradient is the winner's alone.
    Only for the other samples a trajectory is run, to see whether the reference's error opens the gate. They wait for the
    end of the step: few of a micro-batch need one, and together their forwards are full.
    """

    steps: int
    margin: float
    at_once: int | None = None

    def of_step(self, policy: Policy, step: int, batches: Batches) -> Iterator[tuple[Errors, Answer]]:
        """See :class:`Losers`."""
        waiting = Waiting()
        for batch in batches.of_step(step):
            winner = winner_errors(policy, batch)
            yield from waiting.without(batch, winner, self.closed(winner))
            del winner  # with all that its gradient needs, where all of them wait
        if waiting:
            whole = joined(waiting.batches)
            states = own_states(policy, whole, steps=self.steps, at_once=self.at_once or batches.micro)
            yield from waiting.answered(policy, whole, states, self.margin, batches.micro)

    def closed(self, winner: Errors) -> Tensor:
        """See :func:`closed`."""
        return closed(winner, self.margin)


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

    def of_step(self, policy: Policy, step: int, batches: Batches) -> Iterator[tuple[Errors, Answer]]:
        """See :class:`Losers`."""
        everybody = joined(list(batches.of_step(step)))
        took = self.kept.grow(policy, step, everybody, stop=self.stop, at_once=self.at_once or batches.micro)
        waiting = Waiting()
        for rows in parts(len(everybody), batches.micro):
            batch = everybody.take(rows)
            if self.margin is None:
                states = self.kept.states(policy, batch, at_once=self.at_once)
                yield together(policy, batch, replace(states, forwards=states.forwards + took[rows]))
            else:
                winner = winner_errors(policy, batch)
                yield from waiting.without(batch, winner, closed(winner, self.margin), took[rows])
                del winner
        if waiting and self.margin is not None:
            whole = joined(waiting.batches)
            states = self.kept.states(policy, whole, at_once=self.at_once or batches.micro)
            yield from waiting.answered(policy, whole, states, self.margin, batches.micro)


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
