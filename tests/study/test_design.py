"""What each rater sees: every pair once, in an order of their own, sides balanced, repeats and checks in their places."""

from __future__ import annotations

from collections import Counter

import pytest

from pairwright.options import Study
from pairwright.study.design import DAMAGED, Generated, Pair, StudyError, models_of, pairs_of, turns

MODELS = ("base", "tuned")


def generated(count: int, models: tuple[str, ...] = MODELS, numbers: int = 3) -> list[Generated]:
    """Prompts in two categories, each with some pictures of every model."""
    return [
        Generated(
            f"p{place:03d}",
            f"prompt {place}",
            ("anime", "photo")[place % 2],
            {number: {model: f"{model}-{place}-{number}" for model in models} for number in range(numbers)},
        )
        for place in range(count)
    ]


def study(**chosen: object) -> Study:
    return Study.model_validate({"per_category": 15, **chosen})


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return pairs_of(study(), MODELS, generated(80))


def test_so_many_prompts_of_each_category_are_drawn(pairs: list[Pair]) -> None:
    main = [pair for pair in pairs if pair.kind == "main"]
    assert Counter(pair.category for pair in main) == {"anime": 15, "photo": 15}
    assert len({pair.prompt_id for pair in main}) == 30
    other = pairs_of(study(seed=1), MODELS, generated(80))
    assert {pair.prompt_id for pair in other if pair.kind == "main"} != {pair.prompt_id for pair in main}


def test_both_sides_of_a_pair_start_from_the_same_noise(pairs: list[Pair]) -> None:
    numbers = [tuple(picture.rsplit("-", 1)[1] for picture in pair.pictures) for pair in pairs if pair.kind == "main"]
    assert all(one == other for one, other in numbers)
    assert len(set(numbers)) == 3, "and not always the first one"


def test_checks_come_from_prompts_that_no_pair_uses(pairs: list[Pair]) -> None:
    checks = [pair for pair in pairs if pair.kind == "check"]
    assert len(checks) == 2  # 5 % of 30, rounded up
    assert not {pair.prompt_id for pair in checks} & {pair.prompt_id for pair in pairs if pair.kind == "main"}
    assert all(pair.models[1] == DAMAGED and pair.models[0] in MODELS for pair in checks)


def test_three_models_meet_each_other_or_only_the_first() -> None:
    models = ("a", "b", "c")
    every = pairs_of(study(checks=0), models, generated(8, models))
    assert Counter(pair.models for pair in every) == {("a", "b"): 8, ("a", "c"): 8, ("b", "c"): 8}
    first = pairs_of(study(checks=0, against_first=True), models, generated(8, models))
    assert {pair.models for pair in first} == {("a", "b"), ("a", "c")}


def test_a_rater_sees_every_pair_once_and_in_an_order_of_their_own(pairs: list[Pair]) -> None:
    orders = []
    for rater in (1, 2, 3):
        seen = [turn.pair for turn in turns(pairs, rater, repeats=0.05, seed=0) if turn.role == "main"]
        assert sorted(seen) == list(range(30))
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]
    assert [turn.pair for turn in turns(pairs, 1, repeats=0.05, seed=0) if turn.role == "main"] == orders[0]


def test_sides_are_balanced_within_a_rater_and_over_raters(pairs: list[Pair]) -> None:
    category = {pair.number: pair.category for pair in pairs}
    left = Counter[int]()
    for rater in range(1, 18):
        main = [turn for turn in turns(pairs, rater, repeats=0.05, seed=0) if turn.role == "main"]
        assert sum(turn.first_left for turn in main) == 15
        for name in ("anime", "photo"):
            assert sum(turn.first_left for turn in main if category[turn.pair] == name) in {7, 8}
        left.update(turn.pair for turn in main if turn.first_left)
    assert set(left.values()) == {8, 9}, "of 17 raters, 8 or 9 see a pair's first picture on the left"


def test_repeats_come_later_and_with_swapped_sides(pairs: list[Pair]) -> None:
    places = []
    for rater in range(1, 30):
        seen = turns(pairs, rater, repeats=0.1, seed=0)
        again = [(place, turn) for place, turn in enumerate(seen) if turn.role == "repeat"]
        assert len(again) == 3
        for place, turn in again:
            first = next(at for at, each in enumerate(seen) if each.role == "main" and each.pair == turn.pair)
            assert place - first > 9
            assert turn.first_left is not seen[first].first_left
            places.append(place)
    assert len(set(places)) > 10


def test_checks_are_spread_and_never_come_first(pairs: list[Pair]) -> None:
    halves = Counter[bool]()
    for rater in range(1, 30):
        seen = turns(pairs, rater, repeats=0, seed=0)
        at = [place for place, turn in enumerate(seen) if turn.role == "check"]
        assert at[0] >= 2
        halves.update(place < len(seen) / 2 for place in at)
        assert len({turn.first_left for turn in seen if turn.role == "check"}) == 2
    assert halves == {True: 29, False: 29}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_study_of_a_few_pairs_still_has_an_order(count: int) -> None:
    few = pairs_of(study(per_category=1), MODELS, generated(count))
    seen = turns(few, 1, repeats=0.2, seed=0)
    assert Counter(turn.role for turn in seen)["main"] == min(count, 2)


def test_models_are_named_as_they_were_generated() -> None:
    assert models_of(study(), ["a", "b"]) == ("a", "b")
    assert models_of(study(models=["b", "a"]), ["a", "b", "c"]) == ("b", "a")
    with pytest.raises(StudyError, match=r"no model 'tunde'\. Did you mean 'tuned'"):
        models_of(study(models=["base", "tunde"]), ["base", "tuned"])
    with pytest.raises(StudyError, match="two or more"):
        models_of(study(models=["base", "base"]), ["base"])
    with pytest.raises(StudyError, match="two or more"):
        models_of(study(), ["base"])
    with pytest.raises(StudyError, match="another label"):
        models_of(study(), ["base", DAMAGED])


def test_prompts_without_a_picture_of_every_model_are_left_out() -> None:
    holes = [
        Generated(each.prompt_id, each.prompt, each.category, {0: {"base": "x"}} if place < 4 else each.pictures)
        for place, each in enumerate(generated(6))
    ]
    assert {pair.prompt_id for pair in pairs_of(study(checks=0), MODELS, holes)} == {"p004", "p005"}
    with pytest.raises(StudyError, match="no prompt has pictures of all of: base, tuned"):
        pairs_of(study(), MODELS, holes[:4])
