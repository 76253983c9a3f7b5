"""Strengths: closed forms by hand, a published example, and what a simulation put in."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pairwright import bradley_terry


def counts(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array([rows], dtype=float)


def test_two_models_without_ties_are_their_odds() -> None:
    found, tie = bradley_terry.fit(2, [(0, 1)], counts((12, 0, 36)), ties=False, pseudo=0)
    assert found[0] == pytest.approx([0, math.log(3)])
    assert tie[0] == 0
    shrunk, _ = bradley_terry.fit(2, [(0, 1)], counts((12, 0, 36)), ties=False)
    assert shrunk[0, 1] == pytest.approx(math.log(36.5 / 12.5))


def test_two_models_with_ties_by_hand() -> None:
    """Three answers, two parameters: the shares are fitted exactly, so nu = tied / sqrt(won * lost)."""
    found, tie = bradley_terry.fit(2, [(0, 1)], counts((9, 24, 16)), ties=True, pseudo=0)
    assert found[0, 1] == pytest.approx(math.log(16 / 9))
    assert tie[0] == pytest.approx(24 / math.sqrt(9 * 16))


def test_four_players_against_the_fixed_point_of_zermelo() -> None:
    """p_i = wins_i / sum_j n_ij / (p_i + p_j), which only the maximum of the likelihood satisfies (Hunter 2004, equation 3)."""
    won = {(0, 1): (2, 3), (0, 2): (0, 0), (0, 3): (1, 4), (1, 2): (5, 3), (1, 3): (0, 0), (2, 3): (1, 3)}
    pairs = list(won)
    found, _ = bradley_terry.fit(4, pairs, counts(*[(one, 0, other) for one, other in won.values()]), ties=False, pseudo=0)
    p = np.exp(found[0])
    for player in range(4):
        wins = sum(score[pair.index(player)] for pair, score in won.items() if player in pair)
        met = sum(sum(score) / (p[pair[0]] + p[pair[1]]) for pair, score in won.items() if player in pair)
        assert p[player] == pytest.approx(wins / met, rel=1e-8)


def test_davidsons_equations_hold_at_the_maximum() -> None:
    """Davidson 1970, equations 3.3: expected and observed scores (a tie as half), and expected and observed ties, are equal."""
    pairs = [(0, 1), (0, 2), (1, 2)]
    table = counts((30, 12, 18), (25, 9, 26), (14, 20, 26))
    found, tie = bradley_terry.fit(3, pairs, table, ties=True, pseudo=0)
    s, nu = np.exp(found[0]), tie[0]
    expected, ties = np.zeros(3), 0.0
    for (one, other), row in zip(pairs, table[0], strict=True):
        middle = nu * math.sqrt(s[one] * s[other])
        share = np.array([s[one], middle, s[other]]) / (s[one] + middle + s[other]) * row.sum()
        expected[[one, other]] += [share[0] + share[1] / 2, share[2] + share[1] / 2]
        ties += share[1]
    observed = [30 + 6 + 25 + 4.5, 18 + 6 + 14 + 10, 26 + 4.5 + 26 + 10]
    assert expected == pytest.approx(observed, abs=1e-6)
    assert ties == pytest.approx(41, abs=1e-6)


def simulated(
    rng: np.random.Generator, strengths: list[float], nu: float, prompts: int, raters: int
) -> dict[tuple[int, int], np.ndarray]:
    found = {}
    for one in range(len(strengths)):
        for other in range(one + 1, len(strengths)):
            first, second = math.exp(strengths[one]), math.exp(strengths[other])
            odds = np.array([first, nu * math.sqrt(first * second), second])
            found[one, other] = rng.choice([1.0, 0.0, -1.0], p=odds / odds.sum(), size=(prompts, raters))
    return found


def test_what_went_in_comes_out() -> None:
    table = simulated(np.random.default_rng(0), [0.0, 0.5, -0.4], 0.6, 60, 17)
    found = bradley_terry.strengths(["base", "a", "b"], table, resamples=400)
    assert [each.model for each in found.models] == ["base", "a", "b"]
    assert (found.models[0].log_odds, found.models[0].interval.low, found.models[0].interval.high) == (0, 0, 0)
    assert found.models[1].log_odds == pytest.approx(0.5, abs=0.1)
    assert found.models[2].interval.low < -0.4 < found.models[2].interval.high
    assert found.models[1].interval.low > 0 > found.models[2].interval.high
    assert found.tie == pytest.approx(0.6, abs=0.08)
    assert bradley_terry.odds(0.5) == pytest.approx(0.6225, abs=1e-4)


def test_intervals_hold_what_went_in() -> None:
    rng = np.random.default_rng(2)
    held = []
    for repetition in range(60):
        found = bradley_terry.strengths(["a", "b", "c"], simulated(rng, [0, 0.6, 0.2], 0.4, 24, 9), resamples=200, seed=repetition)
        held += [found.models[1].interval.low <= 0.6 <= found.models[1].interval.high]
    assert np.mean(held) >= 0.9  # votes without a prompt's or rater's own effect: the pigeonhole bootstrap errs on the safe side


def test_a_model_that_always_wins_stays_finite() -> None:
    table = {(0, 1): np.full((10, 5), -1.0), (0, 2): np.full((10, 5), -1.0), (1, 2): np.full((10, 5), 1.0)}
    found = bradley_terry.strengths(["a", "b", "c"], table, resamples=100)
    assert 3 < found.models[1].log_odds < 12
    assert math.isfinite(found.models[1].interval.high)


def test_models_that_never_met_directly_are_compared_over_a_third() -> None:
    table = simulated(np.random.default_rng(1), [0.0, 0.8, 0.2], 0.0, 60, 9)
    del table[1, 2]
    found = bradley_terry.strengths(["a", "b", "c"], table, resamples=200)
    assert found.models[1].log_odds > found.models[2].log_odds


def test_models_that_no_chain_connects_are_an_error() -> None:
    with pytest.raises(ValueError, match="no chain of comparisons connects all models"):
        bradley_terry.strengths(["a", "b", "c"], {(0, 1): np.ones((6, 3)), (0, 2): np.full((6, 3), np.nan)})
    with pytest.raises(ValueError, match="same prompts and raters"):
        bradley_terry.strengths(["a", "b"], {(0, 1): np.ones((6, 3)), (1, 2): np.ones((5, 3))})
