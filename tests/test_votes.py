"""What a panel says: the paper's rates, agreement against published numbers, intervals that hold what they promise."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from pairwright import votes

NAN = math.nan


def unanimous(wins: int, losses: int, raters: int = 17) -> np.ndarray:
    return np.repeat([[1.0]] * wins + [[-1.0]] * losses, raters, axis=1)


@pytest.mark.parametrize(("wins", "prompts"), [(11, 15), (9, 15), (10, 15)])
def test_the_papers_category_rates(wins: int, prompts: int) -> None:
    """Table 7a of arXiv 2605.19839: majorities on 11, 11, 9 and 10 of 15 prompts of each category."""
    rng = np.random.default_rng(wins)
    table = unanimous(wins, prompts - wins)
    dissent = rng.permuted(np.tile(np.arange(17) < 6, (prompts, 1)), axis=1)  # six of 17 raters think otherwise
    found = votes.panel(np.where(dissent, -table, table), resamples=500)
    assert (found.wins, found.ties, found.losses) == (wins, 0, prompts - wins)
    assert found.won.value == pytest.approx(wins / prompts)
    assert found.preferred.value == pytest.approx((11 * wins + 6 * (prompts - wins)) / (17 * prompts))
    assert found.won.interval.low <= 0.5, "15 prompts of one category show nothing by themselves"


@pytest.mark.parametrize(
    ("prompts", "said"), [((38, 10, 12), ("63.33", "16.67", "20.00")), ((34, 6, 20), ("56.67", "10.00", "33.33"))]
)
def test_the_papers_rates_over_all_prompts(prompts: tuple[int, int, int], said: tuple[str, str, str]) -> None:
    """Its user study, 18 raters on 60 prompts: won, tied (nine raters for either) and lost, in per cent, against two models."""
    votes_for = np.repeat([12, 9, 6], prompts)  # of 18, on a prompt that is won, tied, lost
    table = np.where(np.arange(18) < votes_for[:, None], 1.0, -1.0)
    found = votes.panel(np.random.default_rng(0).permuted(table, axis=1), resamples=500)
    assert tuple(f"{100 * each / found.prompts:.2f}" for each in (found.wins, found.ties, found.losses)) == said
    assert found.won.value == pytest.approx((prompts[0] + prompts[1] / 2) / 60)


def test_a_majority_is_the_answer_given_most_often() -> None:
    table = [
        [1, 1, -1, NAN, NAN],  # won
        [1, -1, NAN, NAN, NAN],  # as many for either
        [1, 0, 0, 0, -1],  # most see no difference
        [1, 1, 0, 0, -1],  # as many ties as wins
        [-1, -1, 0, 1, NAN],  # lost
        [NAN] * 5,
    ]
    np.testing.assert_array_equal(votes.majority(np.array(table)), [1, 0, 0, 0, -1, NAN])


def test_shares_worked_by_hand() -> None:
    found = votes.panel(np.array([[1, 1, NAN], [-1, 0, 1], [-1, NAN, -1]]))
    assert (found.prompts, found.raters, found.votes) == (3, 3, 7)
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert found.won.value == 0.5
    assert found.preferred.value == pytest.approx((3 + 0.5) / 7)


def test_who_has_not_voted_does_not_count() -> None:
    table = np.array([[1, NAN, -1], [NAN, NAN, NAN], [1, NAN, 1]])
    found = votes.panel(table)
    assert (found.prompts, found.raters, found.votes) == (2, 2, 4)


def test_all_of_one_mind_is_as_sure_as_so_many_prompts_allow() -> None:
    found = votes.panel(unanimous(8, 0, raters=5))
    assert (found.preferred.interval.low, found.preferred.interval.high) == (1.0, 1.0)
    assert found.preferred.p == 2**-7


@pytest.mark.parametrize("shape", [(5, 9), (40, 2), (1, 1)])
def test_a_few_prompts_or_two_raters_show_nothing(shape: tuple[int, int]) -> None:
    found = votes.panel(np.ones(shape)).preferred
    assert (found.interval.low, found.interval.high, found.p) == (-math.inf, math.inf, 1.0)


def test_resamples_have_the_variance_of_the_pigeonhole_bootstrap() -> None:
    """Owen 2007, for a full table: the variance over draws of both, worked out from the table's own numbers."""
    table = np.sign(np.random.default_rng(4).normal(size=(9, 6)) + 0.2)
    prompts, raters = table.shape
    drawn = np.concatenate([((a @ table) * b).sum(axis=1) / table.size for a, b in votes.two_way_weights(9, 6, 60_000, seed=3)])
    mean, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    inner = table - rows[:, None] - columns[None] + mean
    expected = rows.var() / prompts + columns.var() / raters + inner.var() / (prompts * raters)
    assert drawn.mean() == pytest.approx(mean, abs=0.004)
    assert drawn.var() == pytest.approx(expected, rel=0.03)


def test_the_preference_alone_is_the_panels() -> None:
    table = np.where(np.random.default_rng(1).random((12, 7)) < 0.2, np.nan, np.sign(np.random.default_rng(2).normal(size=(12, 7))))
    alone, panel = votes.preference(table, resamples=400), votes.panel(table, resamples=400).preferred
    assert alone.value == panel.value
    assert (alone.interval.low, alone.interval.high) == pytest.approx((panel.interval.low, panel.interval.high), abs=1e-12)
    assert alone.p == panel.p


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.sign(np.random.default_rng(1).normal(size=(12, 7)))
    whole = votes.panel(table, resamples=600)
    monkeypatch.setattr(votes, "_BLOCK", 3 * 12 * 50)
    assert votes.panel(table, resamples=600).preferred.interval.low == pytest.approx(whole.preferred.interval.low, abs=0.02)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros(3), "prompts, raters"),
        (np.array([[1.0, 0.5]]), "1, 0, -1 or NaN"),
        (np.full((2, 2), np.nan), "no vote"),
    ],
)
def test_what_is_no_table_of_votes_is_an_error(table: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        votes.panel(table)


# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: four observers, twelve units, values missing.
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T


def test_agreement_as_published_by_krippendorff() -> None:
    found = votes.agreement(KRIPPENDORFF)
    assert round(found.alpha, 3) == 0.743
    assert (found.units, found.values) == (11, 40)  # the last unit has one value and nothing to agree with
    assert found.interval.low < found.alpha < found.interval.high


def test_the_same_by_hand() -> None:
    """His table of coincidences: 7 + 10 + 8 + 4 + 3 on the diagonal of 40; margins 9, 13, 10, 5, 3."""
    diagonal, margins, n = [7, 10, 8, 4, 3], [9, 13, 10, 5, 3], 40
    by_hand = ((n - 1) * sum(diagonal) - sum(each * (each - 1) for each in margins)) / (
        n * (n - 1) - sum(each * (each - 1) for each in margins)
    )
    assert votes.agreement(KRIPPENDORFF).alpha == pytest.approx(by_hand, abs=1e-12)


def test_two_observers_and_two_values_by_hand() -> None:
    """His example A. Coincidences: 0-0 ten, 1-1 two, 0-1 four each way; 14 zeros and 6 ones among 20 values."""
    one = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    other = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    found = votes.agreement(np.array([one, other], dtype=float).T)
    assert found.alpha == pytest.approx(1 - (20 - 1) * 4 / (14 * 6))
    assert round(found.alpha, 3) == 0.095


def test_full_agreement_chance_and_nothing_to_tell() -> None:
    assert votes.agreement(unanimous(5, 5)).alpha == 1.0
    coin = np.sign(np.random.default_rng(0).normal(size=(200, 5)))
    assert votes.agreement(coin).alpha == pytest.approx(0, abs=0.05)
    assert math.isnan(votes.agreement(unanimous(10, 0)).alpha), "one value alone cannot be told from chance"
    with pytest.raises(ValueError, match="no unit has two values"):
        votes.agreement(np.array([[1, NAN], [NAN, -1]]))


def simulated(rng: np.random.Generator, prompts: int, raters: int, spread: tuple[float, float], mean: float) -> np.ndarray:
    """Votes from a mean, a prompt's own effect, a rater's own taste and noise of unit size."""
    by_prompt, by_rater = spread
    latent = mean + by_prompt * rng.normal(size=(prompts, 1)) + by_rater * rng.normal(size=(1, raters))
    return np.sign(latent + rng.normal(size=(prompts, raters)))


def coverage(repetitions: int, prompts: int, raters: int, spread: tuple[float, float]) -> tuple[float, float]:
    """Share of 95 % intervals that hold the truth (of 57 to 65 %, by the spread), and share of p below 0.05 at one half."""
    rng = np.random.default_rng(7)
    truth = NormalDist().cdf(0.5 / math.sqrt(1 + spread[0] ** 2 + spread[1] ** 2))
    held = false = 0
    for repetition in range(repetitions):
        there = votes.preference(simulated(rng, prompts, raters, spread, 0.5), resamples=400, seed=repetition)
        held += bool(there.interval.low <= truth <= there.interval.high)
        false += votes.preference(simulated(rng, prompts, raters, spread, 0.0), resamples=400, seed=repetition).p < 0.05
    return held / repetitions, false / repetitions


def test_two_way_intervals_hold_the_truth_in_a_quick_look() -> None:
    held, false = coverage(150, 60, 17, (1.0, 0.5))
    assert 0.91 <= held <= 0.99, held
    assert 0.0 < false <= 0.08, false


SHAPES = [
    (60, 17, (1.0, 0.5)),
    (15, 17, (1.0, 0.5)),
    (60, 5, (1.0, 0.5)),
    (60, 3, (1.0, 0.5)),
    (60, 9, (0.5, 1.0)),
    (200, 17, (1.0, 0.0)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("prompts", "raters", "spread"), SHAPES)
def test_two_way_intervals_hold_the_truth_as_often_as_they_say(prompts: int, raters: int, spread: tuple[float, float]) -> None:
    held, false = coverage(2000, prompts, raters, spread)
    assert 0.925 <= held <= 0.985, held
    assert 0.015 <= false <= 0.075, false


def test_votes_taken_as_independent_and_majorities_taken_as_certain_promise_too_much() -> None:
    """What the two-way bootstrap is for: no difference at all, and how often each way of counting finds one."""
    rng = np.random.default_rng(3)
    pooled = majorities = both = 0
    for repetition in range(150):
        table = simulated(rng, 60, 17, (1.0, 0.5), 0.0)
        pooled += abs(table.mean()) * math.sqrt(table.size) > 1.96
        majorities += abs(votes.majority(table).mean()) * math.sqrt(60) > 1.96
        both += votes.preference(table, resamples=400, seed=repetition).p < 0.05
    assert pooled / 150 > 0.35
    assert majorities / 150 > 0.06
    assert both / 150 < 0.06


@pytest.mark.slow
def test_the_interval_of_majorities_is_wide() -> None:
    """It holds the rate of new panels on new prompts more often than it says: majorities of resampled raters turn easily."""
    rng = np.random.default_rng(5)
    truth = np.mean([votes.majority(simulated(rng, 60, 17, (1.0, 0.5), 0.3)).mean() for _ in range(4000)]) / 2 + 0.5
    held = false = 0
    for repetition in range(2000):
        there = votes.panel(simulated(rng, 60, 17, (1.0, 0.5), 0.3), resamples=300, seed=repetition).won.interval
        held += bool(there.low <= truth <= there.high)
        null = votes.panel(simulated(rng, 60, 17, (1.0, 0.5), 0.0), resamples=300, seed=repetition).won.interval
        false += not null.low <= 0.5 <= null.high
    assert 0.96 <= held / 2000 <= 1.0, held
    assert false / 2000 <= 0.04, false
