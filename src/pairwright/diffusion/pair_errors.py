"""The four errors of a batch: policy and reference, winners and losers.

The reference always comes first: its activations are gone before the policy's are kept. Both run with the same kernels, dtype
and batch shape, so that the gain of a policy that equals its reference is exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pairwright.diffusion.batches import Batch
from pairwright.diffusion.families import Condition
from pairwright.diffusion.objectives import Errors
from pairwright.diffusion.policy import Policy
from pairwright.diffusion.rollouts import States


@dataclass(frozen=True)
class Answer:
    """What is known of a batch's losers besides their errors, each ``[b]``."""

    asked: Tensor
    """Bool: which were computed. Where one was not, both errors are 0, and the loss has the same gradient as with it."""
    forwards: Tensor
    """On the CPU: how many forwards of the network each sample's loser took, sampling included."""


def noised(policy: Policy, batch: Batch, latents: Tensor) -> tuple[Tensor, Tensor]:
    """A picture's state at the batch's timesteps, and what should be predicted there."""
    process = policy.family.process
    return process.add_noise(latents, batch.noise, batch.t), process.target(latents, batch.noise, batch.t)


def together(policy: Policy, batch: Batch, losers: States) -> tuple[Errors, Answer]:
    """The errors on winners and losers, in full and in one batch: half as many forwards, each twice as large."""
    winner, target = noised(policy, batch, batch.winner)
    at = (
        torch.cat([winner, losers.latents]),
        torch.cat([batch.t, batch.t]),
        Condition.cat([batch.condition, batch.condition]),
        torch.cat([target, losers.prediction]),
        None if batch.weight is None else torch.cat([batch.weight, batch.weight]),
    )
    (reference_winner, reference_loser), (own_winner, own_loser) = (
        error.chunk(2) for error in (policy.reference_error(*at), policy.error(*at))
    )
    asked = torch.ones_like(own_loser, dtype=torch.bool)
    return Errors(own_winner, own_loser, reference_winner, reference_loser), Answer(asked, losers.forwards + 2)


def winner_errors(policy: Policy, batch: Batch) -> Errors:
    """The errors on the winners alone."""
    state, target = noised(policy, batch, batch.winner)
    reference = policy.reference_error(state, batch.t, batch.condition, target, batch.weight)
    return Errors(policy.error(state, batch.t, batch.condition, target, batch.weight), reference_winner=reference)


@dataclass
class Waiting:
    """Samples of a step of which the winners' errors are known, and which need their losers to decide over their gate."""

    batches: list[Batch] = field(default_factory=list)
    winners: list[Errors] = field(default_factory=list)
    took: list[Tensor] = field(default_factory=list)
    """Forwards that sampling their losers took before."""

    def __bool__(self) -> bool:
        return bool(self.batches)

    def without(self, batch: Batch, winner: Errors, rows: Tensor, took: Tensor | None = None) -> Iterator[tuple[Errors, Answer]]:
        """Keep some rows of a batch back; the others are decided, and their losers' errors count as 0.

        Args:
            batch: a micro-batch.
            winner: its errors.
            rows: those that wait, on the CPU.
            took: forwards of each sample's loser so far, ``[b]``.
        """
        took = torch.zeros(len(batch)) if took is None else took
        waits = torch.zeros(len(batch), dtype=torch.bool)
        waits[rows] = True
        if len(rows):
            self.batches.append(batch.take(rows))
            self.winners.append(_detached(winner, rows))
            self.took.append(took[rows])
        if len(rows) < len(batch):
            decided = torch.nonzero(~waits)[:, 0]
            there = decided.to(winner.policy_winner.device)
            assert winner.reference_winner is not None
            nothing = torch.zeros(len(decided), device=there.device)
            asked = torch.zeros(len(decided), dtype=torch.bool, device=there.device)
            errors = Errors(winner.policy_winner[there], nothing, winner.reference_winner[there], nothing)
            yield errors, Answer(asked, took[decided])

    def answered(self, policy: Policy, whole: Batch, losers: States, margin: float, micro: int) -> Iterator[tuple[Errors, Answer]]:
        """The errors of all that waited: first those whose gate the reference opens, then the others, without a gradient.

        The winners' values are those that were compared with the margin; a second forward gives only their gradient.

        Args:
            policy: fresh, so that its own error on its own prediction is 0.
            whole: ``batches``, joined.
            losers: their own states.
            margin: of the gate.
            micro: samples per forward.
        """
        known = Errors(
            torch.cat([each.policy_winner for each in self.winners]),
            reference_winner=torch.cat([each.reference_winner for each in self.winners if each.reference_winner is not None]),
        )
        assert known.reference_winner is not None
        forwards = torch.cat(self.took) + losers.forwards + 1
        reference = torch.cat([_reference(policy, whole.take(rows), losers.take(rows)) for rows in parts(len(whole), micro)])
        opened = (margin - known.winner_gain + reference > 0).cpu()
        for chosen in (opened, ~opened):
            members = torch.nonzero(chosen)[:, 0]
            for part in parts(len(members), micro):
                rows = members[part]
                there = rows.to(reference.device)
                own = known.policy_winner[there]
                if chosen is opened:
                    again = _own(policy, whole.take(rows))
                    own = own + (again - again.detach())
                errors = Errors(own, torch.zeros_like(reference[there]), known.reference_winner[there], reference[there])
                asked = torch.ones_like(there, dtype=torch.bool)
                yield errors, Answer(asked, forwards[rows] + (1 if chosen is opened else 0))


def parts(count: int, size: int) -> Iterator[Tensor]:
    """The rows ``0 .. count - 1``, at most ``size`` at a time."""
    return (torch.arange(start, min(start + size, count)) for start in range(0, count, size))


def _own(policy: Policy, batch: Batch) -> Tensor:
    """The policy's errors on the winners, with a gradient."""
    state, target = noised(policy, batch, batch.winner)
    return policy.error(state, batch.t, batch.condition, target, batch.weight)


def _reference(policy: Policy, batch: Batch, losers: States) -> Tensor:
    """The reference's errors on the losers."""
    return policy.reference_error(losers.latents, batch.t, batch.condition, losers.prediction, batch.weight)


def _detached(winner: Errors, rows: Tensor) -> Errors:
    assert winner.reference_winner is not None
    there = rows.to(winner.policy_winner.device)
    return Errors(winner.policy_winner.detach()[there], reference_winner=winner.reference_winner[there])
