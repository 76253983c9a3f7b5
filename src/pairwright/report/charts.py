"""Curves as SVG path data: what a page draws, computed where it can be tested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairwright.wording import number

WIDTH, HEIGHT = 300, 150
"""Of the plotting area, in the units of its paths. The page scales it."""

_POINTS = 300  # a curve has more steps than a page has pixels: neighbours are averaged


@dataclass(frozen=True)
class Series:
    """Numbers over optimiser steps."""

    name: str
    style: str
    """``plain``, ``winner`` or ``loser``: which colour the page gives it."""
    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Line:
    """A series, drawn."""

    name: str
    style: str
    raw: str
    """Path of the values."""
    smooth: str
    """Path of their running mean."""
    last: str
    """The running mean's last value, in words."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """Lines on common axes."""

    title: str
    note: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    zero: float | None
    """Where 0 is, if it is inside."""


def chart(
    title: str,
    series: Sequence[Series],
    *,
    note: str = "",
    least: float | None = None,
    most: float | None = None,
    exact: bool = False,
) -> Chart | None:
    """The chart of some series; None where none has a value.

    Args:
        title: what is shown.
        series: each with as many steps as values; what is not finite is left out.
        note: how to read it.
        least: a value that is shown in any case (0 for shares).
        most: another.
        exact: few numbers that are no samples of a noisy curve: none is smoothed.
    """
    cleaned = [each for each in (_finite(one) for one in series) if len(each.values)]
    if not cleaned:
        return None
    smoothed = [np.asarray(each.values) if exact else running_mean(_tamed(each.values)) for each in cleaned]
    low, high = _range([np.asarray(each.values) for each in cleaned], smoothed, least, most)
    first = min(each.steps[0] for each in cleaned)
    last = max(each.steps[-1] for each in cleaned)
    box = _Box(first, max(last, first + 1), low, high)
    lines = tuple(
        Line(each.name, each.style, box.path(each.steps, each.values), box.path(each.steps, mean), number(float(mean[-1])))
        for each, mean in zip(cleaned, smoothed, strict=True)
    )
    across = tuple(Tick(box.x(each), f"{each:g}") for each in _ticks(first, box.last, 5) if each == round(each))
    up = tuple(Tick(box.y(each), f"{each:g}") for each in _ticks(low, high, 4))
    return Chart(title, note, lines, across, up, box.y(0.0) if low < 0 < high else None)


@dataclass(frozen=True)
class _Box:
    first: float
    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        return round(WIDTH * (step - self.first) / (self.last - self.first), 1)

    def y(self, value: float) -> float:
        return round(HEIGHT * (self.high - value) / (self.high - self.low), 1)

    def path(self, steps: Sequence[float], values: Sequence[float] | np.ndarray) -> str:
        parts = np.array_split(np.arange(len(steps)), min(len(steps), _POINTS))
        points = [(float(np.mean(np.asarray(steps)[part])), float(np.mean(np.asarray(values)[part]))) for part in parts]
        drawn = "L".join(f"{self.x(step)} {self.y(value)}" for step, value in points)
        return f"M{drawn}" if len(points) > 1 else f"M{drawn}h0.01"  # one step is a dot


def running_mean(values: Sequence[float]) -> np.ndarray:
    """An exponential mean over about a fifteenth of the series, unbiased at its beginning: ``float64 [n]``."""
    decay = 1 - min(1.0, 15 / max(len(values), 1))
    mean = np.empty(len(values))
    total = weight = 0.0
    for index, value in enumerate(values):
        total, weight = decay * total + value, decay * weight + 1
        mean[index] = total / weight
    return mean


def _tamed(values: Sequence[float]) -> list[float]:
    """Outliers cut at three times the spread of nearly all values: one of them must not bend the mean."""
    low, high = np.quantile(np.asarray(values), [0.02, 0.98])
    room = 3 * (high - low)
    return [float(each) for each in np.clip(values, low - room, high + room)]


def _finite(series: Series) -> Series:
    kept = [(step, value) for step, value in zip(series.steps, series.values, strict=True) if math.isfinite(value)]
    return Series(series.name, series.style, [step for step, _ in kept], [value for _, value in kept])


def _range(raw: Sequence[np.ndarray], smooth: Sequence[np.ndarray], least: float | None, most: float | None) -> tuple[float, float]:
    """Limits that hold the means and nearly all values: one outlier must not flatten a curve."""
    every = np.concatenate(raw)
    edges = [*np.quantile(every, [0.02, 0.98]), *(bound for each in smooth for bound in (each.min(), each.max()))]
    edges += [each for each in (least, most) if each is not None]
    low, high = float(min(edges)), float(max(edges))
    room = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    return (low if low == least else low - room), (high if high == most else high + room)


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) between two limits."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(each * step, 12) for each in range(first, math.floor(high / step + 1e-9) + 1)]
