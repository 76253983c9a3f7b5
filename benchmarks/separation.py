"""How well two sides can be told apart: AUC with a clustered interval, and a linear classifier to be cross-validated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairwright import seeds

Array = np.ndarray


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve: how often a positive scores above a negative, ties as half."""

    value: float
    low: float
    high: float


def auc(positive: Sequence[float] | Array, negative: Sequence[float] | Array) -> float:
    """Of all pairs of a positive and a negative, the share in which the positive is higher; a tie counts as half.

    Raises:
        ValueError: a side is empty.
    """
    wins = _wins(np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64))
    if not wins.size:
        raise ValueError("a side is empty")
    return float(wins.mean())


def auc_interval(
    positive: Sequence[float] | Array,
    negative: Sequence[float] | Array,
    clusters: Sequence[str],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Auc:
    """The AUC with a percentile interval of a bootstrap over clusters.

    Args:
        positive: one score per sample of the better side.
        negative: the other side's, in the same order.
        clusters: what belongs together (a caption); both sides of a sample are in its cluster.
        resamples: how many times clusters are drawn.
        confidence: of the interval.
        seed: of the draws.

    Raises:
        ValueError: a side is empty, or lengths differ.
    """
    if not len(positive) == len(negative) == len(clusters):
        raise ValueError(f"one cluster per sample of both sides: got {len(positive)}, {len(negative)} and {len(clusters)}")
    value = auc(positive, negative)
    names, members = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    indicator = np.eye(names.size)[members]  # [samples, clusters]
    wins = _wins(np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64))
    between = indicator.T @ wins @ indicator
    sizes = indicator.sum(0)
    rng = np.random.default_rng(seeds.key(seed, "auc", names.size))
    drawn = rng.multinomial(names.size, np.full(names.size, 1 / names.size), size=resamples).astype(np.float64)
    total = (drawn @ sizes) ** 2
    values = np.einsum("rc,cd,rd->r", drawn, between, drawn, optimize=True) / total
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Auc(value, float(low), float(high))


def held_out_scores(features: Array, labels: Array, groups: Sequence[str], *, folds: int = 10, ridge: float = 1.0) -> Array:
    """Log-odds of every row by a logistic regression that has not seen its group: ``float64 [n]``.

    Args:
        features: ``[n, features]``; standardised by the rows that are trained on.
        labels: ``[n]``, 0 or 1.
        groups: rows of one group are in one fold.
        folds: number of folds.
        ridge: strength of the penalty on the weights (the offset has none).
    """
    names = sorted(set(groups))
    place = {name: rank % folds for name, rank in zip(names, seeds.permutation(len(names), 0, "folds"), strict=True)}
    fold = np.array([place[name] for name in groups])
    found = np.zeros(len(labels))
    for number in sorted(set(place.values())):
        inside = fold != number
        centre, spread = features[inside].mean(0), features[inside].std(0) + 1e-9
        weights = logistic((features[inside] - centre) / spread, labels[inside], ridge)
        found[~inside] = _with_offset((features[~inside] - centre) / spread) @ weights
    return found


def logistic(features: Array, labels: Array, ridge: float = 1.0, steps: int = 50) -> Array:
    """Weights ``[features + 1]`` (the offset last) of a ridge logistic regression, by Newton's method."""
    rows = _with_offset(features)
    penalty = np.full(rows.shape[1], ridge)
    penalty[-1] = 1e-9
    weights = np.zeros(rows.shape[1])
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (chance - labels) + penalty * weights
        curvature = (rows * (chance * (1 - chance))[:, None]).T @ rows + np.diag(penalty)
        change = np.linalg.solve(curvature, slope)
        weights -= change
        if np.abs(change).max() < 1e-8:
            break
    return weights


def _with_offset(features: Array) -> Array:
    return np.column_stack([features, np.ones(len(features))])


def _wins(positive: Array, negative: Array) -> Array:
    """``[positives, negatives]``: 1 where the positive is higher, a half where they are equal."""
    difference = positive[:, None] - negative[None, :]
    wins: Array = (np.sign(difference) + 1) / 2
    return wins
