"""Rules over scores."""

from __future__ import annotations

import pytest

from pairwright import selection
from pairwright.records import Rejected, Unscored
from pairwright.selection import Funnel, SelectionError

SCORES: dict[str, float | Unscored] = {"a": 1.0, "b": 3.0, "c": Unscored("broken"), "d": 2.0}


def test_above_the_mean_is_strict_and_the_mean_is_of_what_could_be_scored() -> None:
    kept, rejected = selection.above_mean(SCORES, "colour")
    assert kept == ["b"]
    assert rejected == [
        Rejected("a", "colour", "not above the mean of the set"),
        Rejected("c", "colour", "could not be scored: broken"),
        Rejected("d", "colour", "not above the mean of the set"),
    ]


def test_at_least_keeps_the_threshold_itself() -> None:
    assert selection.at_least(SCORES, 2.0, "x")[0] == ["b", "d"]


def test_top_is_in_descending_order_and_breaks_ties_by_id_whatever_the_order_of_the_input() -> None:
    scores = {"z": 1.0, "a": 1.0, "m": 2.0}
    assert selection.top(scores, 2, "x")[0] == ["m", "a"]
    assert selection.top(dict(reversed(scores.items())), 2, "x")[0] == ["m", "a"]


def test_nobody_is_lost_between_kept_and_rejected() -> None:
    for kept, rejected in (selection.above_mean(SCORES, "x"), selection.at_least(SCORES, 2, "x"), selection.top(SCORES, 1, "x")):
        assert sorted([*kept, *(each.id for each in rejected)]) == sorted(SCORES)


def test_a_quantile_interpolates() -> None:
    assert selection.quantile([0.0, 1.0, 2.0, 3.0], 0.5) == 1.5
    with pytest.raises(ValueError, match="no values"):
        selection.quantile([], 0.5)


def test_a_column_that_the_reward_does_not_report_is_named() -> None:
    assert selection.number({"x": 1.0, "y": 2.0}, None) == 1.0
    assert selection.number({"x": 1.0, "y": 2.0}, "y") == 2.0
    with pytest.raises(SelectionError, match="no column 'z'; the reward reports x, y"):
        selection.number({"x": 1.0, "y": 2.0}, "z")


def test_a_funnel_counts_its_reasons_most_common_first() -> None:
    funnel = Funnel()
    funnel.add("read", 5, [Rejected("1", "decode", "a"), Rejected("2", "decode", "b"), Rejected("3", "decode", "b")])
    assert funnel.steps == [{"step": "read", "entered": 5, "left": 3, "reasons": {"b": 2, "a": 1}}]
    assert funnel.losses() == "3 of 5 were dropped at read (2 x b, 1 x a)"
    funnel.add("read", 1, [Rejected("x.jpg", "read", "no caption")])
    assert funnel.losses().endswith("1 of 1 were dropped at read (1 x no caption, e.g. x.jpg: no caption)")
