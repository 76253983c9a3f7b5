"""What beta means on these pairs: the scale of the gain, measured before anything is trained.

At the start policy and reference are the same model and every gain is exactly 0, so there is nothing to compare beta with.
Gains are therefore measured after a few trial steps at the planned learning rate, on an adapter that is thrown away.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

import torch

from pairwright.context import Context
from pairwright.diffusion import microbatch, training
from pairwright.diffusion.objectives import Errors
from pairwright.diffusion.training import Trainer
from pairwright.options import Train
from pairwright.train.setup import Job, TrainError

PAIRS = 64
TRIAL = 8
"""Optimiser steps, without warm-up; gains are measured in their middle too, to see how they grow."""
PROBE = 1_000_000
"""The step whose draws (timesteps, noise, flips) are measured on; none that is trained on."""
STRAIGHT, SATURATED = 1.0, 4.0
"""Up to and from where ``0.5 * beta * |gain|`` the loss is about straight in the gain, and flat."""


@dataclass(frozen=True)
class Calibration:
    """Gains of :data:`PAIRS` pairs; errors are means over them."""

    options: Train
    winner: float
    loser: float
    """The reference's denoising errors."""
    early: float
    """Median of ``|gain|`` half-way through the trial."""
    gains: tuple[float, ...]
    """After the trial."""

    @property
    def median(self) -> float:
        """Of ``|gain|`` after the trial."""
        return statistics.median(abs(gain) for gain in self.gains)

    def reached(self, scaled: float) -> float:
        """After how many steps the median of ``0.5 * beta * |gain|`` is ``scaled``, if gains go on growing at the trial's pace."""
        return TRIAL * scaled / (0.5 * self.options.beta * self.median)

    def share(self, scaled: float) -> float:
        """Of the pairs, with ``0.5 * beta * |gain|`` above ``scaled`` after the trial."""
        return sum(0.5 * self.options.beta * abs(gain) > scaled for gain in self.gains) / len(self.gains)

    def said(self) -> str:
        """In words."""
        return "\n".join([self._pairs(), self._beta(), *(self._trial() if self.median else [self._unmoved()])])

    def _pairs(self) -> str:
        return (
            f"{len(self.gains)} pairs, timesteps as in training. The reference's denoising error is {self.winner:.4g} on "
            f"winners and {self.loser:.4g} on losers."
        )

    def _beta(self) -> str:
        beta, straight, flat = self.options.beta, 2 * STRAIGHT / self.options.beta, 2 * SATURATED / self.options.beta
        return (
            f"beta = {beta:g} multiplies a gain by {beta / 2:g}. The loss is about straight in the gain up to {straight:.3g} "
            f"({straight / self.winner:.2%} of the winners' error) and flat from {flat:.3g} ({flat / self.winner:.2%}) on: a "
            "pair beyond that hardly counts any more, or counts in full whatever happens."
        )

    def _unmoved(self) -> str:
        rate = self.options.optimiser.learning_rate
        return f"{TRIAL} trial steps at learning rate {rate:g} moved no gain at all: it is too low."

    def _trial(self) -> list[str]:
        scale, tenth = self.options.beta / 2, sorted(abs(gain) for gain in self.gains)[int(0.9 * len(self.gains))]
        growth = f" ({self.median / self.early:.2g} times what it was after {TRIAL // 2})" if self.early else ""
        measured = (
            f"After {TRIAL} trial steps at learning rate {self.options.optimiser.learning_rate:g}, thrown away, |gain| is "
            f"{self.median:.3g} in the median{growth} and {tenth:.3g} in the upper tenth: times beta / 2 that is "
            f"{scale * self.median:.3g} and {scale * tenth:.3g}; {self.share(STRAIGHT):.0%} of the pairs are beyond the "
            f"straight part, {self.share(SATURATED):.0%} in the flat one."
        )
        ahead = (
            "If gains went on growing at this pace, the median pair would leave the straight part after about "
            f"{self.reached(STRAIGHT):,.0f} steps and be in the flat one after about {self.reached(SATURATED):,.0f}; "
            f"{self.options.steps:,} are planned. {self._advice()}"
        )
        return [measured, ahead]

    def _advice(self) -> str:
        planned = self.options.steps
        if planned > self.reached(SATURATED):
            return "So beta stops the training early: a smaller one trains on, a larger one holds it closer to the reference."
        if planned < self.reached(STRAIGHT):
            return "So beta would hardly hold anything back: the learning rate and the number of steps decide how far it goes."
        return "So beta takes hold on the way: that is where it is meant to."


def calibrate(options: Train, context: Context) -> Calibration:
    """Measure the scale of the gain; nothing is kept but the pairs' latents and text states.

    Args:
        options: a training with an objective that reads beta.
        context: as for :func:`pairwright.train.train`.

    Raises:
        TrainError: the objective reads no beta; there are no pairs.
        ModelError: a model that is not found or does not fit.
    """
    if not options.paired:
        raise TrainError(f"objective {options.objective!r} has no beta to calibrate; dpo, ipo and hinge have one")
    calm = options.optimiser.model_copy(update={"warmup": 0})
    trial = options.model_copy(update={"steps": TRIAL, "batch": min(options.batch, PAIRS), "optimiser": calm})
    job = Job.of(trial, context)
    trainer = job.trainer(job.encoded())
    microbatch.choose(trainer)
    before = probe(trainer)
    medians: list[float] = []
    with context.progress.task("calibrate", TRIAL) as task:
        for step in training.steps(trainer):
            task.advance(loss=step.loss)
            if step.step in {TRIAL // 2, TRIAL}:
                gains = probe(trainer).gain
                medians.append(float(gains.abs().median()))
    assert before.reference_winner is not None
    assert before.reference_loser is not None
    winner, loser = float(before.reference_winner.mean()), float(before.reference_loser.mean())
    return Calibration(options, winner, loser, medians[0], tuple(gains.tolist()))


@torch.no_grad()
def probe(trainer: Trainer) -> Errors:
    """The errors of :data:`PAIRS` pairs at fixed draws, on the CPU."""
    fixed = replace(trainer.batches, size=PAIRS, dropout=0.0, rank=0, ranks=1)
    parts = [errors for errors, _ in trainer.errors(PROBE, fixed)]
    columns = zip(*((e.policy_winner, e.policy_loser, e.reference_winner, e.reference_loser) for e in parts), strict=True)
    return Errors(*(torch.cat([each for each in column if each is not None]).cpu() for column in columns))
