"""Runs beside each other, and the question which checkpoint is best, on miniatures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats as oracle

from pairwright import cli, recipe, run, stats
from pairwright.evaluate import across
from pairwright.evaluate.formats import FORMATS
from pairwright.evaluate.join import CompareError
from pairwright.options import WordError
from pairwright.recipe import RecipeError, checkpoints
from pairwright.recipe.checkpoints import Question
from pairwright.store import Store, write_json
from tests.miniatures.preferences import jpeg, put
from tests.miniatures.sd15 import write_sd15


def test_mean_and_interval_are_students() -> None:
    values = [0.1, 0.4, 0.25]
    mean, deviation, interval = stats.mean_interval(values)
    expected = oracle.t.interval(0.95, 2, loc=0.25, scale=oracle.sem(values))
    assert [mean, deviation] == pytest.approx([0.25, 0.15])
    assert [interval.low, interval.high] == pytest.approx(list(expected))
    assert stats.mean_interval([1.0])[2].high == float("inf")
    with pytest.raises(ValueError, match="nothing to average"):
        stats.mean_interval([])


def write_run(root: Path, name: str, difference: float, *, seed: int = 0, steps: int = 100, model: str = "tuned") -> Path:
    """A run of one compare step that found a difference."""
    row = {"metric": "score", "model": model, "difference": difference, "low": None, "high": None, "p": 1.0, "p_holm": 1.0}
    row |= {"baseline_mean": 1.0, "win_rate": 0.5, "detectable": None, "prompts": 3, "pictures": 3, "unscored": 0, "unmatched": 0}
    found = {"baseline": "base", "primary": "score", "models": ["base", model], "confidence": 0.95, "resamples": 100, "prompts": 3}
    metric = {"name": "score", "unit": "points", "higher_is_better": True, "primary": True, "means": {"base": 1.0, model: 2.0}}
    rows = [{**row, "verdict": "not shown", "categories": []}]
    node = Store(root).node("compare", {"run": name})
    write_json(node.path / "comparison.json", {**found, "metrics": [metric], "comparisons": rows})
    node.finish()
    entry = {"verb": "compare", "state": "complete", "fingerprint": node.fingerprint}
    document = {"step": {"stage1": {"verb": "train", "seed": seed, "steps": steps}}}
    write_json(root / name / "run.json", {"recipe": document, "steps": {"comparison": entry}})
    return root / name


def test_several_runs_show_what_a_training_seed_is_worth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write_run(tmp_path, f"s{seed}", value, seed=seed) for seed, value in enumerate((0.1, 0.4, 0.25))]
    cli.call(["compare", *map(str, folders)])
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("score"))
    assert line.split() == ["score", "tuned", "+0.100", "+0.400", "+0.250", "+0.250", "0.150", "-0.123", "..", "+0.623"]
    assert "more than seeds" not in said
    rows = json.loads((folders[0] / "spread.json").read_text())
    assert rows["runs"] == ["s0", "s1", "s2"]
    assert rows["spread"][0]["differences"] == [0.1, 0.4, 0.25]


def test_runs_that_differ_in_more_than_seeds_are_said_to(tmp_path: Path) -> None:
    found = [across.read(write_run(tmp_path, name, 0.1, seed=steps, steps=steps)) for name, steps in (("a", 100), ("b", 200))]
    assert across.differing(found) == ["b differs from a in more than seeds (stage1.steps): the spread is not over seeds alone."]
    assert f"Warning: {across.differing(found)[0]}" in across.said(found)


def test_one_run_is_shown_and_written_in_every_form(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "one", 0.5)
    said = across.compare_runs([folder], out=tmp_path / "tables")
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {f"comparison{each}" for each in FORMATS}
    assert said.startswith((tmp_path / "tables" / "comparison.txt").read_text())
    assert (tmp_path / "tables" / "comparison.tex").read_text().count("booktabs") == 1


def test_runs_that_cannot_be_compared_are_errors(tmp_path: Path) -> None:
    one, other = write_run(tmp_path, "one", 0.5), write_run(tmp_path, "other", 0.5, model="else")
    with pytest.raises(CompareError, match="have no metric of a model of the same name in common"):
        across.compare_runs([one, other])
    with pytest.raises(CompareError, match="is not a run"):
        across.compare_runs([tmp_path])
    with pytest.raises(CompareError, match=r"no finished compare step 'x'\. There is: comparison"):
        across.compare_runs([one], "x")
    record = json.loads((one / "run.json").read_text())
    record["steps"]["more"] = record["steps"]["comparison"]
    write_json(one / "run.json", record)
    with pytest.raises(CompareError, match="2 finished compare steps; name one with --step"):
        across.compare_runs([one])
    with pytest.raises(WordError, match="say what to compare"):
        cli.call(["compare"])


def trained(here: Path) -> Path:
    """A run whose training left checkpoints after 2 and 4 steps."""
    base = str(write_sd15(here / "base"))
    for number in range(4):
        for side, seed in (("w", number), ("l", number + 50)):
            put(here / "pairs" / side / f"{number}.jpg", jpeg(seed))
        put(here / "pairs" / "w" / f"{number}.txt", f"flower {number}")
    (here / "prompts.txt").write_text("\n".join(f"a rose no. {number}" for number in range(8)))
    (here / "held.txt").write_text("\n".join(f"a tulip no. {number}" for number in range(8)))
    settings: dict[str, Any] = {"verb": "train", "from": ["pairs"], "objective": "sft", "start": base, "batch": 2, "micro_batch": 2}
    settings |= {"steps": 4, "checkpoint_every": 2, "dtype": "float32", "resolution": 32, "optimiser": {"learning_rate": 0.05}}
    document = {
        "name": "mine",
        "step": {
            "pairs": {"verb": "import", "source": {"name": "winlose", "path": str(here / "pairs")}, "resolution": 32},
            "tuned": settings,
            "pictures": {
                "verb": "generate",
                "models": {"base": base, "tuned": "tuned"},
                "prompts": str(here / "prompts.txt"),
                "per_prompt": 1,
                "resolution": 32,
                "steps": 2,
                "dtype": "float32",
            },
        },
    }
    run.run(recipe.parse(document), here / "runs")
    return here / "runs" / "mine"


def test_checkpoints_are_judged_on_prompts_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path)
    words = [str(folder / "tuned"), "--prompts", str(tmp_path / "held.txt"), "--with", "colorfulness"]
    cli.call(["checkpoints", *words])
    said = capsys.readouterr().out.strip().splitlines()
    found = json.loads((run.result(folder, "tuned-checkpoints").path / "comparison.json").read_text())
    assert found["models"] == ["start", "step 2", "step 4"]
    assert found["prompts"] == 8
    means = found["metrics"][0]["means"]
    assert found["best"]["model"] == max(means, key=lambda label: means[label])
    assert len({round(each, 6) for each in means.values()}) == 3, "each checkpoint makes pictures of its own"
    assert said[-1].startswith(f"Best by colorfulness: {found['best']['model']} (")
    curves = (run.result(folder, "tuned-checkpoints").path / "comparison-curves.svg").read_text()
    assert [f">{step}<" in curves for step in (2, 4)] == [True, True]
    assert str(folder / "tuned-checkpoint-pictures-contact-sheet.jpg") in said
    assert not any(line.startswith("note:") for line in said)
    assert set(run.read(folder)["steps"]) >= {"pairs", "tuned", "pictures", "tuned-checkpoints"}, "the run keeps its own steps"
    words[2] = str(tmp_path / "prompts.txt")
    cli.call(["checkpoints", *words, "--limit", "2"])
    said = capsys.readouterr().out.strip().splitlines()
    assert said[0].startswith("note: pictures is judged on ")
    assert "cannot be told from any other" in said[-1], "2 prompts decide nothing"


def test_a_question_that_cannot_be_asked_says_why() -> None:
    document = {"step": {"tuned": {"verb": "train", "start": {"base": "x"}}, "pairs": {"verb": "import"}}}
    asked = Question("held.txt", ())
    with pytest.raises(RecipeError, match=r"no train step 'tund'\. Did you mean 'tuned'"):
        checkpoints.steps(document, "tund", ["step-00000002"], asked)
    with pytest.raises(RecipeError, match="left no checkpoints; train with checkpoint_every"):
        checkpoints.steps(document, "tuned", [], asked)
    with pytest.raises(RecipeError, match="0 generate steps whose settings could be taken; name one with --like"):
        checkpoints.steps(document, "tuned", ["step-00000002"], asked)
