"""Ours and a published loop, step by step in turn, from the same weights, on the same draws."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.training.published import Given, Loop
from benchmarks.training.ways import PAIRS, Contest, Loader, loop, place, trainer, write_pairs
from pairwright.diffusion import training
from pairwright.diffusion.measures import Step
from pairwright.diffusion.processes import Ddpm
from pairwright.errors import Explained
from pairwright.store import Store

AGREE = 1e-4
"""The largest relative difference of the two gradients with which a timing counts."""


class RaceError(Explained, AssertionError):
    """Two ways of the same training whose gradients differ: their times cannot be compared."""


@dataclass(frozen=True)
class Spent:
    """Seconds of an optimiser step."""

    wall: float
    cpu: float
    """Of all threads of the process; other programs count less in it."""


@dataclass
class Result:
    """What came out of a contest: a repetition is an optimiser step of each."""

    label: str
    target: float | None
    batch: int
    """Samples (in stage 2: pairs) per step."""
    micro: int
    side: int
    """Of the pictures, in pixels."""
    published: list[Spent] = field(default_factory=list)
    ours: list[Spent] = field(default_factory=list)
    difference: float = 0.0
    """The largest relative difference of the gradients."""
    forwards: list[float] = field(default_factory=list)
    """Of ours, per sample."""
    rollouts: list[float] = field(default_factory=list)
    """Share of the samples for which ours sampled a trajectory."""

    def ratios(self, clock: str = "wall") -> list[float]:
        """How many times faster ours was, in each repetition."""
        return [getattr(slow, clock) / getattr(fast, clock) for slow, fast in zip(self.published, self.ours, strict=True)]

    @property
    def faster(self) -> float:
        """The median of them."""
        return median(self.ratios())

    def per_sample(self, spent: Sequence[Spent]) -> float:
        """Seconds, median."""
        return median(each.wall for each in spent) / self.batch

    def row(self) -> dict[str, Any]:
        """For the JSON file."""
        return {**asdict(self), "ratios": self.ratios(), "cpu_ratios": self.ratios("cpu"), "faster": self.faster}


def race(base: Path, contest: Contest, *, batch: int, micro: int, repeats: int, side: int, root: Path) -> Result:
    """Time both, in turn.

    Args:
        base: the pipeline's folder.
        contest: what is compared.
        batch: samples per optimiser step.
        micro: samples per forward, of both.
        repeats: optimiser steps of each; one more is made before and not counted.
        side: of the pictures, in pixels.
        root: for the store.

    Raises:
        RaceError: the gradients of a step differ.
    """
    store = Store(root)
    pairs = write_pairs(store, max(PAIRS, batch), side)
    ours = trainer(pairs, store, base, contest, batch=batch, micro=micro)
    process = ours.batches.process
    assert isinstance(process, Ddpm)
    theirs = loop(base, contest, ours.settings, process.alphas_cumprod)
    place(ours, theirs)
    loader, result = Loader.of(pairs, base), Result(contest.label, contest.target, batch, micro, side)
    grads = [gradients(ours.optimiser, ours.policy.trained), gradients(theirs.optimiser, theirs.trained)]
    steps = training.steps(ours)
    for number in range(repeats + 1):
        given = [loader.given(each) for each in ours.batches.of_step(number)]
        ours.policy.put(theirs.trained)
        (fast, slow), step = turn(steps, theirs, given, ours_first=bool(number % 2))
        result.difference = max(result.difference, agreement(contest.label, *(each.pop() for each in grads)))
        if number:  # the first step also pays for what is made once
            result.ours.append(fast)
            result.published.append(slow)
            result.forwards.append(step.forwards)
            result.rollouts += [] if step.rollouts is None else [step.rollouts]
    return result


def turn(ours: Iterator[Step], theirs: Loop, given: Sequence[Given], *, ours_first: bool) -> tuple[tuple[Spent, Spent], Step]:
    """One step of each: what ours and theirs took, and what ours says of it."""
    spent: dict[bool, Spent] = {}
    said: list[Step] = []
    for own in (ours_first, not ours_first):
        wall, cpu = time.perf_counter(), time.process_time()
        if own:
            said.append(next(ours))
        else:
            theirs.step(given)
        spent[own] = Spent(time.perf_counter() - wall, time.process_time() - cpu)
    return (spent[True], spent[False]), said[0]


def gradients(optimiser: torch.optim.Optimizer, trained: Mapping[str, Tensor]) -> list[Tensor]:
    """A list that grows by the gradient, as one vector, of each of the optimiser's steps."""
    kept: list[Tensor] = []

    def keep(*_: object) -> None:
        parts = [torch.zeros(value.numel()) if value.grad is None else value.grad.flatten() for _, value in sorted(trained.items())]
        kept.append(torch.cat(parts))

    optimiser.register_step_pre_hook(keep)
    return kept


def agreement(label: str, ours: Tensor, theirs: Tensor) -> float:
    """The relative difference of two gradients.

    Raises:
        RaceError: it is too large, or there is no gradient to compare.
    """
    length = float(theirs.norm())
    if ours.shape != theirs.shape or not length > 0:
        raise RaceError(f"{label}: there is no gradient to compare (its norm is {length:.3g})")
    found = float((ours - theirs).norm()) / length
    if not found <= AGREE:
        raise RaceError(f"{label}: the gradients are {found:.2g} apart, relatively; at most {AGREE:g} counts as the same training")
    return found
