"""Strengths of several models from paired votes with ties.

Davidson 1970, "On Extending the Bradley-Terry Model to Accommodate Ties in Paired Comparison Experiments". With strengths
``s`` (log odds) and a readiness ``t`` to call a tie:

    model i wins : exp(s_i) / d      tie : exp(t + (s_i + s_j) / 2) / d      d : the sum of both and exp(s_j)

Without any tie it is the model of Bradley and Terry 1952.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairwright.stats import Interval
from pairwright.votes import two_way_interval, two_way_weights

PSEUDO = 0.5
"""Added to every answer of every two models that were compared, so that a model that won all its votes stays finite."""

_STEPS = 60
_CLOSE = 1e-10


@dataclass(frozen=True)
class Strength:
    """One model."""

    model: str
    log_odds: float
    """Of being preferred to the first model, ties aside; 0 for the first itself."""
    interval: Interval


@dataclass(frozen=True)
class Strengths:
    """All models, and how ready raters were to call a tie."""

    models: tuple[Strength, ...]
    tie: float
    """Davidson's nu: the odds of a tie between equals against either of them winning are nu to 1; 0 without ties."""


def strengths(
    models: Sequence[str],
    votes: dict[tuple[int, int], np.ndarray],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Strengths:
    """Davidson's model by maximum likelihood, with two-way intervals.

    Args:
        models: names; the first is what the others are measured against.
        votes: by two models' places in ``models``: ``float64 [prompts, raters]`` as in :mod:`pairwright.votes`, 1 where the
            first of the two is preferred. All with the same prompts and raters (NaN: not given).
        resamples: of prompts and raters.
        confidence: of the intervals.
        seed: of the resamples.

    Raises:
        ValueError: tables of different shapes, or models that no chain of comparisons connects.
    """
    shapes = {table.shape for table in votes.values()}
    if len(shapes) != 1:
        raise ValueError(f"all tables have the same prompts and raters, got shapes {sorted(shapes)}")
    shape = shapes.pop()
    pairs = sorted(votes)
    answers = np.stack([np.stack([votes[pair] == value for value in (1, 0, -1)], axis=-1) for pair in pairs]).astype(float)
    counts = answers.sum(axis=(1, 2))
    _require_connected(len(models), [pair for pair, count in zip(pairs, counts, strict=True) if count.sum()])
    ties = bool(counts[:, 1].any())
    fitted, tie = fit(len(models), pairs, counts[None], ties=ties)
    drawn = []
    for by_prompt, by_rater in two_way_weights(shape[0], shape[1], resamples, seed):
        resampled = np.einsum("bp,kpra,br->bka", by_prompt, answers, by_rater, optimize=True)
        drawn.append(fit(len(models), pairs, resampled, ties=ties)[0])
    every = np.concatenate(drawn)
    found = [
        Strength(
            name, float(fitted[0, place]), two_way_interval(every[:, place], shape, confidence) if place else _zero(confidence)
        )
        for place, name in enumerate(models)
    ]
    return Strengths(tuple(found), float(tie[0]))


def fit(
    models: int, pairs: Sequence[tuple[int, int]], counts: np.ndarray, *, ties: bool, pseudo: float = PSEUDO
) -> tuple[np.ndarray, np.ndarray]:
    """Maximum likelihood for many tables of counts at once, by Newton's method on a concave function.

    Args:
        models: how many.
        pairs: places of the two models of each comparison.
        counts: ``float64 [b, pairs, 3]``: won by the first, tied, won by the second.
        ties: whether a tie is possible.
        pseudo: see :data:`PSEUDO`; 0 is the plain likelihood, which has no maximum for a model that always wins.

    Returns:
        strengths ``[b, models]`` less that of the first, and nu ``[b]``.
    """
    compared = counts.sum(axis=(0, 2)) > 0
    possible = np.array([1.0, float(ties), 1.0])
    weights = (counts + pseudo * possible * compared[:, None]) * possible
    design = _design(models, pairs)
    width = models if ties else models - 1
    design = design[..., :width]
    total = weights.sum(axis=2)
    parameters = np.zeros((len(counts), width))
    for _ in range(_STEPS):
        scores = np.einsum("kaw,bw->bka", design, parameters)
        odds = np.exp(scores - scores.max(axis=2, keepdims=True)) * possible
        chance = odds / odds.sum(axis=2, keepdims=True)
        mean = np.einsum("bka,kaw->bkw", chance, design)
        slope = np.einsum("bka,kaw->bw", weights - total[..., None] * chance, design)
        second = np.einsum("bk,bka,kaw,kav->bwv", total, chance, design, design, optimize=True)
        second -= np.einsum("bk,bkw,bkv->bwv", total, mean, mean, optimize=True)
        step = np.linalg.solve(second, slope[..., None])[..., 0]
        largest = np.abs(step).max(axis=1, keepdims=True)
        parameters += step * np.minimum(1.0, 2.0 / np.maximum(largest, 1e-300))
        if largest.max() < _CLOSE:
            break
    found = np.concatenate([np.zeros((len(counts), 1)), parameters[:, : models - 1]], axis=1)
    return found, np.exp(parameters[:, models - 1]) if ties else np.zeros(len(counts))


def _design(models: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Scores of the three answers, linear in the strengths of all models but the first and in ``t``: ``[pairs, 3, models]``."""
    full = np.zeros((len(pairs), 3, models + 1))
    for row, (one, other) in enumerate(pairs):
        full[row, 0, one] = full[row, 2, other] = 1
        full[row, 1, [one, other]] = 0.5
        full[row, 1, models] = 1
    return full[..., 1:]


def _require_connected(models: int, pairs: Sequence[tuple[int, int]]) -> None:
    reached = {0}
    for _ in range(models):
        reached |= {each for pair in pairs if reached & set(pair) for each in pair}
    if len(reached) < models:
        raise ValueError("no chain of comparisons connects all models: their strengths cannot be told")


def _zero(confidence: float) -> Interval:
    return Interval(0.0, 0.0, confidence)


def odds(log_odds: float) -> float:
    """The chance, in 0..1, of being preferred to the first model, ties aside."""
    return 1 / (1 + math.exp(-log_odds))
