"""The recipe of the benchmark of rich feedback is the protocol's, and the whole of it runs on miniatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import contrasts, judging
from benchmarks.judging import Benchmark
from benchmarks.rpo import __main__ as rpo
from benchmarks.rpo import again, one_step
from pairwright import recipe, run, tables
from pairwright.options import Feedback, Generate, Score, Train
from pairwright.records import Failed, Instruction, Prompt
from tests.miniatures import pictures
from tests.miniatures.pack import write_pack

PATHS = ["pictures.prompts = '/prompts.jsonl'", "samples.prompts = '/sampled.jsonl'"]
SMALL = [
    "samples.prompts = { name = 'tiny:training-prompts.txt', limit = 10 }",
    "samples.per_prompt = 1",
    "samples.steps = 2",
    *(f"{step}.editor.steps = 2" for step in rpo.ROADS),
    "random.most = 6",
    *(f"{step}.most = 3" for step in rpo.ROADS[1:]),
    *(f"{step}.{field}" for step in ("dpo", "rpo_one", "rpo_two") for field in ("steps = 2", "batch = 2", "checkpoint_every = 2")),
    "pictures.prompts = { name = 'tiny:prompts.txt', limit = 6 }",
    "pictures.per_prompt = 1",
    "pictures.steps = 2",
    "comparison.resamples = 200",
]


@pytest.fixture(scope="module")
def recipes() -> list[recipe.Recipe]:
    return rpo.load(PATHS)


def of(found: recipe.Recipe, kind: type) -> dict[str, Any]:
    return {step.name: step.options for step in found.steps if isinstance(step.options, kind)}


def test_three_seeds_change_the_trainings_and_nothing_else(recipes: list[recipe.Recipe]) -> None:
    assert [judging.seed_of(each) for each in recipes] == [0, 1, 2]
    for each in recipes:
        assert {chosen.seed for chosen in (of(each, Feedback) | of(each, Generate)).values()} == {0}


def test_arms_differ_in_their_pairs_alone_and_have_equally_many(recipes: list[recipe.Recipe]) -> None:
    found = recipes[0]
    arms, roads = of(found, Train), of(found, Feedback)
    inputs = {step.name: step.inputs for step in found.steps}
    counts = {arm: sum(roads[name].most for name in inputs[arm]) for arm in arms}
    assert counts == {"dpo": 256, "rpo_two": 256, "rpo_one": 256}
    assert (
        len({str(sorted((key, str(value)) for key, value in arm.meaning().items() if key != "mix")) for arm in arms.values()}) == 1
    )
    assert {name: set(arm.mix.values()) for name, arm in arms.items()} == {"dpo": set(), "rpo_two": {0.5}, "rpo_one": {0.5}}
    assert roads["one_step"].editor == roads["two_steps"].editor
    assert roads["half"].model_copy(update={"most": 256}) == roads["random"]
    assert {road.reward.name for road in roads.values()} == {"pickscore"}


def test_what_is_judged_is_every_arm_by_judges_that_labelled_nothing(recipes: list[recipe.Recipe]) -> None:
    assert list(of(recipes[0], Generate)["pictures"].models) == ["base", "dpo", "rpo_one", "rpo_two"]
    assert {each.name for each in of(recipes[0], Score)["scores"].rewards} == {"imagereward", "classifier"}
    assert (rpo.PROMPTS, of(recipes[0], Generate)["pictures"].per_prompt) == (200, 5)


def test_instructors_of_the_benchmark_do_not_look() -> None:
    shown = [pictures.picture(number) for number in range(3)]
    prompts = [Prompt("a photo of a red rose on a dark background"), Prompt("a daisy"), Prompt("a photo")]
    told = one_step.load().instruct(shown, prompts, [None] * 3)
    assert [each.text for each in told if isinstance(each, Instruction)] == ["make the rose red", "add a daisy"]
    assert isinstance(told[2], Failed)
    assert [each.text for each in again.load().instruct(shown, prompts, [None] * 3) if isinstance(each, Instruction)] == [""] * 3


def test_the_whole_of_it_runs_on_miniatures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRWRIGHT_TINY", str(write_pack(tmp_path / "pack")))
    monkeypatch.setattr(contrasts, "RESAMPLES", 200)
    protocol = tmp_path / "PROTOCOL.md"
    protocol.write_text(rpo.PROTOCOL.read_text())
    found = rpo.load(SMALL)[:1]
    benchmark = Benchmark(rpo.COMMAND, protocol, tmp_path / "runs", tmp_path / "judged", rpo.roads)
    result = rpo.summary(benchmark.run(found), found)
    assert protocol.read_text().rstrip().endswith("| done |")
    folder = tmp_path / "runs" / found[0].name
    random, half = ({pair.id for pair in tables.pairs(run.result(folder, name))} for name in ("random", "half"))
    assert half < random, "the half is one of the whole"
    assert (len(random), len(half)) == (6, 3)
    for pair in tables.pairs(run.result(folder, "random")):
        assert pair.lineage["instruction"] == ""
    assert set(result["means"]) == {"base", "dpo", "rpo_one", "rpo_two"}
    assert {(row["arm"], row["against"]) for row in result["contrasts"]} >= {("rpo_two", "dpo"), ("rpo_two", "rpo_one")}
    rows = rpo.pictures(folder)
    sides = [f"{road}: {side}" for road in ("one_step", "two_steps") for side in ("original", "edit")]
    assert list(rows) == ["base", "dpo", "rpo_one", "rpo_two", *sides]
    assert not rows["two_steps: original"].equal(rows["two_steps: edit"])
    page = rpo.page(result)
    assert page.startswith("# The benchmark of rich feedback")
    assert "| two_steps |" in page
    assert "| rpo_two - dpo |" in page
