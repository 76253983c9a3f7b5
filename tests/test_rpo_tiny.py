"""The second paper's road on miniatures, by the recipe that ships: from samples to edits, an aligned model and the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pairwright import recipe, run, tables, weights
from tests.miniatures.pack import write_pack

SMALL = [
    "samples.prompts = { name = 'tiny:training-prompts.txt', limit = 12 }",
    "samples.per_prompt = 1",
    "samples.steps = 2",
    "rich.editor.steps = 2",
    "rpo.steps = 4",
    "rpo.batch = 2",
    "rpo.checkpoint_every = 2",
    "pictures.prompts = { name = 'tiny:prompts.txt', limit = 6 }",
    "pictures.per_prompt = 2",
    "pictures.steps = 2",
    "comparison.resamples = 500",
]


def test_one_command_leads_from_samples_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRWRIGHT_TINY", str(write_pack(tmp_path / "pack")))
    (found,) = recipe.load("rpo-tiny", SMALL)
    page = run.run(found, tmp_path / "runs").read_text()
    folder = tmp_path / "runs" / found.name
    assert {entry["state"] for entry in run.read(folder)["steps"].values()} == {"complete"}
    node = run.result(folder, "rich")
    made = list(tables.pairs(node))
    assert node.summary["funnel"][0]["entered"] == 12
    assert len(made) == node.summary["edited_won"] + node.summary["flips"] > 2
    asked = (weights.tiny_pack() / "training-prompts.txt").read_text().splitlines()
    lineages: list[dict[str, Any]] = [dict(pair.lineage) for pair in made]
    for pair, lineage in zip(made, lineages, strict=True):
        assert pair.prompt in asked
        assert lineage["perturbation"]["name"] == "controlnet"
        assert lineage["winner_score"] > lineage["loser_score"]
    losses = [json.loads(line) for line in (run.result(folder, "rpo").path / "steps.jsonl").read_text().splitlines()]
    assert [row["step"] for row in losses] == [1, 2, 3, 4]
    assert losses[0]["rewards/chosen"] == 0, "the base is what it is measured against"
    compared: dict[str, Any] = json.loads((run.result(folder, "comparison").path / "comparison.json").read_text())
    assert (compared["models"], compared["primary"]) == (["base", "RPO"], "imagereward")
    assert {each["name"] for each in compared["metrics"]} == {"imagereward", "classifier", "pickscore"}
    assert lineages[0]["instruction"] in page


def test_nothing_is_judged_on_that_was_trained_on() -> None:
    pack = weights.tiny_pack()
    trained, judged = (set((pack / name).read_text().splitlines()) for name in ("training-prompts.txt", "prompts.txt"))
    assert len(trained) == 44
    assert not trained & judged
