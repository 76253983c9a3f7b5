"""Intervals that hold what they promise, and small cases worked by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from pairwright import stats


def names(prompts: int, each: int = 1) -> list[str]:
    return [f"prompt {prompt}" for prompt in range(prompts) for _ in range(each)]


def coverage(clusters: list[str], repetitions: int, prompts: int = 40, each: int = 5, truth: float = 0.3) -> tuple[float, float]:
    """Share of 95 % intervals that hold the truth, and share of p-values below 0.05 where the truth is 0.

    A picture's difference is the truth, plus its prompt's own effect, plus noise of the same size.
    """
    rng = np.random.default_rng(7)
    held = false = 0
    for repetition in range(repetitions):
        noise = np.repeat(rng.normal(size=prompts), each) + rng.normal(size=prompts * each)
        found = stats.paired_difference(noise + truth, np.zeros_like(noise), clusters, resamples=600, seed=repetition)
        held += found.interval.low <= truth <= found.interval.high
        null = stats.paired_difference(noise, np.zeros_like(noise), clusters, resamples=600, seed=repetition)
        false += null.p < 0.05
    return held / repetitions, false / repetitions


def test_prompt_clustered_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held, false = coverage(names(40, 5), 2000)
    assert 0.935 <= held <= 0.965, held
    assert 0.035 <= false <= 0.065, false


def test_they_do_with_few_prompts_as_well() -> None:
    """The plain percentile interval holds about 90 % with 10 prompts."""
    held, _ = coverage(names(10, 5), 2000, prompts=10)
    assert 0.93 <= held <= 0.965, held


def test_pictures_taken_as_independent_promise_too_much() -> None:
    held, false = coverage([str(row) for row in range(200)], 300)
    assert held < 0.85
    assert false > 0.15


def test_a_difference_worked_by_hand() -> None:
    # prompt a: differences 1 and 3, mean 2; prompt b: 4; prompt c: 0. The mean over prompts is 2.
    found = stats.paired_difference([2.0, 5.0, 5.0, 1.0], [1.0, 2.0, 1.0, 1.0], ["a", "a", "b", "c"])
    assert found.mean == 2.0
    assert (found.prompts, found.pictures) == (3, 4)
    assert found.standard_error == pytest.approx(2 / math.sqrt(3))  # standard deviation of 2, 4, 0 is 2


def test_resampled_means_have_the_bootstraps_exact_distribution() -> None:
    means = np.array([0.0, 1.0, 5.0])
    exact = {sum(draw) / 3: 0.0 for draw in itertools.product(means, repeat=3)}
    for draw in itertools.product(means, repeat=3):
        exact[sum(draw) / 3] += 1 / 27
    drawn = stats._resampled_means(means, 50_000, seed=0)
    assert set(np.round(drawn, 9)) == set(np.round(list(exact), 9))
    for value, share in exact.items():
        assert np.isclose(drawn, value).mean() == pytest.approx(share, abs=0.006)


def test_large_samples_agree_with_the_t_test() -> None:
    rng = np.random.default_rng(3)
    gains = rng.normal(0.12, 1.0, size=400)
    found = stats.paired_difference(gains, np.zeros(400), names(400))
    t_test = oracle.ttest_1samp(gains, 0.0)
    expected = t_test.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high), abs=0.004)
    assert found.p == pytest.approx(float(t_test.pvalue), abs=0.004)
    assert found.standard_error == pytest.approx(float(oracle.sem(gains)))


def test_the_interval_and_p_agree_on_zero() -> None:
    rng = np.random.default_rng(11)
    for repetition in range(200):
        gains = rng.normal(rng.uniform(0, 1), 1.0, size=12)
        found = stats.paired_difference(gains, np.zeros(12), names(12), seed=repetition)
        if abs(found.p - 0.05) > 0.003:  # the grain of 10,000 resamples
            assert found.interval.holds_zero == (found.p > 0.05)


def test_rows_in_another_order_give_the_same_answer() -> None:
    rng = np.random.default_rng(5)
    left, right, prompts = rng.normal(size=60), rng.normal(size=60), names(20, 3)
    order = rng.permutation(60)
    found = stats.paired_difference(left, right, prompts)
    shuffled = stats.paired_difference(left[order], right[order], [prompts[index] for index in order])
    assert shuffled.interval.low == pytest.approx(found.interval.low, abs=1e-12)
    assert shuffled.p == pytest.approx(found.p)
    assert stats.paired_difference(left, right, prompts, seed=1).interval != found.interval


def test_memory_stays_small_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    means = np.random.default_rng(0).normal(size=50)
    whole = stats._resampled_means(means, 1000, seed=0)
    monkeypatch.setattr(stats, "_BLOCK", 640)
    np.testing.assert_array_equal(stats._resampled_means(means, 1000, seed=0), whole)


def test_one_prompt_shows_nothing() -> None:
    found = stats.paired_difference([3.0, 4.0], [1.0, 1.0], ["a", "a"])
    assert found.mean == 2.5
    assert found.interval == stats.Interval(-math.inf, math.inf, 0.95)
    assert found.interval.holds_zero
    assert found.p == 1.0
    assert found.standard_error == math.inf


def test_five_prompts_that_all_agree_show_nothing_and_six_do() -> None:
    """Five agree by chance in 2 of 32 cases, which is more than one in twenty."""
    gains = [1.0, 1.1, 0.9, 1.2, 1.05, 1.0]
    assert stats.paired_difference(gains[:5], [0] * 5, names(5)).interval.low == -math.inf
    six = stats.paired_difference(gains, [0] * 6, names(6))
    assert six.interval.low > 0.8
    assert six.p == 2**-5
    assert stats.paired_difference(gains[:5], [0] * 5, names(5), confidence=0.9).interval.low > 0.8


def test_no_difference_at_all_is_not_a_finding() -> None:
    found = stats.paired_difference([1.0] * 8, [1.0] * 8, names(8))
    assert (found.mean, found.interval.low, found.interval.high, found.p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("treatment", "baseline", "prompts", "message"),
    [
        ([], [], [], "nothing to compare"),
        ([1.0], [1.0, 2.0], ["a"], "one treatment and one baseline"),
        ([1.0, math.nan], [1.0, 2.0], ["a", "b"], "finite"),
    ],
)
def test_what_cannot_be_compared_is_an_error(treatment, baseline, prompts, message) -> None:
    with pytest.raises(ValueError, match=message):
        stats.paired_difference(treatment, baseline, prompts)


def test_a_win_rate_worked_by_hand() -> None:
    """Trap 8, where models are compared: a tie is half a win."""
    # a: win, tie -> 0.75; b: loss, loss -> 0; c: win -> 1. Mean over prompts 1.75 / 3.
    found = stats.win_rate([2, 1, 0, 0, 9], [1, 1, 1, 1, 1], ["a", "a", "b", "b", "c"])
    assert (found.wins, found.ties, found.losses) == (2, 1, 2)
    assert found.rate == pytest.approx(1.75 / 3)
    assert 0 <= found.interval.low <= found.rate <= found.interval.high <= 1


def test_where_less_is_better_the_smaller_number_wins() -> None:
    found = stats.win_rate([1, 1, 3], [2, 1, 2], ["a", "b", "c"], higher_is_better=False)
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert stats.win_rate([1.0] * 9, [2.0] * 9, names(9), higher_is_better=False).rate == 1.0


def test_the_human_studys_category_rates() -> None:
    """11 of 15 prompts won (facts of the paper's Table 7): 73 %, and the interval says how little 15 prompts are."""
    found = stats.win_rate([1] * 11 + [-1] * 4, [0] * 15, names(15))
    assert found.rate == pytest.approx(11 / 15)
    assert found.interval.low < 0.55
    assert found.p > 0.05


def test_holm_worked_by_hand() -> None:
    # sorted 0.01 x 4, 0.02 x 3, 0.03 x 2 (= 0.06), 0.04 x 1 -> not below 0.06
    assert stats.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert stats.holm([0.6, 0.9]) == (1.0, 1.0)
    assert stats.holm([0.02]) == (0.02,)
    assert stats.holm([]) == ()


def test_holm_keeps_six_idle_metrics_from_a_false_win() -> None:
    """Six independent metrics, no effect: about 26 % of families have a p-value below 0.05, about 5 % after Holm."""
    families = np.random.default_rng(0).uniform(size=(4000, 6))
    assert (families < 0.05).any(axis=1).mean() > 0.24
    assert np.mean([min(stats.holm(list(family))) < 0.05 for family in families]) == pytest.approx(0.05, abs=0.012)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(values: list[float]) -> None:
    adjusted = stats.holm(values)
    assert all(1.0 >= after >= before for before, after in zip(values, adjusted, strict=True))
    assert [adjusted[index] for index in sorted(range(len(values)), key=values.__getitem__)] == sorted(adjusted)


def test_the_detectable_effect_is_detected_four_times_in_five() -> None:
    error = 0.1
    effect = stats.detectable_effect(error)
    assert effect == pytest.approx(0.28016, abs=1e-4)
    found = np.random.default_rng(0).normal(effect, error, size=20_000)
    assert (found > oracle.norm.ppf(0.975) * error).mean() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 14, 15, 100, 999])
def test_students_t_agrees_with_scipy(freedom: int) -> None:
    for t in (0.0, 0.3, 1.5, 2.2, 5.0):
        assert stats._t_tail(t, freedom) == pytest.approx(float(oracle.t.sf(t, freedom)), abs=1e-12)
    for probability in (0.6, 0.9, 0.975, 0.995):
        assert stats._t_quantile(probability, freedom) == pytest.approx(float(oracle.t.ppf(probability, freedom)), rel=1e-8)


def test_prompts_weigh_the_same_in_a_mean() -> None:
    assert stats.prompt_mean([1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"]) == 3.0


def test_separation_is_the_area_under_the_roc_curve() -> None:
    rng = np.random.default_rng(0)
    winners, losers = rng.integers(0, 6, 40), rng.integers(0, 5, 40)
    found = stats.separation(winners, losers, [str(number) for number in range(40)])
    pairs = [(a > b) + 0.5 * (a == b) for a in winners for b in losers]
    assert found.area == pytest.approx(np.mean(pairs))
    assert found.interval.low < found.area < found.interval.high


def test_separation_of_sides_that_never_overlap_and_of_one_number() -> None:
    names = [str(number) for number in range(12)]
    whole = stats.separation(range(12, 24), range(12), names)
    assert (whole.area, whole.interval.low, whole.interval.high) == (1.0, 1.0, 1.0)
    assert 2.0**-11 <= whole.p < 0.01
    flat = stats.separation([3.0] * 12, [3.0] * 12, names)
    assert (flat.area, flat.p) == (0.5, 1.0)


def test_the_interval_of_a_separation_holds_the_truth_as_often_as_it_says() -> None:
    """Normal scores a standard deviation apart: the area is 0.760. Pairs share half of their variance, as photographs do."""
    rng = np.random.default_rng(1)
    names = [str(number) for number in range(30)]
    held = 0
    for trial in range(300):
        shared = rng.normal(0, math.sqrt(0.5), 30)
        winners, losers = (shift + shared + rng.normal(0, math.sqrt(0.5), 30) for shift in (1.0, 0.0))
        interval = stats.separation(winners, losers, names, resamples=500, seed=trial).interval
        held += interval.low <= 0.7602 <= interval.high
    assert 0.90 <= held / 300 <= 0.985


def test_least_prompts_is_where_intervals_become_finite() -> None:
    for confidence in (0.8, 0.9, 0.95, 0.99):
        for prompts in range(2, 12):
            names = [str(number) for number in range(prompts)]
            interval = stats.paired_difference(range(1, prompts + 1), [0] * prompts, names, confidence=confidence).interval
            assert math.isfinite(interval.low) == (prompts >= stats.least_prompts(confidence)), (confidence, prompts)
