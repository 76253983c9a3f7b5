"""AUC and the cross-validated classifier, against numbers that can be worked out."""

import numpy as np
import pytest

from benchmarks.separation import auc, auc_interval, held_out_scores, logistic


def test_auc_counts_pairs_and_a_tie_as_half():
    assert auc([3.0, 1.0], [2.0, 1.0]) == (1 + 1 + 0 + 0.5) / 4
    assert auc([2.0], [1.0]) == 1
    assert auc([1.0, 1.0], [1.0]) == 0.5
    with pytest.raises(ValueError, match="a side is empty"):
        auc([], [1.0])


def test_the_interval_holds_the_value_and_is_wider_where_samples_come_in_clusters():
    rng = np.random.default_rng(0)
    shift = np.repeat(rng.normal(0.8, 1.0, 30), 6)
    positive, negative = rng.normal(size=180) * 0.2 + shift, rng.normal(size=180)
    alone = auc_interval(positive, negative, [str(i) for i in range(180)], resamples=2000)
    clustered = auc_interval(positive, negative, [str(i // 6) for i in range(180)], resamples=2000)
    assert alone.value == clustered.value == auc(positive, negative)
    assert clustered.low < alone.low < alone.value < alone.high < clustered.high


def test_one_cluster_per_sample_agrees_with_resampling_by_hand():
    positive, negative = [3.0, 1.0, 2.0, 0.5], [2.5, 0.0, 1.0, 0.4]
    found = auc_interval(positive, negative, list("abcd"), resamples=4000, confidence=0.9, seed=1)
    rng = np.random.default_rng(9)
    drawn = [auc(np.take(positive, rows), np.take(negative, rows)) for rows in rng.integers(4, size=(4000, 4))]
    low, high = np.quantile(drawn, [0.05, 0.95])
    assert abs(found.low - low) < 0.06
    assert abs(found.high - high) < 0.06
    with pytest.raises(ValueError, match="one cluster per sample"):
        auc_interval(positive, negative, ["a"])


def test_logistic_regression_finds_the_weights_that_made_the_labels():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(4000, 3))
    labels = (rng.random(4000) < 1 / (1 + np.exp(-(rows @ [2.0, -1.0, 0.0] + 0.5)))).astype(float)
    assert np.abs(logistic(rows, labels, ridge=1e-6) - [2.0, -1.0, 0.0, 0.5]).max() < 0.2


def test_held_out_scores_separate_what_differs_and_nothing_else():
    rng = np.random.default_rng(2)
    labels = np.repeat([0.0, 1.0], 100)
    names = [str(i) for i in range(100)] * 2
    told = held_out_scores(rng.normal(size=(200, 4)) + 2 * labels[:, None] * [0, 1, 0, 0], labels, names)
    assert auc(told[100:], told[:100]) > 0.85
    guessed = held_out_scores(rng.normal(size=(200, 4)), labels, names)
    assert 0.35 < auc(guessed[100:], guessed[:100]) < 0.65


def test_both_sides_of_a_pair_are_held_out_together():
    # The features name the pair and nothing of the side: with one side in training, a classifier would know the other.
    names = [str(i) for i in range(40)] * 2
    labels = np.repeat([0.0, 1.0], 40)
    scores = held_out_scores(np.vstack([np.eye(40), np.eye(40)]), labels, names, ridge=1e-3)
    assert np.abs(scores[:40] - scores[40:]).max() < 1e-9
    assert auc(scores[40:], scores[:40]) == 0.5
