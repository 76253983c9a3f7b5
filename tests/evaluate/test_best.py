"""Which model is best, and when that cannot be said."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pairwright import options, stats, wording
from pairwright.evaluate.best import best
from pairwright.evaluate.compare import comparison
from pairwright.evaluate.join import CompareError, Scored
from pairwright.records import Column, Unscored

COLUMN = Column("score", "points")


def made(gains: dict[str, float], *, prompts: int = 60, noise: float = 1.0, seed: int = 0, column: Column = COLUMN) -> Scored:
    rng = np.random.default_rng(seed)
    level = rng.normal(20, 3, prompts)
    values: Any = {
        label: {column.name: {(f"p{p}", 0): float(level[p] + gain + noise * rng.normal()) for p in range(prompts)}}
        for label, gain in gains.items()
    }
    return Scored((column,), values, {(f"p{p}", 0): "" for p in range(prompts)})


def test_a_clear_winner_is_named_and_the_rest_is_worse() -> None:
    found = comparison(made({"100": 0.0, "200": 3.0, "300": 1.0}), options.Compare(best=True, resamples=1000))
    assert (found["best"]["model"], found["best"]["alike"]) == ("200", [])
    assert all(row["high"] < 0 for row in found["best"]["rows"])
    assert wording.ranking(found) == (
        f"Best by score: 200 ({wording.number(found['best']['mean'], digits=4)}); "
        "every other model is worse, with all pairs of models corrected for."
    )
    assert wording.ranking(found) in wording.concerns(found)


def test_what_cannot_be_told_is_said_with_its_interval() -> None:
    found = comparison(made({"100": -4.0, "200": 0.0, "300": 0.1}), options.Compare(best=True, resamples=1000))
    (alike,) = found["best"]["alike"]
    assert {alike, found["best"]["model"]} == {"200", "300"}
    row = next(row for row in found["best"]["rows"] if row["model"] == alike)
    assert row["low"] < 0 < row["high"]
    assert f"cannot be told from {alike} (" in wording.ranking(found)
    none = comparison(made({"100": 0.0, "200": 0.05}), options.Compare(best=True, resamples=1000))
    assert "cannot be told from any other" in wording.ranking(none)


def test_less_is_better_where_the_column_says_so() -> None:
    column = Column("score", "points", higher_is_better=False)
    assert best(made({"a": 3.0, "b": 0.0}, column=column), column, options.Compare(resamples=500))["model"] == "b"


def test_only_pictures_that_all_models_have_decide() -> None:
    scored = made({"a": 0.0, "b": 5.0}, prompts=20)
    scored.values["b"]["score"]["p0", 0] = Unscored("black")
    scored.values["a"]["score"]["p0", 0] = 1e6
    assert best(scored, COLUMN, options.Compare(resamples=500))["model"] == "b"
    with pytest.raises(CompareError, match="there is one"):
        best(made({"a": 0.0}), COLUMN, options.Compare())
    for place in list(scored.values["a"]["score"]):
        scored.values["a"]["score"][place] = Unscored("black")
    with pytest.raises(CompareError, match="share no picture that score scored"):
        best(scored, COLUMN, options.Compare())


def test_few_prompts_decide_nothing() -> None:
    found = best(made({"a": 0.0, "b": 50.0}, prompts=4), COLUMN, options.Compare(resamples=500))
    assert (found["model"], found["alike"], found["rows"][0]["low"]) == ("b", ["a"], None)


def test_intervals_are_those_of_all_pairs_of_models() -> None:
    scored = made({"a": 0.0, "b": 0.3, "c": 0.6, "d": 0.9})
    found = best(scored, COLUMN, options.Compare(resamples=4000))
    row = next(row for row in found["rows"] if row["model"] == "a")
    one, other = (np.array([scored.values[label]["score"][f"p{p}", 0] for p in range(60)]) for label in ("a", found["model"]))
    level = 0.05 / 6
    names = [f"p{p}" for p in range(60)]
    expected = stats.paired_difference(one, other, names, resamples=math.ceil(40 / level), confidence=1 - level)
    assert (row["low"], row["high"]) == (expected.interval.low, expected.interval.high)
    assert row["p"] == pytest.approx(min(1.0, 6 * expected.p))


@pytest.mark.slow
def test_among_equal_models_a_worse_one_is_seldom_found() -> None:
    """Eight equal checkpoints: the best of them is shown to beat another in no more than 5 % of trainings, whichever it is."""
    false = 0
    for seed in range(120):
        found = best(made(dict.fromkeys("abcdefgh", 0.0), prompts=24, seed=seed), COLUMN, options.Compare(resamples=100))
        false += len(found["alike"]) < 7
    assert false <= 12, false
