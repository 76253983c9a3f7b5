"""The four errors of a batch: policy and reference, winners and losers.

The reference always comes first: its activations are gone before the policy's are kept. Both run with the same kernels, dtype
and batch shape, so that the gain of a policy that equals its reference is exactly 0.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def gated(policy: Policy, batch: Batch, winner: Errors, rows: Tensor, states: States | None) -> tuple[Errors, Answer]:
    """With the reference's errors on the own states of some rows; 0 for all others, and for the policy."""
    reference = torch.zeros(len(batch), device=batch.noise.device)
    asked, forwards = torch.zeros(len(batch), dtype=torch.bool), torch.zeros(len(batch))
    if states is not None:
        places = rows.to(reference.device)
        weight = None if batch.weight is None else batch.weight[places]
        t, condition = batch.t[rows], batch.condition[rows]
        reference[places] = policy.reference_error(states.latents, t, condition, states.prediction, weight)
        asked[rows], forwards[rows] = True, states.forwards + 1
    errors = Errors(winner.policy_winner, torch.zeros_like(reference), winner.reference_winner, reference)
    return errors, Answer(asked.to(reference.device), forwards)
