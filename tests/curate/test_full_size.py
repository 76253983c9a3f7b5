"""The lazy order at the paper's size, over made-up scores: the same ids, an eighth of the repaints, and a funnel that adds up."""

from __future__ import annotations

from itertools import pairwise
from statistics import mean

import pytest

from benchmarks.curation import synthetic


@pytest.mark.parametrize(
    ("correlation", "seeds", "repaints", "apart"), [(0.0, 20, 1336, 40), (0.4, 10, 743, 30), (-0.2, 10, 1868, 60)]
)
def test_both_orders_keep_the_same_ids_and_the_lazy_one_repaints_what_theory_says(
    correlation: float, seeds: int, repaints: int, apart: int
) -> None:
    needed = []
    for seed in range(seeds):
        scores = synthetic.draw(seed, correlation)
        lazy, eager = synthetic.choose(scores, eager=False), synthetic.choose(scores, eager=True)
        assert lazy.kept == eager.kept
        assert (eager.repaints, eager.not_reached) == (10_475, 0)
        assert lazy.repaints + lazy.not_reached == 10_475
        needed.append(lazy.repaints)
    # 512 / (4,041 / 10,475) = 1,327 where rank and gap have nothing to do with each other, and half a shard of 16.
    assert mean(needed) == pytest.approx(repaints, abs=apart)
    assert max(abs(each - repaints) for each in needed) < 4 * apart


def test_the_published_order_shows_the_whole_funnel_and_the_lazy_one_what_it_did_not_reach() -> None:
    scores = synthetic.draw(0, 0.0)
    eager, lazy = synthetic.choose(scores, eager=True), synthetic.choose(scores, eager=False)
    entered = {each["step"]: each["entered"] for each in eager.funnel}
    left = {each["step"]: each["left"] for each in eager.funnel}
    assert list(entered.items()) == [
        ("colorfulness", 25_096),
        ("mask", 10_475),
        ("repaint", 10_475),
        ("gap", 10_475),
        ("keep", 4_041),
    ]
    assert entered["keep"] - left["keep"] == len(eager.kept) == 512
    assert all(before["entered"] - before["left"] == after["entered"] for before, after in pairwise(eager.funnel))
    assert next(each["entered"] for each in lazy.funnel if each["step"] == "mask") == lazy.repaints
    assert lazy.repaints + lazy.not_reached == 10_475


def test_without_the_colour_filter_a_lazy_run_needs_as_many_and_the_published_one_all() -> None:
    scores = synthetic.draw(1, 0.0)
    lazy, eager = (synthetic.choose(scores, eager=each, colour_first=False) for each in (False, True))
    assert eager.repaints == 25_096
    assert lazy.kept == eager.kept
    assert lazy.repaints == pytest.approx(1336, abs=160)
