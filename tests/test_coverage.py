"""Whether 95 % intervals hold the truth 95 % of the time, over thousands of simulated comparisons.

One set of resamples serves all repetitions, so that the bootstrap of thousands of comparisons is one product of matrices. The first
test holds that short cut to the function that is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest

from pairwright import stats

RESAMPLES = 1000
REPETITIONS = 4000


def intervals(means: np.ndarray, resamples: int = RESAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Of each row's mean, for rows of prompts' means ``[repetitions, prompts]``."""
    prompts = means.shape[1]
    # What a resample takes of each prompt, read off the function itself: the mean of a row with one 1.
    weights = np.stack([stats._resampled_means(unit, resamples, 0) for unit in np.eye(prompts)])
    stretch = math.sqrt(prompts / (prompts - 1))
    tail = NormalDist().cdf(-stretch * stats._t_quantile(0.975, prompts - 1))
    low, high = np.quantile(means @ weights, [tail, 1 - tail], axis=1)
    return low, high


def naive(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures taken as independent: ``[repetitions, prompts, each]``."""
    flat = pictures.reshape(len(pictures), -1)
    reach = 1.96 * flat.std(axis=1, ddof=1) / math.sqrt(flat.shape[1])
    return flat.mean(axis=1) - reach, flat.mean(axis=1) + reach


def held(ends: tuple[np.ndarray, np.ndarray], truth: float) -> float:
    return float(((ends[0] <= truth) & (truth <= ends[1])).mean())


def test_the_short_cut_gives_the_interval_that_is_used() -> None:
    means = np.random.default_rng(0).normal(size=(5, 12))
    low, high = intervals(means, 500)
    for row, lower, upper in zip(means, low, high, strict=True):
        names = [f"{number:02d}" for number in range(12)]
        found = stats.paired_difference(row, np.zeros(12), names, resamples=500).interval
        assert [found.low, found.high] == pytest.approx([lower, upper], abs=1e-12)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.exponential(size=shape) - 1


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(4, size=shape)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "prompts", "least", "most"),
    [
        (normal, 15, 0.935, 0.965),
        (normal, 60, 0.935, 0.96),
        (normal, 200, 0.94, 0.96),
        (heavy, 60, 0.935, 0.965),
        (skewed, 15, 0.92, 0.955),
        (skewed, 200, 0.935, 0.96),
    ],
)
def test_intervals_over_prompts_hold_the_truth(
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray], prompts: int, least: float, most: float
) -> None:
    """Five pictures a prompt; a prompt's own effect and a picture's noise have the same variance."""
    rng = np.random.default_rng(prompts)
    pictures = 0.3 + draw(rng, (REPETITIONS, prompts, 1)) + rng.normal(size=(REPETITIONS, prompts, 5))
    share = held(intervals(pictures.mean(axis=2)), 0.3)
    assert least <= share <= most, share
    narrow = held(naive(pictures), 0.3)
    assert narrow < 0.8, narrow


@pytest.mark.slow
def test_intervals_of_win_rates_hold_the_truth() -> None:
    rng = np.random.default_rng(1)
    own = rng.normal(0.4, 1, (REPETITIONS, 60, 1))
    wins = (own + rng.normal(size=(REPETITIONS, 60, 5)) > 0).mean(axis=2)
    truth = NormalDist().cdf(0.4 / math.sqrt(2))
    share = held(intervals(wins), truth)
    assert 0.94 <= share <= 0.96, share
