"""A policy's own sampling trajectories, for DRO's losers.

:func:`rollout` is DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2), vectorised over samples that each have a
grid of their own: ``t_i = stride * i + offset``, so that a state that is used lies at the very timestep of the real picture.
:func:`euler` is the sampler of rectified flows, to the end.

Samples need different numbers of steps. Those that have arrived therefore make room for the next ones, as a server does with
requests: the batch stays full, whatever levels its samples are at, and a step's rollouts cost the forwards that they need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pairwright.diffusion.families import Condition
from pairwright.diffusion.processes import Ddpm, RectifiedFlow, spread
from pairwright.errors import Explained

Predict = Callable[[Tensor, Tensor, Condition], Tensor]
"""``(latents [b, ...], t [b], condition) -> prediction [b, ...]`` of the sampling policy, CFG 1."""


class RolloutError(Explained, ValueError):
    """A trajectory that cannot be sampled."""


@dataclass(frozen=True)
class States:
    """Where trajectories are at some timesteps, and what the sampling policy predicted there."""

    latents: Tensor
    """``[b, ...]``, or ``[b, k, ...]`` where k states were asked for."""
    prediction: Tensor
    """The same shape."""
    forwards: Tensor
    """``[b]`` float32 on the CPU: how many forwards each sample took."""

    def take(self, rows: Tensor) -> States:
        """Some of the samples, by an index tensor on the CPU."""
        return States(_take(self.latents, rows), _take(self.prediction, rows), self.forwards[rows])


@torch.no_grad()
def rollout(
    predict: Predict,
    process: Ddpm,
    noise: Tensor,
    t: Tensor,
    condition: Condition,
    *,
    steps: int,
    stop: bool = True,
    at_once: int | None = None,
) -> States:
    """Sample from ``noise`` and return the states at ``t`` of each sample, with the predictions there.

    Args:
        predict: the sampling policy.
        process: the noise schedule.
        noise: ``[b, ...]`` float32, the trajectories' starts.
        t: ``[b]`` or ``[b, k]`` int64 on the CPU: which states are asked for. They decide the sample's grid.
        condition: one row per sample.
        steps: states of a trajectory; divides the length of the process.
        stop: leave out what comes after the last state that is asked for (the same states; one state each takes half of the
            forwards on average).
        at_once: the most samples of a forward; None: all.

    Raises:
        RolloutError: ``steps`` does not divide the length of the process, or a sample's timesteps lie on no common grid.
    """
    gap = stride(process, steps)
    wanted, offset = _grids(t, gap)
    last = wanted.amin(1) if stop else torch.zeros(len(t), dtype=torch.long)
    # The farthest first, so that short ones fill the batch up towards the end.
    queue = torch.argsort(last, stable=True)
    width = min(at_once or len(queue), len(queue))
    found = [noise.new_empty(*wanted.shape, *noise.shape[1:]) for _ in range(2)]
    count = torch.zeros(len(t))
    under_way, queue = queue[:width], queue[width:]
    level = torch.full((len(under_way),), steps - 1)
    state = _take(noise, under_way)
    before = torch.zeros_like(state)
    while len(under_way):
        here = gap * level + offset[under_way]
        prediction = predict(state, here, condition[under_way])
        count[under_way] += 1
        rows, columns = torch.nonzero(wanted[under_way] == level[:, None], as_tuple=True)
        for into, values in zip(found, (state, prediction), strict=True):
            into[under_way[rows].to(noise.device), columns.to(noise.device)] = _take(values, rows)
        going = torch.nonzero(level > last[under_way])[:, 0]
        at, begun = here[going], level[going] < steps - 1
        clean = process.clean(_take(state, going), _take(prediction, going), at)
        state = _advance(process, _take(state, going), clean, _take(before, going), begun, at, gap)
        fresh, queue = queue[: width - len(going)], queue[width - len(going) :]
        under_way = torch.cat([under_way[going], fresh])
        level = torch.cat([level[going] - 1, torch.full((len(fresh),), steps - 1)])
        state, before = torch.cat([state, _take(noise, fresh)]), torch.cat([clean, torch.zeros_like(_take(noise, fresh))])
    latents, prediction = (each.squeeze(1) if t.dim() == 1 else each for each in found)
    return States(latents, prediction, count)


@torch.no_grad()
def euler(
    predict: Predict, process: RectifiedFlow, noise: Tensor, condition: Condition, *, steps: int, at_once: int | None = None
) -> Tensor:
    """Latents ``[b, ...]`` sampled from ``noise`` to the end, as diffusers' flow-matching Euler sampler does.

    Args:
        predict: the sampling policy.
        process: the schedule.
        noise: ``[b, ...]`` float32.
        condition: one row per sample.
        steps: forwards of each sample.
        at_once: the most samples of a forward; None: all.
    """
    sigmas, width = process.grid(steps).tolist(), at_once or len(noise)
    found = []
    for start in range(0, len(noise), width):
        rows = slice(start, start + width)
        state, told = noise[rows], condition[rows]
        for here, after in pairwise(sigmas):
            velocity = predict(state, torch.full((len(state),), here * process.length), told)
            state = state + (after - here) * velocity
        found.append(state)
    return torch.cat(found)


def stride(process: Ddpm, steps: int) -> int:
    """How many timesteps lie between two states.

    Raises:
        RolloutError: ``steps`` does not divide the length of the process, so some timesteps would never be met.
    """
    if process.length % steps:
        raise RolloutError(f"rollout.steps must divide {process.length}, the length of the noise schedule; got {steps}")
    return process.length // steps


def forwards(t: Tensor, *, length: int, steps: int) -> Tensor:
    """How many forwards each sample's trajectory needs to reach ``t``, its own prediction there included: ``[b]``."""
    return steps - t // (length // steps)


def _grids(t: Tensor, gap: int) -> tuple[Tensor, Tensor]:
    """The levels that are asked for, ``[b, k]``, and each sample's offset, ``[b]``."""
    asked = t.reshape(len(t), -1)
    offset = asked[:, 0] % gap
    if (asked % gap != offset[:, None]).any():
        raise RolloutError(f"the timesteps of one trajectory must be a multiple of {gap} apart")
    return asked // gap, offset


def _take(values: Tensor, rows: Tensor) -> Tensor:
    return values[rows.to(values.device)]


def _advance(process: Ddpm, state: Tensor, clean: Tensor, before: Tensor, begun: Tensor, t: Tensor, gap: int) -> Tensor:
    """From ``t`` to ``t - gap``, second order for the samples that have ``begun`` (``[b]`` bool) already.

    With a = sqrt(alphas_cumprod), s = sqrt(1 - alphas_cumprod) and lambda = log(a / s):
    ``x' = (s' / s) x - a' (exp(-h) - 1) D``, ``h = lambda' - lambda``, ``D = clean + (clean - before) h / (2 h_before)``.
    """
    share = process.alphas_cumprod.double()

    def at(each: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        signal, deviation = share[each] ** 0.5, (1 - share[each]) ** 0.5
        return signal, deviation, torch.log(signal / deviation)

    _, deviation, level = at(t)
    signal, deviation_next, level_next = at(t - gap)
    step = level_next - level
    step_before = level - at((t + gap).clamp(max=process.length - 1))[2]
    bend = torch.where(begun, step / (2 * step_before), 0.0)
    direction = clean + spread(bend, clean) * (clean - before)
    return spread(deviation_next / deviation, state) * state - spread(signal * torch.expm1(-step), state) * direction
