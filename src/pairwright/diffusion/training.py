"""The training loop, a generator of typed steps: logs, checkpoints and the end belong to the caller."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pairwright import options, ranks
from pairwright.diffusion import microbatch, objectives, optimisers, rollouts
from pairwright.diffusion.adapters import Average
from pairwright.diffusion.batches import Batches
from pairwright.diffusion.losers import Losers, source
from pairwright.diffusion.measures import Step, Sums, memory
from pairwright.diffusion.objectives import Errors
from pairwright.diffusion.pair_errors import Answer, noised
from pairwright.diffusion.policy import Policy
from pairwright.diffusion.processes import Ddpm
from pairwright.errors import Explained


class TrainingError(Explained, RuntimeError):
    """Training that cannot go on; the message names the step."""


@dataclass
class Trainer:
    """Everything that a step changes, and what it reads."""

    settings: options.Train
    policy: Policy
    batches: Batches
    say: Callable[[str], object] = lambda _: None
    """Told what a user should know of, in words."""
    optimiser: torch.optim.Optimizer = field(init=False)
    average: Average | None = field(init=False)
    losers: Losers | None = field(init=False)
    checkpointed: bool = field(init=False, default=False)
    """Whether activations are computed again in the backward pass instead of being kept."""

    def __post_init__(self) -> None:
        process, states, settings = self.batches.process, self.settings.rollout.steps, self.settings
        if settings.objective == "dro" and isinstance(process, Ddpm):
            rollouts.stride(process, states)  # said now and not when the first trajectory is needed
        self.optimiser = optimisers.build(list(self.policy.trained.values()), settings.optimiser)
        self.average = (
            Average(self.policy.trained, settings.ema, every=settings.ema_every, warmup=settings.ema_warmup)
            if settings.ema
            else None
        )
        self.losers = source(settings, process)

    @property
    def result(self) -> dict[str, Tensor]:
        """The trained weights: averaged where that is on."""
        return dict(self.average.tensors if self.average else self.policy.trained)

    def loss(self, errors: Errors) -> Tensor:
        """The objective, a scalar."""
        return objectives.of(self.settings)(errors)

    def errors(self, step: int, batches: Batches | None = None) -> Iterator[tuple[Errors, Answer | None]]:
        """What the objective needs of a step's samples, in parts of at most a micro-batch, and what is known of their losers.

        Args:
            step: from 0.
            batches: other ones than the training's own.
        """
        chosen = batches or self.batches
        if self.losers is not None:
            yield from self.losers.of_step(self.policy, step, chosen)
            return
        for batch in chosen.of_step(step):
            state, target = noised(self.policy, batch, batch.winner)
            yield Errors(self.policy.error(state, batch.t, batch.condition, target, batch.weight)), None

    def backward(self, errors: Errors) -> Tensor:
        """Add these samples' part to the step's gradient, where they have one; their loss."""
        loss = self.loss(errors)
        if loss.requires_grad:
            (loss * (len(errors.policy_winner) / self.settings.batch)).backward()  # type: ignore[no-untyped-call]
        return loss

    def checkpoint(self) -> None:
        """Trade a third more time for much less memory, from now on."""
        self.policy.network.enable_gradient_checkpointing()  # type: ignore[operator]
        self.checkpointed = True


def lagging(settings: options.Train) -> bool:
    """Whether losers come from a policy that lags behind the one in training."""
    return settings.objective == "dro" and settings.rollout.refresh > 1


def steps(trainer: Trainer, done: int = 0, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Step]:
    """Train, one optimiser step at a time, from after ``done`` steps to ``settings.steps``.

    A step whose loss or gradient is not finite is yielded as skipped; nothing was applied.

    Args:
        trainer: changed by every step.
        done: how many steps were done before.
        stop: asked between micro-batches; where it answers yes, the step under way is dropped and there are no more.

    Raises:
        TrainingError: too many steps in a row were skipped.
        TooLargeError: not even one sample fits into memory.
    """
    skipped = 0
    for step in range(done, trainer.settings.steps):
        found = _step(trainer, step, stop)
        if found is None:
            return
        yield found
        skipped = skipped + 1 if found.skipped else 0
        if skipped >= trainer.settings.max_skips:
            raise TrainingError(
                f"step {step + 1}: loss {found.loss:.4g}, gradient norm {found.grad_norm:.4g}, the {skipped}th step in a row "
                "that is not finite. All of them were skipped: the weights and the last checkpoint are those before. "
                f"Try a lower optimiser.learning_rate{', a warm-up' if not trainer.settings.optimiser.warmup else ''}"
                f"{', dtype = ' + repr('float32') if trainer.settings.dtype != 'float32' else ''}"
                ", or look for damaged pictures among the pairs"
            )


def _step(trainer: Trainer, step: int, stop: Callable[[], bool]) -> Step | None:
    """One optimiser step; None: it was stopped, and nothing was applied."""
    began = time.perf_counter()
    settings, policy = trainer.settings, trainer.policy
    if lagging(settings) and step % settings.rollout.refresh == 0:
        policy.refresh()
    sums = _gradients(trainer, step, stop)
    parameters = list(policy.trained.values())
    for each in parameters:
        if each.grad is None:  # no sample had a gradient: AdamW goes on by its momentum, as with a gradient of 0
            each.grad = torch.zeros_like(each)
    ranks.sum_gradients(parameters)
    found, stopped = sums.found(stop=stop())
    if stopped:
        trainer.optimiser.zero_grad(set_to_none=True)
        return None
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, settings.optimiser.clip))
    fine = math.isfinite(norm) and math.isfinite(found["loss"] or 0.0)
    lr = optimisers.learning_rate(settings.optimiser, step)
    if fine:
        _apply(trainer, step, lr)
    trainer.optimiser.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - began
    return Step(
        step=step + 1,
        lr=lr,
        grad_norm=norm,
        seconds=seconds,
        skipped=not fine,
        pairs_per_second=settings.batch / seconds,
        micro=trainer.batches.micro,
        memory=memory(policy.family.device),
        **found,  # type: ignore[arg-type]
    )


def _gradients(trainer: Trainer, step: int, stop: Callable[[], bool]) -> Sums:
    """Leave the gradient of this process's samples of a step; done again with less where memory runs out."""
    while True:
        try:
            return _accumulated(trainer, step, stop)
        except torch.OutOfMemoryError:
            pass  # left first: the error's traceback holds the tensors that memory is needed for
        trainer.say(microbatch.relieve(trainer, step))


def _accumulated(trainer: Trainer, step: int, stop: Callable[[], bool]) -> Sums:
    sums = Sums(trainer.settings, trainer.policy.family.device)
    for errors, answer in trainer.errors(step):
        if stop():
            break
        sums.add(trainer.backward(errors), errors, answer)
    return sums


def _apply(trainer: Trainer, step: int, lr: float) -> None:
    for group in trainer.optimiser.param_groups:
        group["lr"] = lr
    trainer.optimiser.step()
    if trainer.average:
        trainer.average.update(trainer.policy.trained, step + 1)
