"""What a panel of raters says of two models: majorities, how sure they are, and how far raters agree.

Votes are ``float64 [prompts, raters]``: 1 the model is preferred, 0 a tie, -1 the other one is, NaN not given.

Both prompts and raters are drawn from many, so both are resampled (Owen 2007, "The Pigeonhole Bootstrap"): a resample draws
prompts and raters with replacement and takes the votes where they cross. With 60 prompts, 17 raters and no difference at all,
votes taken as independent find one in 52 % of studies, a test over majorities in 11 %, this in 4 % (simulated; docs/study.md has
the table). The pigeonhole bootstrap counts the noise of a single vote three times, which makes up for normal instead of t
quantiles; its percentiles are stretched by sqrt(n / (n - 1)), n the smaller of both numbers, as few raters vary too little
among themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pairwright import seeds
from pairwright.stats import Interval

FEWEST_PROMPTS, FEWEST_RATERS = 6, 3
"""With fewer there is no interval: 5 prompts that agree do so by chance in 2 of 32 cases; two raters have no spread."""

_NORMAL = NormalDist()
_BLOCK = 1 << 20  # numbers held per resampled table: 8 MB whatever the size of the panel


@dataclass(frozen=True)
class Estimate:
    """A share in 0..1 with its interval (infinite where there are too few prompts or raters), and p against one half."""

    value: float
    interval: Interval
    p: float
    """Two-sided: the least level at which the interval would leave one half out; at least 2^(1 - prompts)."""


@dataclass(frozen=True)
class Panel:
    """What raters say of a model against another."""

    wins: int
    """Prompts on which the majority prefers the model."""
    ties: int
    losses: int
    won: Estimate
    """Share of prompts won, a tie as half: the paper's figure. Its interval is wide: majorities of few raters turn easily."""
    preferred: Estimate
    """Share of votes for the model, a tie as half, all votes alike. This one decides."""
    prompts: int
    raters: int
    votes: int


@dataclass(frozen=True)
class Agreement:
    """Krippendorff's alpha for nominal values: 1 all agree, 0 as by chance. NaN where only one value was ever given."""

    alpha: float
    interval: Interval
    """By resampling the units."""
    units: int
    """Units with at least two values; the others say nothing of agreement."""
    values: int


def majority(votes: np.ndarray) -> np.ndarray:
    """The answer most often given to each prompt: ``float64 [prompts]``; the same number of votes for two is a tie, none NaN.

    The paper's "majority" (arXiv 2605.19839, A.3). An answer "tie" competes like the others.
    """
    counts = _answers(votes).sum(axis=1)
    found: np.ndarray = np.where(counts.sum(axis=1) > 0, _mode(counts), np.nan)
    return found


def panel(votes: np.ndarray, *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0) -> Panel:
    """Majorities and preference over all prompts, with two-way intervals.

    Args:
        votes: see the module; a prompt or rater without votes is left out.
        resamples: of prompts and raters.
        confidence: of the intervals, in 0..1.
        seed: the same votes and seed give the same intervals.

    Raises:
        ValueError: another shape, another value, or no vote at all.
    """
    table = _checked(votes)
    answers = _answers(table)
    verdicts = majority(table)
    preferred, won = [], []
    for by_prompt, by_rater in two_way_weights(len(table), table.shape[1], resamples, seed):
        counts = np.einsum("pra,br->bpa", answers, by_rater, optimize=True)
        there = counts.sum(axis=2)
        preferred.append(_ratio((by_prompt * (counts[..., 0] - counts[..., 2])).sum(axis=1), (by_prompt * there).sum(axis=1)))
        won.append(_ratio((by_prompt * _mode(counts) * (there > 0)).sum(axis=1), (by_prompt * (there > 0)).sum(axis=1)))
    wins, ties, losses = (int(np.count_nonzero(verdicts == sign)) for sign in (1, 0, -1))
    return Panel(
        wins=wins,
        ties=ties,
        losses=losses,
        won=_share(float(verdicts.mean()), np.concatenate(won), table.shape, confidence),
        preferred=_share(float(np.nanmean(table)), np.concatenate(preferred), table.shape, confidence),
        prompts=table.shape[0],
        raters=table.shape[1],
        votes=int(np.count_nonzero(~np.isnan(table))),
    )


def preference(votes: np.ndarray, *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0) -> Estimate:
    """The share of votes for 1, ties as half, alone; arguments and errors as :func:`panel`."""
    table = _checked(votes)
    signs, there = np.nan_to_num(table), (~np.isnan(table)).astype(np.float64)
    drawn = [
        _ratio(((by_prompt @ signs) * by_rater).sum(axis=1), ((by_prompt @ there) * by_rater).sum(axis=1))
        for by_prompt, by_rater in two_way_weights(len(table), table.shape[1], resamples, seed)
    ]
    return _share(float(np.nanmean(table)), np.concatenate(drawn), table.shape, confidence)


def agreement(values: np.ndarray, *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0) -> Agreement:
    """Krippendorff's alpha, nominal (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", C and D).

    ``1 - D_o / D_e`` from the coincidences of values within a unit, each unit's pairs weighing 1 / (values - 1).

    Args:
        values: ``float64 [units, raters]``, any numbers that stand for categories; NaN: not given.
        resamples: of the units.
        confidence: of the interval.
        seed: of the resamples.

    Raises:
        ValueError: no unit has two values.
    """
    kinds = np.unique(values[~np.isnan(values)])
    counts = np.stack([(values == kind).sum(axis=1) for kind in kinds], axis=1).astype(np.float64)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        raise ValueError("no unit has two values: nothing to agree about")
    rng = np.random.default_rng(seeds.key(seed, "alpha", len(counts)))
    rows = max(1, _BLOCK // len(counts))
    blocks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    weights = (rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=size) for size in blocks)
    drawn = np.concatenate([_alpha(counts, each.astype(np.float64)) for each in weights])
    drawn = drawn[np.isfinite(drawn)]
    low, high = (-math.inf, math.inf)
    if len(counts) >= FEWEST_PROMPTS and drawn.size:
        low, high = (float(each) for each in np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]))
    alpha = float(_alpha(counts, np.ones((1, len(counts))))[0])
    return Agreement(alpha, Interval(low, high, confidence), len(counts), int(counts.sum()))


def two_way_weights(prompts: int, raters: int, resamples: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each prompt and each rater was drawn: blocks of ``float64 [b, prompts]`` and ``[b, raters]``."""
    rng = np.random.default_rng(seeds.key(seed, "two-way", prompts, raters))
    rows = max(1, _BLOCK // (3 * max(prompts, raters)))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        by_prompt, by_rater = (rng.multinomial(n, np.full(n, 1 / n), size=size) for n in (prompts, raters))
        yield by_prompt.astype(np.float64), by_rater.astype(np.float64)


def two_way_interval(drawn: np.ndarray, panel_shape: tuple[int, ...], confidence: float) -> Interval:
    """The stretched percentiles of two-way resamples of a panel of so many prompts and raters; infinite for too few."""
    prompts, raters = panel_shape
    finite = drawn[np.isfinite(drawn)]
    if prompts < FEWEST_PROMPTS or raters < FEWEST_RATERS or not finite.size:
        return Interval(-math.inf, math.inf, confidence)
    tail = _NORMAL.cdf(-_stretch(panel_shape) * _NORMAL.inv_cdf((1 + confidence) / 2))
    low, high = (float(bound) for bound in np.quantile(finite, [tail, 1 - tail]))
    return Interval(low, high, confidence)


def _share(mean: float, drawn: np.ndarray, shape: tuple[int, ...], confidence: float) -> Estimate:
    """From means of -1..1 to a share of 0..1."""
    interval = two_way_interval(drawn, shape, confidence)
    value = (mean + 1) / 2
    if not math.isfinite(interval.low):
        return Estimate(value, interval, 1.0)
    # Majorities of resampled raters are less unanimous than those of all: the estimate may lie outside of all of them.
    low, high = min((interval.low + 1) / 2, value), max((interval.high + 1) / 2, value)
    finite = drawn[np.isfinite(drawn)]
    beyond = min(np.count_nonzero(finite <= 1e-12), np.count_nonzero(finite >= -1e-12))
    share = min(0.5, (int(beyond) + 1) / (finite.size + 1))  # never 0: no resampling can show that
    p = 2 * _NORMAL.cdf(_NORMAL.inv_cdf(share) / _stretch(shape))
    return Estimate(value, Interval(low, high, confidence), max(p, 2.0 ** (1 - shape[0])))


def _stretch(shape: tuple[int, ...]) -> float:
    least = min(shape)
    return math.sqrt(least / (least - 1))


def _checked(votes: np.ndarray) -> np.ndarray:
    table = np.asarray(votes, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"votes are [prompts, raters], got {list(table.shape)}")
    there = ~np.isnan(table)
    if not np.isin(table[there], (-1, 0, 1)).all():
        raise ValueError("a vote is 1, 0, -1 or NaN")
    if not there.any():
        raise ValueError("there is no vote")
    return table[there.any(axis=1)][:, there.any(axis=0)]


def _answers(votes: np.ndarray) -> np.ndarray:
    """Votes for the model, ties and votes for the other, each 0 or 1: ``float64 [prompts, raters, 3]``."""
    return np.stack([votes == 1, votes == 0, votes == -1], axis=-1).astype(np.float64)


def _mode(counts: np.ndarray) -> np.ndarray:
    """1, 0 or -1 from counts ``[..., 3]``: the largest one; 0 where no side has more than both other answers."""
    wins, ties, losses = np.moveaxis(counts, -1, 0)
    return np.where(wins > np.maximum(ties, losses), 1.0, np.where(losses > np.maximum(ties, wins), -1.0, 0.0))


def _ratio(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    """NaN where a resample of a sparse table holds no vote."""
    found: np.ndarray = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    return found


def _alpha(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each weighting of the units: ``float64 [b]``. Counts are ``[units, kinds]``, weights ``[b, units]``."""
    each = counts.sum(axis=1)
    agreeing = weights @ ((counts * (counts - 1)).sum(axis=1) / (each - 1))
    total = weights @ each
    kinds = weights @ counts
    expected = 1 - (kinds * (kinds - 1)).sum(axis=1) / (total * (total - 1))
    found: np.ndarray = 1 - np.divide(1 - agreeing / total, expected, out=np.full_like(total, np.nan), where=expected > 1e-12)
    return found
