"""From votes to numbers: by hand, with and without those who are flagged, as rows and as a section of the report."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pairwright import seeds, study
from pairwright.report import report
from pairwright.study.analysis import Bootstrap
from pairwright.study.database import FILE, Database
from pairwright.study.longform import SCHEMA
from pairwright.study.raters import _at_most
from tests.miniatures.run_folder import write_run
from tests.miniatures.study import answer_all, make, prefer, write_study
from tests.report.test_report import Reader

QUICK = Bootstrap(resamples=400)
MODEL, BASE = "stage 1", "base"


def analysed(folder: Path, **rules: Any) -> dict[str, Any]:
    study.report(folder, study.Rules(**rules), QUICK)
    return dict(json.loads((folder / "analysis.json").read_text()))


def losing(prompt: str) -> bool:
    """Prompts on which the base is liked better: 4 of 15 gardens (odd numbers), 6 of 15 meadows (even ones)."""
    number = int(prompt.removeprefix("p"))
    return number < (8 if number % 2 else 12)


def honest(shown: Mapping[str, Any]) -> str:
    return prefer(BASE if losing(shown["prompt_id"]) else MODEL)(shown)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 prompts in two categories; five careful raters, a sixth who always presses left, a seventh who never began."""
    found = write_study(tmp_path_factory.mktemp("runs"), prompts=34, per_prompt=1, side=16, raters=7, repeats=0.1, checks=0.1)
    with Database(found / FILE) as database:
        assert sum(pair.kind == "main" for pair in database.pairs()) == 30
    answer_all(found, honest, only=(1, 2, 3, 4, 5))
    answer_all(found, lambda _: "left", only=(6,), milliseconds=900)
    return found


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return analysed(folder)


def test_categories_come_out_as_they_went_in(folder: Path, found: dict[str, Any]) -> None:
    contest = found["everybody"]["contests"][0]
    assert (contest["model"], contest["against"]) == (MODEL, BASE)
    assert [row["category"] for row in contest["rows"]] == ["", "garden", "meadow"]
    with Database(folder / FILE) as database:
        prompts = [(pair.category, pair.prompt_id) for pair in database.pairs() if pair.kind == "main"]
    for row in contest["rows"]:
        members = [prompt for category, prompt in prompts if row["category"] in {"", category}]
        lost = sum(map(losing, members))
        assert (row["prompts"], row["wins"], row["losses"], row["ties"]) == (len(members), len(members) - lost, lost, 0)
        assert row["win_share"] == pytest.approx(1 - lost / len(members))


def test_who_presses_left_is_flagged_for_it_three_times_and_never_removed(found: dict[str, Any]) -> None:
    assert [each["rater"] for each in found["flagged"]] == [6]
    rater = found["raters"][5]
    assert (rater["checks"], rater["repeats"], rater["alike"], rater["left"], rater["votes"]) == (3, 3, 0, 1.0, 30)
    said = " / ".join(rater["flags"])
    assert "answered 0 of 3 repeats alike" in said
    assert "took 0.9 s for a pair" in said
    assert ("attention" in said) == (rater["passed"] < 2)
    assert all(not each["flags"] for each in found["raters"] if each["rater"] != 6)


def test_both_analyses_stand_side_by_side(found: dict[str, Any]) -> None:
    everybody, unflagged = found["everybody"], found["unflagged"]
    assert (everybody["raters"], everybody["votes"]) == (6, 180)
    assert (unflagged["raters"], unflagged["votes"]) == (5, 150)
    assert unflagged["contests"][0]["alpha"]["alpha"] == 1.0
    assert 0.4 < everybody["contests"][0]["alpha"]["alpha"] < 0.9


def test_who_presses_left_shows_in_the_share_of_left_and_careful_raters_do_not(found: dict[str, Any]) -> None:
    assert found["everybody"]["left"]["value"] > 0.53
    left = found["unflagged"]["left"]
    assert left["low"] < 0.5 < left["high"]


def test_so_few_repeats_alike_that_hardly_any_careful_rater_has_them() -> None:
    """Of 3, none (1.6 % of raters who answer three in four alike); of 6, two (3.8 %), but not three (17 %)."""
    assert _at_most(0, 3, 0.75) == pytest.approx(0.25**3)
    assert _at_most(1, 3, 0.75) == pytest.approx(0.15625)
    assert _at_most(2, 6, 0.75) == pytest.approx(0.037598, abs=1e-6)
    assert _at_most(3, 6, 0.75) == pytest.approx(0.169434, abs=1e-6)


def test_rules_decide_who_is_flagged(folder: Path) -> None:
    lax = analysed(folder, attention=0, repeats=0, fast_seconds=0)
    assert (lax["flagged"], lax["unflagged"]) == ([], None)
    strict = analysed(folder, fast_seconds=5)
    assert len(strict["flagged"]) == 6
    assert strict["unflagged"] is None
    assert "Every rater is flagged" in (folder / "analysis.md").read_text()
    analysed(folder)


def test_repeats_and_checks_and_what_was_undone_are_not_counted(tmp_path: Path) -> None:
    small = write_study(tmp_path, prompts=8, raters=3, repeats=0.2, checks=0.2)
    answer_all(small, prefer(MODEL))
    with Database(small / FILE) as database:
        for rater in (1, 2, 3):
            state = database.state(rater)
            while state["undo"] is not None:
                state = database.undo(rater, state["undo"])
    with pytest.raises(study.StudyError, match="nobody has voted yet"):
        study.report(small)
    answer_all(small, prefer(BASE))
    found = analysed(small)
    assert found["undone"] == 3 * (8 + 2 + 2)
    assert found["everybody"]["votes"] == 24
    assert found["everybody"]["contests"][0]["rows"][0]["wins"] == 0


def test_ties_are_answers(tmp_path: Path) -> None:
    small = write_study(tmp_path, prompts=8, raters=3, ties=True, checks=0)
    answer_all(small, lambda _: "tie")
    row = analysed(small)["everybody"]["contests"][0]["rows"][0]
    assert (row["ties"], row["won"], row["preferred"]) == (8, 0.5, 0.5)
    assert analysed(small)["everybody"]["contests"][0]["alpha"] is None


def test_of_three_models_strengths_come_out_in_order(tmp_path: Path) -> None:
    models = ("base", "stage 1", "stage 1 + 2")
    small = write_study(tmp_path, prompts=8, raters=5, models=models, repeats=0, checks=0)

    def choose(shown: Mapping[str, Any]) -> str:
        better = models.index(shown["right"]) > models.index(shown["left"])
        wrong = seeds.uniform(0, "whim", shown["rater"], shown["prompt_id"], shown["left"], shown["right"]) < 0.2
        return "right" if better != wrong else "left"

    answer_all(small, choose)
    found = analysed(small)["everybody"]
    assert [(each["model"], each["against"]) for each in found["contests"]] == [
        ("stage 1", "base"),
        ("stage 1 + 2", "base"),
        ("stage 1 + 2", "stage 1"),
    ]
    assert all(each["p_holm"] >= each["rows"][0]["p"] for each in found["contests"])
    strengths = found["strengths"]
    assert [each["model"] for each in strengths] == list(models)
    assert 0 == strengths[0]["log_odds"] < strengths[1]["log_odds"] < strengths[2]["log_odds"]
    assert strengths[2]["low"] > 0
    assert "Bradley-Terry strengths with ties (Davidson)" in (small / "analysis.md").read_text()


def test_the_table_says_it_in_words(folder: Path) -> None:
    text = study.report(folder, None, QUICK)
    assert "### All raters" in text
    assert "### Without flagged raters" in text
    assert "rater 6 is flagged" in text
    line = next(line for line in text.splitlines() if line.startswith("| stage 1 | base | garden"))
    assert "/15 |" in line or "/16 |" in line or "/14 |" in line
    assert text == (folder / "analysis.md").read_text()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_vote_is_a_row(folder: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"votes{suffix}"
    count = study.export(folder, out)
    rows = list(csv.DictReader(out.read_text().splitlines())) if suffix == ".csv" else pq.read_table(out).to_pylist()
    assert len(rows) == count == 6 * (30 + 3 + 3)
    assert list(rows[0]) == SCHEMA.names
    for row in rows:
        assert row["preferred"] == row[f"{row['answer']}_model"]
        assert {row["left_model"], row["right_model"]} <= {BASE, MODEL, "damaged"}
        assert row["received"].endswith("+00:00")
    with pytest.raises(study.StudyError, match=r"\.csv or \.parquet"):
        study.export(folder, tmp_path / "votes.xlsx")


def test_the_report_shows_a_study_that_stands_in_the_runs_folder(tmp_path: Path) -> None:
    run = write_run(tmp_path, until="pictures", state="running", prompts=8, side=16)
    page = report(run).read_text()
    assert "What raters prefer" not in page
    from pairwright import run as runner
    from pairwright.store import Store

    folder = make(runner.result(run, "pictures"), Store(tmp_path), run, raters=5, question="<script>alert(1)</script>?")
    assert "What raters prefer" not in report(run).read_text(), "no analysis, no section"
    answer_all(folder, prefer(MODEL))
    study.report(folder, None, QUICK)
    text = report(run).read_text()
    read = Reader(text)
    words = " ".join(" ".join(read.words).split())
    assert "What raters prefer" in words
    assert "8/8 won" in words
    assert "<script>alert(1)</script>?" in words
    assert "alert(1)" not in "".join(read.scripts)
    assert "Preferred: other raters on other prompts would prefer it in 100 to 100" in words
    (folder / "analysis.json").write_text("{}")
    with pytest.raises(Exception, match=r"analysis\.json is damaged"):
        report(run)


def test_no_file_of_a_study_needs_torch() -> None:
    code = """
import sys, pkgutil, importlib
import pairwright.study
assert "fastapi" not in sys.modules and "uvicorn" not in sys.modules
for module in pkgutil.iter_modules(pairwright.study.__path__):
    importlib.import_module(f"pairwright.study.{module.name}")
print([name for name in ("torch", "transformers", "diffusers") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_without_the_extra_the_error_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(study.StudyError, match=r"pip install 'pairwright\[study\]'"):
        study.serve(folder, host="127.0.0.1", port=0, said=print)


def test_a_taken_port_is_said(folder: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(study.StudyError, match="name another --port"):
            study.serve(folder, host="127.0.0.1", port=taken.getsockname()[1], said=print)
