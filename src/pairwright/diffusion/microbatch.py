"""How many samples go through the network at once: measured where memory can be, halved where it ran out.

The micro-batch changes memory and speed, never the step: gradients of a step's micro-batches add up to those of its batch.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import torch

from pairwright.diffusion import optimisers
from pairwright.errors import Explained

if TYPE_CHECKING:
    from pairwright.diffusion.training import Trainer

DEFAULT = 8
"""``auto`` where memory cannot be measured."""
SHARE = 0.85
"""Of the free memory that a step may take: the rest is for fragmentation, and for rollouts, whose need is not measured."""


class TooLargeError(Explained, RuntimeError):
    """Not even one sample fits; the message says what helps."""


@dataclass(frozen=True)
class Need:
    """Bytes of a step with one and with two samples per forward, above what was taken before."""

    one: int
    two: int

    def most(self, room: int) -> int:
        """How many samples fit into ``room`` bytes: what a step takes grows by the same amount with each sample."""
        each = max(self.two - self.one, 1)
        return max((room - (self.one - each)) // each, 0)


def even(most: int, batch: int) -> int:
    """A micro-batch of at most ``most`` samples that cuts ``batch`` into parts as equal as can be."""
    return math.ceil(batch / math.ceil(batch / max(most, 1)))


def choose(trainer: Trainer) -> str:
    """Set the micro-batch that ``auto`` stands for, and activation checkpointing where one sample needs it.

    Returns:
        a sentence about it; empty where nothing was to be chosen.

    Raises:
        TooLargeError: not even one sample fits.
    """
    settings = trainer.settings
    if settings.checkpoint_activations is True:
        trainer.checkpoint()
    if settings.micro_batch != "auto":
        set_micro(trainer, settings.micro_batch)
        return ""
    if trainer.policy.family.device.type != "cuda":
        set_micro(trainer, DEFAULT)
        return ""
    return fit(trainer, lambda count: _measured(trainer, count), lambda: _room(trainer))


def fit(trainer: Trainer, measure: Callable[[int], int], room: Callable[[], int]) -> str:
    """Measure a step with one and with two samples, and set the largest micro-batch that should fit.

    Args:
        trainer: gets the micro-batch.
        measure: bytes that a forward and backward of so many samples take; may raise torch.OutOfMemoryError.
        room: bytes that may be taken.

    Returns:
        a sentence about it.

    Raises:
        TooLargeError: not even one sample fits.
    """
    most, each = _most(trainer, measure, room)
    while most < 1:
        if trainer.checkpointed or trainer.settings.checkpoint_activations is False:
            raise TooLargeError(_hopeless(trainer))
        trainer.checkpoint()
        most, each = _most(trainer, measure, room)
    set_micro(trainer, even(most, trainer.batches.share))
    how = ", activations checkpointed" if trainer.checkpointed else ""
    return f"  micro-batch {trainer.batches.micro}{how}: a sample takes {each / 1e6:.0f} MB, {room() / 1e9:.1f} GB may be used"


def _most(trainer: Trainer, measure: Callable[[int], int], room: Callable[[], int]) -> tuple[int, int]:
    try:
        measure(1)  # the first forward also pays for the libraries' own workspaces
        one = measure(1)
    except torch.OutOfMemoryError:
        return 0, 0
    finally:
        forget(trainer)
    if trainer.batches.share < 2:
        return 1, one
    try:
        need = Need(one, measure(2))
    except torch.OutOfMemoryError:
        return 1, one
    finally:
        forget(trainer)
    return need.most(room()), max(need.two - need.one, 1)


def set_micro(trainer: Trainer, micro: int) -> None:
    """From now on so many samples per forward."""
    trainer.batches = replace(trainer.batches, micro=max(1, min(micro, trainer.batches.share)))


def relieve(trainer: Trainer, step: int) -> str:
    """After memory ran out in a step, of which nothing was applied: take less, so that it can be done again.

    Returns:
        a sentence about it.

    Raises:
        TooLargeError: there is no less.
    """
    forget(trainer)
    micro = trainer.batches.micro
    if micro > 1:
        set_micro(trainer, micro // 2)
        now = f"goes on with {trainer.batches.micro} per forward"
    elif trainer.checkpointed or trainer.settings.checkpoint_activations is False:
        raise TooLargeError(f"step {step + 1}: {_hopeless(trainer)}. The state before this step is kept")
    else:
        trainer.checkpoint()
        now = "checkpoints activations from now on, a third slower"
    return f"  step {step + 1}: out of memory with {micro} per forward; {now}. The step is done again: the batch stays the same"


def forget(trainer: Trainer) -> None:
    """Drop gradients and cached memory."""
    trainer.optimiser.zero_grad(set_to_none=True)
    gc.collect()
    if trainer.policy.family.device.type == "cuda":
        torch.cuda.empty_cache()


def _hopeless(trainer: Trainer) -> str:
    what = "even with activations checkpointed" if trainer.checkpointed else "and checkpoint_activations is false"
    return (
        f"not even one sample per forward fits into the memory of {trainer.policy.family.device}, {what}; "
        "try a smaller resolution, a smaller lora.rank, dtype = 'bfloat16' or a larger device"
    )


def _measured(trainer: Trainer, count: int) -> int:
    """Bytes that a forward and backward of ``count`` samples of the first step add to what is taken already."""
    device = trainer.policy.family.device
    forget(trainer)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    forward_and_backward(trainer, count)
    return int(torch.cuda.max_memory_allocated(device)) - before


def forward_and_backward(trainer: Trainer, count: int) -> None:
    """Of ``count`` samples of the first step, their losers included; the gradients stay."""
    batches = replace(trainer.batches, micro=count)
    if batches.replay is None:
        batches = replace(batches, size=count, rank=0, ranks=1)  # no more trajectories than are looked at
    found = trainer.errors(0, batches)
    for errors, _ in islice(found, 1) if batches.replay else found:
        trainer.backward(errors)


def _room(trainer: Trainer) -> int:
    device = trainer.policy.family.device
    free, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    come = optimisers.bytes_to_come(list(trainer.policy.trained.values()), trainer.settings.optimiser)
    return int(SHARE * (free + cached)) - come
