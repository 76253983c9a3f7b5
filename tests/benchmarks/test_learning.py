"""The recipe of the learning benchmark is the protocol's, and its numbers are right."""

from typing import Any

import pytest

from benchmarks import contrasts, judging, pooled
from benchmarks.learning import __main__ as learning
from benchmarks.sides import SidesError
from pairwright import recipe
from pairwright.evaluate.join import Scored
from pairwright.options import Curate, Generate, Score, Train
from pairwright.records import Column, Unscored

PATHS = ["pairs.source.path = '/photos'", "pictures.prompts = '/prompts.jsonl'"]
DEVELOP = ["tried.prompts = '/develop.jsonl'"]


def trainings(found: recipe.Recipe) -> dict[str, Train]:
    return {step.name: step.options for step in found.steps if isinstance(step.options, Train)}


@pytest.fixture(scope="module")
def recipes() -> list[recipe.Recipe]:
    return learning.load("learning", PATHS)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrasts, "RESAMPLES", 500)


def only(found: recipe.Recipe, kind: type) -> Any:
    (options,) = [step.options for step in found.steps if isinstance(step.options, kind)]
    return options


def test_three_seeds_change_the_trainings_and_nothing_else(recipes: list[recipe.Recipe]):
    assert [judging.seed_of(each) for each in recipes] == [0, 1, 2]
    documents = [each.document() for each in recipes]
    for document in documents:
        document["name"] = ""
        document.pop("row", None)  # where it stands in the sweep's table
        for name in trainings(recipes[0]):
            document["step"][name]["seed"] = 0
    assert documents[0] == documents[1] == documents[2]


def test_every_arm_starts_and_is_measured_where_the_protocol_says(recipes: list[recipe.Recipe]):
    arms = trainings(recipes[0])
    assert {name: (each.objective, each.start.base) for name, each in arms.items()} == {
        "sft": ("sft", "tiny:base"),
        "dro": ("dro", "tiny:base"),
        "dpo": ("dpo", "tiny:base"),
        "both": ("dpo", "dro@step-00000180"),
    }
    assert all(each.reference == "start" and not each.start.layers for each in arms.values())
    assert 180 % arms["dro"].checkpoint_every == 0


def test_every_arm_takes_as_many_steps_of_the_same_size(recipes: list[recipe.Recipe]):
    arms = trainings(recipes[0])
    assert {arms[name].steps for name in ("sft", "dro", "dpo")} == {300}
    assert 180 + arms["both"].steps == 300
    assert {each.batch for each in arms.values()} == {32}


def test_supervised_tuning_differs_from_stage_1_by_its_objective_alone(recipes: list[recipe.Recipe]):
    arms = trainings(recipes[0])
    losers = ("margin", "reference", "rollout")  # supervised tuning has none
    dro = {name: value for name, value in arms["dro"].meaning().items() if name not in losers}
    assert arms["sft"].meaning() | {"objective": "dro"} == dro
    shared = ("beta", "optimiser", "caption_dropout", "flips", "ema", "dtype")
    assert all(getattr(arms["dpo"], name) == getattr(arms["both"], name) for name in shared)


def test_what_is_judged_is_every_arm_by_judges_that_curation_does_not_use(recipes: list[recipe.Recipe]):
    assert list(only(recipes[0], Generate).models) == [contrasts.BASE, *learning.ARMS]
    judges = {each.name for each in only(recipes[0], Score).rewards}
    pairs = only(recipes[0], Curate)
    assert judges == {"imagereward", "classifier"}
    assert not judges & {pairs.gap.reward.name, pairs.keep.reward.name, *(each.reward.name for each in pairs.filters)}
    assert only(recipes[0], Generate).per_prompt == 5
    assert learning.PROMPTS >= 200


def test_development_never_touches_the_judges_or_the_judged_prompts():
    found = learning.load("develop", [*PATHS, *DEVELOP])
    assert len(found) == 6
    steps = {step.name: step for step in found[0].steps}
    assert steps["tried_comparison"].inputs == ("tried_scores",)
    assert [each.name for each in steps["tried_scores"].options.rewards] == ["pickscore"]  # type: ignore[attr-defined]
    assert steps["tried"].options.prompts.name == "/develop.jsonl"  # type: ignore[attr-defined]
    assert len({learning.candidate(each, "dpo") for each in found}) == 6


def test_the_protocols_values_are_the_recipes(recipes: list[recipe.Recipe]):
    text = learning.PROTOCOL.read_text(encoding="utf-8")
    arms = trainings(recipes[0])
    assert f"| learning rate of `sft` and `dro` | {arms['sft'].optimiser.learning_rate:g} |" in text
    assert f"| learning rate of `dpo` and `both` | {arms['dpo'].optimiser.learning_rate:g} |" in text
    assert f"| beta of `dpo` and `both` | {arms['dpo'].beta:g} |" in text


def made(shift: dict[str, float], noise: float = 0.0) -> dict[str, dict[str, contrasts.Numbers]]:
    places = [(f"prompt {p}", index) for p in range(20) for index in range(2)]
    return {
        arm: {"imagereward": {place: shift[arm] + noise * (int(place[0][7:]) % 3 - 1) for place in places}}
        for arm in (contrasts.BASE, *learning.ARMS)
    }


def test_contrasts_are_pooled_over_seeds_and_corrected_within_their_family():
    gains = {"base": 0.0, "sft": 0.1, "dpo": 0.0, "dro": 0.3, "both": 0.4}
    found = {seed: made({arm: gain * (1 + seed) for arm, gain in gains.items()}) for seed in (0, 1, 2)}
    rows = {(row["arm"], row["against"]): row for row in contrasts.contrasts(found, learning.FAMILIES)}
    assert len(rows) == 8
    both = rows["both", "base"]
    assert both["difference"] == pytest.approx(0.8)
    assert (both["prompts"], both["pictures"]) == (20, 120)
    assert [each["difference"] for each in both["per_seed"]] == pytest.approx([0.4, 0.8, 1.2])
    assert both["p_holm"] == pytest.approx(4 * both["p"])
    assert both["verdict"] == "better"
    assert rows["dpo", "base"]["verdict"] == "not shown"
    assert rows["both", "dro"]["difference"] == pytest.approx(0.2)
    assert contrasts.means(found)["dro"]["imagereward"] == pytest.approx(0.6)


def test_a_gain_that_one_seed_contradicts_is_not_called_better():
    gains = dict.fromkeys((contrasts.BASE, *learning.ARMS), 0.0)
    found = {seed: made({**gains, "both": gain}) for seed, gain in ((0, 1.0), (1, 1.0), (2, -0.1))}
    (row,) = [row for row in contrasts.contrasts(found, learning.FAMILIES) if (row["arm"], row["against"]) == ("both", "base")]
    assert row["verdict"] == "better, but not with every seed"


def test_a_picture_without_a_score_stops_the_count():
    column = Column("imagereward", "")
    scored = Scored((column,), {"base": {"imagereward": {("p", 0): Unscored("no picture")}}}, {("p", 0): ""})
    with pytest.raises(SidesError, match="imagereward has no score for base, p, picture 0: no picture"):
        contrasts.numbers(scored)


def test_the_page_has_a_row_for_every_contrast():
    found = {seed: made({arm: 0.1 * place for place, arm in enumerate((contrasts.BASE, *learning.ARMS))}) for seed in (0, 1)}
    said = {
        "date": "today",
        "machine": "m",
        "devices": ["d"],
        "system": "s",
        "versions": {"torch": "1"},
        "pack": {"base": "sha256:ab"},
    }
    result = {
        "seeds": [0, 1],
        "recipe": "abc",
        "means": contrasts.means(found),
        "contrasts": contrasts.contrasts(found, learning.FAMILIES),
        "groups": {"new": [contrasts.contrast(contrasts.within(found, ["prompt 3"]), "imagereward", "both", "base", [0, 1])]},
        "runs": {"0": said, "1": {**said, "machine": "another"}},
        "provenance": said,
    }
    page = pooled.page(result, "The learning benchmark")
    assert page.count("| **imagereward** |") == 8 + 1
    assert "20 prompts, 80 pictures per arm over training seeds [0, 1]" in page
    assert "| both - base | **imagereward** | +0.400 | +0.400 .. +0.400 | 100.0 % |" in page
    assert "base `ab`" in page
    assert "Prompts that are new (1), described only:" in page
    assert "- Seed 1: today, another" in page
