"""A training on several sets of pairs: what it draws, what it says, what it refuses, and what it shares with others."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pairwright import recipe
from pairwright.context import Context
from pairwright.options import Train
from pairwright.recipe import RecipeError
from pairwright.store import Store
from pairwright.train import TrainError, train
from pairwright.train.setup import Job
from tests.miniatures import sd15
from tests.miniatures.pairs import write_pairs

SMALL: dict[str, Any] = {"objective": "dpo", "steps": 3, "batch": 8, "micro_batch": 4, "dtype": "float32", "device": "cpu"}


def test_shares_hold_and_latents_are_those_of_each_set(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    base = str(sd15.write_sd15(tmp_path / "base"))
    sets = {"human": write_pairs(store, 6), "rich": write_pairs(store, 2, seed=1)}
    chosen = Train.model_validate({**SMALL, "start": base, "mix": {"human": 3, "rich": 1}})
    job = Job.of(chosen, Context(store, sets))
    assert "samples: 75 % of human, 25 % of rich" in job.said()
    trainer = job.trainer(job.encoded())
    drawn = Counter(name.split("#")[0] for batch in trainer.batches.of_step(0) for name in batch.occasions)
    assert drawn == {**{f"0/pair{number}": 1 for number in range(6)}, "1/pair0": 1, "1/pair1": 1}
    node = train(chosen, Context(store, sets))
    assert node.record()["inputs"] == [each.fingerprint for each in sets.values()]
    assert node.summary["pairs"] == 8
    rows = [json.loads(line) for line in (node.path / "steps.jsonl").read_text().splitlines()]
    assert all(row["grad_norm"] > 0 for row in rows)
    before = {each.path for each in store.nodes() if each.verb == "encode"}
    alone = train(Train.model_validate({**SMALL, "start": base}), Context(store, {"human": sets["human"]}))
    assert {each.path for each in store.nodes() if each.verb == "encode"} == before, "a set is encoded once, mixed or not"
    assert alone.fingerprint != node.fingerprint
    turned = Job.of(chosen.model_copy(update={"mix": {"human": 1, "rich": 1}}), Context(store, sets))
    assert turned.meaning()["mix"] == [1, 1]


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({}, "several of its inputs made pairs .human, rich.; say in which proportions with mix"),
        ({"human": 1}, "'rich' must be a step with pairs in 'from' and have a share"),
        ({"human": 1, "rich": 1, "other": 1}, "'other' must be a step with pairs"),
    ],
)
def test_proportions_must_name_all_sets(tmp_path: Path, mix: dict[str, float], message: str) -> None:
    store = Store(tmp_path / "runs")
    sets = {"human": write_pairs(store, 2), "rich": write_pairs(store, 2, seed=1)}
    options = Train.model_validate({**SMALL, "start": "nowhere", "mix": mix})
    with pytest.raises(TrainError, match=message):
        Job.of(options, Context(store, sets))


RECIPE = """
name = "mixed"
[step.human]
verb = "import"
source = { name = "pickapic", path = "p" }
[step.rich]
verb = "feedback"
from = ["human"]
critic = false
instructor = "attributes"
[step.both]
verb = "train"
from = ["human", "rich"]
objective = "dpo"
start = "tiny:base"
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "human and rich are several sets of pairs; say how much of each, such as mix = { human = 1, rich = 1 }"),
        ("mix = { human = 1 }", "'rich' is in 'from' and has no share"),
        ("mix = { human = 1, rich = 1, rihc = 1 }", "'rihc' is no step with pairs in 'from'"),
        ("mix = { human = 1, rich = 0 }", "mix"),
    ],
)
def test_a_recipe_says_so_before_anything_runs(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mixed.toml"
    path.write_text(RECIPE + line)
    with pytest.raises(RecipeError) as raised:
        recipe.load(path)
    assert message in str(raised.value)
