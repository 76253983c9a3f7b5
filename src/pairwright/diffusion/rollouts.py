"""States of a policy's own sampling trajectory, for DRO's losers.

DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2), vectorised over samples that each have a grid of their
own: ``t_i = stride * i + offset``, so that the state that is used lies at the very timestep of the real picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pairwright.diffusion.families import Condition
from pairwright.diffusion.processes import Ddpm, spread
from pairwright.errors import Explained

Predict = Callable[[Tensor, Tensor, Condition], Tensor]
"""``(latents [b, ...], t [b], condition) -> prediction [b, ...]`` of the sampling policy, CFG 1."""


class RolloutError(Explained, ValueError):
    """A trajectory that cannot be sampled."""


@dataclass(frozen=True)
class States:
    """Where each sample's trajectory is at its timestep, and what the sampling policy predicted there."""

    latents: Tensor
    prediction: Tensor


@torch.no_grad()
def rollout(
    predict: Predict, process: Ddpm, noise: Tensor, t: Tensor, condition: Condition, *, steps: int, stop: bool = True
) -> States:
    """Sample from ``noise`` and return the state at ``t`` of each sample, with the prediction there.

    Args:
        predict: the sampling policy.
        process: the noise schedule.
        noise: ``[b, ...]`` float32, the trajectory's start.
        t: ``[b]`` int64 on the CPU: which state is asked for. It decides the sample's grid.
        condition: one row per sample.
        steps: states of a trajectory; divides the length of the process.
        stop: leave out what comes after the state that is asked for (the same states, half of the forwards on average).

    Raises:
        RolloutError: ``steps`` does not divide the length of the process.
    """
    gap = stride(process, steps)
    # Samples that go farthest come first, so that those still under way are always a slice.
    order = torch.argsort(t // gap, stable=True)
    t, index = t[order], t[order] // gap
    state, condition = noise[order.to(noise.device)], condition[order]
    found = States(torch.empty_like(noise), torch.empty_like(noise))
    before: Tensor | None = None
    for level in range(steps - 1, -1, -1):
        here = gap * level + t % gap
        prediction = predict(state, here[: len(state)], condition[: len(state)])
        rows = torch.nonzero(index[: len(state)] == level)[:, 0]
        places = order[rows].to(noise.device)
        found.latents[places], found.prediction[places] = state[rows.to(noise.device)], prediction[rows.to(noise.device)]
        left = int((index < level).sum()) if stop else len(state)
        if left == 0 or level == 0:
            break
        at = here[:left]
        clean = process.clean(state[:left], prediction[:left], at)
        state = _advance(process, state[:left], clean, None if before is None else before[:left], at, gap)
        before = clean
    return found


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


def _advance(process: Ddpm, state: Tensor, clean: Tensor, before: Tensor | None, t: Tensor, gap: int) -> Tensor:
    """From ``t`` to ``t - gap``, second order from the second step on.

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
    direction = clean
    if before is not None:
        step_before = level - at(t + gap)[2]
        direction = clean + spread(step / (2 * step_before), clean) * (clean - before)
    return spread(deviation_next / deviation, state) * state - spread(signal * torch.expm1(-step), state) * direction
