"""Several runs in one table: whose models are rows, how they are compared, and what is written."""

from __future__ import annotations

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pairwright import cli
from pairwright.evaluate import sweeps
from pairwright.evaluate.join import CompareError
from pairwright.report import ReportError, sweep_report
from pairwright.store import write_json
from tests.miniatures.run_folder import CAPTIONS, write_run

TABLE = {"model": "stage 1 + 2", "published": "realalign-figure8", "planes": [{"x": ["texture"], "y": ["colorfulness"]}]}


def write_row(root: Path, name: str, label: str, value: float | str, *, captions: Sequence[str] = CAPTIONS, **table: Any) -> Path:
    """A run that is a row of the sweep "many"."""
    folder = write_run(root, name=name, captions=captions)
    record = json.loads((folder / "run.json").read_text())
    row = {"sweep": "many", "label": label, "values": {"pairs.keep.top": value}, "table": {**TABLE, **table}}
    write_json(folder / "run.json", {**record, "recipe": {**record["recipe"], "row": row}})
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    write_row(root, "many-8", "8", 8)
    write_row(root, "many-24", "24", 24, model="stage 1")
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "runs")
    return tmp_path / "runs"


def test_rows_are_the_models_that_the_table_names_paired_with_one_baseline(root: Path) -> None:
    found = sweeps.together([root / "many-8", root / "many-24"])
    own = json.loads(next(root.glob("store/compare/*/comparison.json")).read_text())
    assert found["models"] == ["base", "8", "24"]
    assert found["positions"] == {"axis": "pairs.keep.top", "at": {"8": 8, "24": 24}}
    differences = {(row["model"], row["metric"]): row["difference"] for row in found["comparisons"]}
    for row, model in (("8", "stage 1 + 2"), ("24", "stage 1")):
        expected = next(each for each in own["comparisons"] if (each["model"], each["metric"]) == (model, "texture"))
        assert differences[row, "texture"] == expected["difference"]
    assert {label: each["run"] for label, each in found["runs"].items()} == {"8": "many-8", "24": "many-24"}
    assert found["runs"]["8"]["seconds"] == pytest.approx(6 * 61.5)


def test_runs_of_no_sweep_are_rows_by_their_names_with_their_last_models(root: Path) -> None:
    for name in ("many-8", "many-24"):
        path = root / name / "run.json"
        record = json.loads(path.read_text())
        del record["recipe"]["row"]
        write_json(path, record)
    found = sweeps.together([root / "many-8", root / "many-24"])
    assert (found["sweep"], found["models"], found["positions"]) == ("many-8", ["base", "many-8", "many-24"], {})


def test_a_run_without_a_label_brings_all_its_models(root: Path) -> None:
    path = root / "many-8" / "run.json"
    record = json.loads(path.read_text())
    record["recipe"]["row"] = {"sweep": "many-8", "table": {}}
    write_json(path, record)
    assert sweeps.together([root / "many-8"])["models"] == ["base", "stage 1", "stage 1 + 2"]


def change(root: Path, name: str, **row: Any) -> None:
    path = root / name / "run.json"
    record = json.loads(path.read_text())
    record["recipe"]["row"] |= row
    write_json(path, record)


def test_what_cannot_be_a_row_is_an_error_that_names_it(root: Path) -> None:
    folders = [root / "many-8", root / "many-24"]
    change(root, "many-24", label="8")
    with pytest.raises(CompareError, match="two rows are called '8'"):
        sweeps.together(folders)
    change(root, "many-24", label="24", table={"model": "stage 3"})
    with pytest.raises(CompareError, match=r"many-24 has no model 'stage 3'\. Did you mean 'stage 1'"):
        sweeps.together(folders)
    path = root / "many-24" / "run.json"
    record = json.loads(path.read_text())
    record["steps"]["scores"]["state"] = "interrupted"
    write_json(path, record)
    with pytest.raises(CompareError, match="scores is not finished; run it again"):
        sweeps.together(folders)
    with pytest.raises(CompareError, match=r"run\.json cannot be read"):
        sweeps.together([root / "absent"])


def test_measured_and_published_are_written_in_every_form_and_never_in_one_table(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.call(["compare", str(root / "many-8"), str(root / "many-24"), "--together"])
    said = capsys.readouterr().out
    folder = root / "many"
    measured, _, paper = said.partition("Published, not measured here:")
    assert "Measured here: many, 8 prompts." in measured
    line = next(each for each in measured.partition("Measured here:")[2].splitlines() if each.startswith("24 "))
    row = next(each for each in json.loads((root / "many" / "sweep.json").read_text())["comparisons"] if each["model"] == "24")
    value, gain = line.split()[1:3]
    assert float(value) == pytest.approx(row["baseline_mean"] + row["difference"], abs=0.006)
    assert float(gain.strip("(*)")) == pytest.approx(row["difference"], abs=0.011)
    assert "21.04" not in measured
    assert "21.04" in paper
    assert str(folder / "sweep.html") in paper
    written = {path.name for path in folder.iterdir()}
    assert written == {
        f"sweep{end}" for end in (".json", ".md", ".txt", ".csv", ".tex", ".svg", ".html", "-curves.svg", "-plane-1.svg")
    }
    with (folder / "sweep.csv").open() as stream:
        assert {row["model"] for row in csv.DictReader(stream)} == {"8", "24"}, "what a program reads holds no published number"
    assert (folder / "sweep.tex").read_text().count(r"\toprule") == 2
    for name in ("sweep-curves.svg", "sweep-plane-1.svg", "sweep.svg"):
        ET.fromstring((folder / name).read_text())
    curves = (folder / "sweep-curves.svg").read_text()
    assert curves.count("<polyline") == 2, "a panel for each metric"
    assert ">8<" in curves
    assert ">24<" in curves


def test_the_page_shows_both_and_a_damaged_file_is_an_error(root: Path) -> None:
    _, folder = sweeps.table_of([root / "many-8", root / "many-24"])
    page = sweep_report(folder, root).read_text()
    assert page.count("data:image/png") + page.count("data:image/jpeg") == 3 * 8 * 2, "three rows, eight prompts, two noises"
    assert page.index("Measured here") < page.index("Published, not measured here")
    assert 'href="../many-24/report.html"' in page
    assert "data:image/svg+xml" in page
    (folder / "sweep.json").write_text('{"sweep": "many"}')
    with pytest.raises(ReportError, match=r"sweep\.json is damaged .*--together"):
        sweep_report(folder, root)
    with pytest.raises(ReportError, match=r"holds no sweep\.json"):
        sweep_report(root, root)
