"""The training loop, a generator of typed steps: logs, checkpoints and the end belong to the caller."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from pairwright import options
from pairwright.diffusion import objectives, rollouts
from pairwright.diffusion.adapters import Average
from pairwright.diffusion.batches import Batch, Batches
from pairwright.diffusion.losers import Gated, Losers, OnDisk, Sampled
from pairwright.diffusion.objectives import Errors
from pairwright.diffusion.policy import Policy
from pairwright.diffusion.processes import Ddpm
from pairwright.errors import Explained

Objective = Literal["sft", "dpo", "dro"]


class TrainingError(Explained, RuntimeError):
    """Training that cannot go on; the message names the step."""


@dataclass(frozen=True)
class Step:
    """What one optimiser step did. Means over the batch; None: the objective has no such thing.

    What depends on the loser is a mean over the ``losers`` samples whose loser was computed.
    """

    step: int
    """How many optimiser steps have been done, this one included."""
    loss: float
    """Where losers were left out, a lower bound with the same gradient."""
    lr: float
    grad_norm: float
    """Before clipping."""
    seconds: float
    policy_winner: float
    reference_winner: float | None = None
    policy_loser: float | None = None
    reference_loser: float | None = None
    rewards_chosen: float | None = None
    """How much better than the reference the policy denoises winners; times beta / 2 for DPO, else an error."""
    rewards_rejected: float | None = None
    """The same for losers."""
    rewards_margins: float | None = None
    rewards_accuracies: float | None = None
    """Share of samples with a gain above 0."""
    losers: int = 0
    """How many losers were computed."""
    rollouts: float | None = None
    """Share of samples for which a trajectory was sampled (DRO)."""

    def row(self) -> dict[str, float | int | None]:
        """The line of ``steps.jsonl``, with the names that other trainers use."""
        return {name.replace("rewards_", "rewards/"): value for name, value in vars(self).items()}


@dataclass
class Trainer:
    """Everything that a step changes, and what it reads."""

    settings: options.Train
    policy: Policy
    batches: Batches
    optimiser: torch.optim.Optimizer = field(init=False)
    average: Average | None = field(init=False)
    losers: Losers | None = field(init=False)

    def __post_init__(self) -> None:
        process, states = self.batches.process, self.settings.rollout.steps
        if self.settings.objective == "dro" and isinstance(process, Ddpm):
            rollouts.stride(process, states)  # said now and not when the first trajectory is needed
        self.optimiser = adamw(list(self.policy.trained.values()), self.settings.optimiser)
        self.average = Average(self.policy.trained, self.settings.ema) if self.settings.ema else None
        self.losers = losers(self.settings)

    @property
    def result(self) -> dict[str, Tensor]:
        """The trained adapter's weights: averaged where that is on."""
        return dict(self.average.tensors if self.average else self.policy.trained)

    def loss(self, errors: Errors) -> Tensor:
        """The objective, a scalar."""
        if self.settings.objective == "dpo":
            return objectives.dpo(errors, beta=self.settings.beta)
        if self.settings.objective == "dro":
            return objectives.dro(errors, margin=self.settings.margin)
        return objectives.sft(errors)


def lagging(settings: options.Train) -> bool:
    """Whether losers come from a policy that lags behind the one in training."""
    return settings.objective == "dro" and settings.rollout.refresh > 1


def losers(settings: options.Train) -> Losers | None:
    """Where this training's losers come from; None: it has none. Savings are taken where they are exact."""
    if settings.objective == "sft":
        return None
    if settings.objective == "dpo":
        return OnDisk()
    if settings.rollout.savings and not lagging(settings):
        return Gated(settings.rollout.steps, settings.margin)
    return Sampled(settings.rollout.steps, stop=settings.rollout.savings)


def adamw(parameters: list[torch.nn.Parameter], settings: options.Optimiser) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) on float32 weights."""
    return torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=parameters[0].device.type in {"cpu", "cuda"},
    )


def learning_rate(settings: options.Optimiser, step: int) -> float:
    """Of step ``step`` (from 0): linear warm-up, then constant. A function of the step alone, so it needs no state."""
    return settings.learning_rate * min(1.0, (step + 1) / settings.warmup if settings.warmup else 1.0)


def steps(trainer: Trainer, done: int = 0) -> Iterator[Step]:
    """Train, one optimiser step at a time, from after ``done`` steps to ``settings.steps``.

    Raises:
        TrainingError: the loss or the gradient is not finite; the weights are those before that step.
    """
    settings, policy = trainer.settings, trainer.policy
    parameters = list(policy.trained.values())
    for step in range(done, settings.steps):
        began = time.perf_counter()
        if lagging(settings) and step % settings.rollout.refresh == 0:
            policy.refresh()
        sums = _Sums()
        for batch in trainer.batches.of_step(step):
            errors, asked = batch_errors(policy, batch, trainer.losers)
            loss = trainer.loss(errors)
            (loss * (len(batch) / settings.batch)).backward()  # type: ignore[no-untyped-call]
            sums.add(loss.detach() * len(batch), errors, asked)
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.optimiser.clip)
        found = sums.found(settings)
        if not math.isfinite(found["loss"] or 0.0) or not math.isfinite(float(norm)):
            raise TrainingError(
                f"step {step + 1}: loss {found['loss']}, gradient norm {float(norm)}. The last checkpoint is intact; "
                "try a lower learning rate, or dtype = 'float32'"
            )
        lr = learning_rate(settings.optimiser, step)
        for group in trainer.optimiser.param_groups:
            group["lr"] = lr
        trainer.optimiser.step()
        trainer.optimiser.zero_grad(set_to_none=True)
        if trainer.average:
            trainer.average.update(policy.trained, step + 1)
        yield Step(step=step + 1, lr=lr, grad_norm=float(norm), seconds=time.perf_counter() - began, **found)  # type: ignore[arg-type]


def batch_errors(policy: Policy, batch: Batch, losers_of: Losers | None) -> tuple[Errors, Tensor | None]:
    """The errors of a batch that its objective needs, with gradients, and which samples' losers were computed.

    The reference comes first: its activations are gone before the policy's are kept.
    """
    process = policy.family.process
    state = process.add_noise(batch.winner, batch.noise, batch.t)
    target = process.target(batch.winner, batch.noise, batch.t)
    if losers_of is None:
        return Errors(policy.error(state, batch.t, batch.condition, target)), None
    reference = policy.reference_error(state, batch.t, batch.condition, target)
    winner = Errors(policy.error(state, batch.t, batch.condition, target), reference_winner=reference)
    answer = losers_of(policy, batch, winner)
    return Errors(winner.policy_winner, answer.policy, reference, answer.reference), answer.asked


class _Sums:
    """Sums over a step's batches, kept on the device until the step is over: one synchronisation instead of many."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._reference = self._loser = False
        self._samples = 0

    def add(self, loss: Tensor, errors: Errors, asked: Tensor | None) -> None:
        self._samples += len(errors.policy_winner)
        values = [loss, errors.policy_winner.detach().sum()]
        if errors.reference_winner is not None and asked is not None:
            known = asked.float()
            assert errors.policy_loser is not None
            assert errors.reference_loser is not None
            parts = (errors.policy_loser, errors.reference_loser, errors.loser_gain, errors.gain, errors.accuracy)
            values += [errors.reference_winner.sum(), known.sum(), *((part.detach() * known).sum() for part in parts)]
        self._rows.append(torch.stack(values))

    def found(self, settings: options.Train) -> dict[str, float | int | None]:
        total = torch.stack(self._rows).sum(0).tolist()
        samples = self._samples
        found: dict[str, float | int | None] = {"loss": total[0] / samples, "policy_winner": total[1] / samples}
        if settings.objective == "sft":
            return found
        scale = settings.beta / 2 if settings.objective == "dpo" else 1.0
        reference_winner, asked, policy_loser, reference_loser, loser_gain, gain, right = total[2:]
        found |= {
            "reference_winner": reference_winner / samples,
            "rewards_chosen": scale * (reference_winner - total[1]) / samples,
            "losers": int(asked),
        }
        if asked:
            found |= {
                "policy_loser": policy_loser / asked,
                "reference_loser": reference_loser / asked,
                "rewards_rejected": scale * loser_gain / asked,
                "rewards_margins": scale * gain / asked,
                "rewards_accuracies": right / asked,
            }
        if settings.objective == "dro":
            found["rollouts"] = asked / samples
        return found
