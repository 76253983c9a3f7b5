"""Did it help? Differences and win rates with intervals that hold, for pictures that come in prompts.

Pictures of one prompt resemble each other, so the prompt is the unit: pictures of a prompt are averaged first, and
prompts are resampled, pairs of models kept together. All prompts weigh the same, however many pictures they have. With 5
pictures a prompt and half of the variance between prompts, a nominal 95 % interval over pictures taken as independent
holds the truth 74 % of the time, the one given here 94 to 95 % (from 8 prompts to 40; simulated in the tests).

Intervals are expanded percentile intervals (Hesterberg 2015, "What Teachers Should Know About the Bootstrap"): the plain
percentile interval is too narrow for few prompts, by the factor sqrt((n - 1) / n) and by using normal instead of t
quantiles (10 prompts: it holds 89 % of the time). Reading it at accordingly smaller tails repairs both. With 1,000 prompts
nothing changes.

A handful of prompts shows nothing, whatever they say: n prompts that all agree have p = 2^(1 - n) by a sign test, so a
95 % interval needs six. With fewer it is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pairwright import seeds

_NORMAL = NormalDist()
_BLOCK = 1 << 22  # indices drawn at a time: 32 MB whatever the number of prompts


@dataclass(frozen=True)
class Interval:
    """A confidence interval; infinite where there are too few prompts for one."""

    low: float
    high: float
    confidence: float

    @property
    def holds_zero(self) -> bool:
        """Whether no difference is among what the data allow."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Difference:
    """A mean difference, treatment minus baseline, in the metric's own unit."""

    mean: float
    interval: Interval
    standard_error: float
    """Of the mean, over prompts; infinite for one prompt."""
    p: float
    """Two-sided: the least level at which the interval would leave 0 out; at least 2^(1 - prompts)."""
    prompts: int
    pictures: int


@dataclass(frozen=True)
class WinRate:
    """How often the treatment's picture is better than the baseline's picture of the same prompt and noise."""

    wins: int
    """Pairs of pictures in which the treatment is better."""
    ties: int
    losses: int
    rate: float
    """In 0..1: a tie counts as half a win; averaged within a prompt first, then over prompts."""
    interval: Interval
    p: float
    """Two-sided, against a rate of one half."""


@dataclass(frozen=True)
class Separation:
    """How well one number alone tells winners from losers."""

    area: float
    """Under the ROC curve: the share of all winners and losers, taken together at random, in which the winner has more; 0.5 is
    chance, and a tie counts as half."""
    interval: Interval
    p: float
    """Two-sided, against one half."""


def paired_difference(
    treatment: Sequence[float] | np.ndarray,
    baseline: Sequence[float] | np.ndarray,
    prompts: Sequence[str],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The mean of ``treatment - baseline`` over prompts, by a paired, prompt-clustered bootstrap.

    Args:
        treatment: one number per picture.
        baseline: the other model's number for the picture of the same prompt and noise.
        prompts: which prompt a picture belongs to.
        resamples: bootstrap resamples of the prompts.
        confidence: of the interval, in 0..1.
        seed: the same data, in any order, and the same seed give the same interval.

    Raises:
        ValueError: lengths differ, there is nothing to compare, or a number is not finite.
    """
    differences = _paired(treatment, baseline, prompts)
    means = _prompt_means(differences, prompts)
    interval, p = _bootstrap(means, 0.0, resamples, confidence, seed)
    error = float(means.std(ddof=1)) / math.sqrt(means.size) if means.size > 1 else math.inf
    return Difference(float(means.mean()), interval, error, p, means.size, differences.size)


def win_rate(
    treatment: Sequence[float] | np.ndarray,
    baseline: Sequence[float] | np.ndarray,
    prompts: Sequence[str],
    *,
    higher_is_better: bool = True,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> WinRate:
    """How often the treatment wins, with a prompt-clustered interval. Arguments and errors as :func:`paired_difference`."""
    better = np.sign(_paired(treatment, baseline, prompts)) * (1 if higher_is_better else -1)
    means = _prompt_means((better + 1) / 2, prompts)
    found, p = _bootstrap(means, 0.5, resamples, confidence, seed)
    interval = Interval(max(0.0, found.low), min(1.0, found.high), confidence)
    wins, ties, losses = (int(np.count_nonzero(better == sign)) for sign in (1, 0, -1))
    return WinRate(wins, ties, losses, float(means.mean()), interval, p)


def separation(
    winners: Sequence[float] | np.ndarray,
    losers: Sequence[float] | np.ndarray,
    prompts: Sequence[str],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Separation:
    """The area under the ROC curve, with a prompt-clustered interval. Arguments and errors as :func:`paired_difference`.

    What is resampled are the structural components of DeLong, DeLong and Clarke-Pearson 1988, each pair's winner and loser
    together, since they resemble each other: the share of losers below a winner and of winners above a loser.
    """
    _paired(winners, losers, prompts)
    above, below = np.asarray(winners, dtype=np.float64), np.asarray(losers, dtype=np.float64)
    placed = _share_below(below, above), 1 - _share_below(above, below)
    area = float(placed[0].mean())
    means = _prompt_means(placed[0] + placed[1] - area, prompts)
    found, p = _bootstrap(means, 0.5, resamples, confidence, seed)
    return Separation(area, Interval(max(0.0, found.low), min(1.0, found.high), confidence), p)


def _share_below(of: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each value the share of ``of`` that lies below it, ties counted half."""
    ordered = np.sort(of)
    shares: np.ndarray = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * of.size)
    return shares


def prompt_mean(values: Sequence[float] | np.ndarray, prompts: Sequence[str]) -> float:
    """The mean over prompts of the means over their pictures.

    Raises:
        ValueError: lengths differ, or there are no values.
    """
    numbers = np.asarray(values, dtype=np.float64)
    return float(_prompt_means(_paired(numbers, np.zeros_like(numbers), prompts), prompts).mean())


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float, Interval]:
    """Mean, standard deviation and Student's t interval of a few independent numbers, such as one per training seed.

    The interval is infinite for one number.

    Raises:
        ValueError: there are none.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        raise ValueError("there is nothing to average")
    mean = float(numbers.mean())
    if numbers.size == 1:
        return mean, math.nan, Interval(-math.inf, math.inf, confidence)
    deviation = float(numbers.std(ddof=1))
    reach = _t_quantile((1 + confidence) / 2, numbers.size - 1) * deviation / math.sqrt(numbers.size)
    return mean, deviation, Interval(mean - reach, mean + reach, confidence)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values: each is compared with the level itself, and no more than that share of families errs at all.

    Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure": the i-th smallest of m is multiplied by
    m - i + 1, no adjusted value may be below an earlier one, and none exceeds 1.
    """
    ordered = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(ordered):
        least = max(least, min(1.0, (len(ordered) - rank) * p_values[index]))
        adjusted[index] = least
    return tuple(adjusted)


def least_prompts(confidence: float = 0.95) -> int:
    """How many prompts an interval needs to be finite: those that all agree must be able to show something."""
    return math.floor(1 - math.log2(1 - confidence)) + 1


def detectable_effect(standard_error: float, *, confidence: float = 0.95, power: float = 0.8) -> float:
    """The smallest true difference that a comparison of this precision would find with probability ``power``.

    ``(z(1 - alpha / 2) + z(power)) * standard_error``: 2.80 standard errors at 95 % and 80 %.
    """
    return (_NORMAL.inv_cdf((1 + confidence) / 2) + _NORMAL.inv_cdf(power)) * standard_error


def _paired(treatment: Sequence[float] | np.ndarray, baseline: Sequence[float] | np.ndarray, prompts: Sequence[str]) -> np.ndarray:
    """The differences, ``float64 [n]``, checked."""
    left, right = np.asarray(treatment, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if not left.shape == right.shape == (len(prompts),):
        raise ValueError(f"one treatment and one baseline per picture: got {left.shape}, {right.shape} and {len(prompts)} prompts")
    if left.size == 0:
        raise ValueError("there is nothing to compare")
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        raise ValueError("scores must be finite; leave out what could not be scored")
    return left - right


def _prompt_means(values: np.ndarray, prompts: Sequence[str]) -> np.ndarray:
    """``float64 [prompts]`` in the order of the prompts' names, so that the order of the rows does not matter."""
    _, members = np.unique(np.asarray(prompts, dtype=str), return_inverse=True)
    sums: np.ndarray = np.bincount(members, weights=values) / np.bincount(members)
    return sums


def _bootstrap(means: np.ndarray, null: float, resamples: int, confidence: float, seed: int) -> tuple[Interval, float]:
    n = means.size
    least = 2.0 ** (1 - n)
    if least >= 1 - confidence:
        return Interval(-math.inf, math.inf, confidence), 1.0
    drawn = _resampled_means(means, resamples, seed)
    stretch = math.sqrt(n / (n - 1))
    tail = _NORMAL.cdf(-stretch * _t_quantile((1 + confidence) / 2, n - 1))
    low, high = (float(bound) for bound in np.quantile(drawn, [tail, 1 - tail]))
    # The same stretch backwards: p is below 1 - confidence where the interval leaves the null out, to the resamples' grain.
    slack = 1e-12 * float(np.abs(means).max())  # means of equal numbers differ in the last bit
    beyond = min(np.count_nonzero(drawn <= null + slack), np.count_nonzero(drawn >= null - slack))
    share = min(0.5, (int(beyond) + 1) / (resamples + 1))  # never 0: no resampling can show that
    p = 2 * _t_tail(-_NORMAL.inv_cdf(share) / stretch, n - 1)
    return Interval(low, high, confidence), max(p, least)


def _resampled_means(means: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """``float64 [resamples]``: the mean of n prompts drawn with replacement."""
    rng = np.random.default_rng(seeds.key(seed, "bootstrap", means.size))
    rows = max(1, _BLOCK // means.size)
    blocks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([means[rng.integers(means.size, size=(block, means.size))].mean(axis=1) for block in blocks])


def _t_tail(t: float, freedom: int) -> float:
    """P(T > t) of Student's t, by its finite series for whole degrees of freedom (Abramowitz & Stegun 26.7.3-4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return (1 - inside) / 2


def _t_quantile(probability: float, freedom: int) -> float:
    """The inverse of ``1 - _t_tail`` for ``probability`` above one half, by bisection."""
    low, high = 0.0, 1.0
    while 1 - _t_tail(high, freedom) < probability:
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - _t_tail(middle, freedom) < probability else (low, middle)
    return high
