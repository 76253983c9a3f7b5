"""What a report says beside the numbers: where a model lost, alarms, the timeline of checkpoints, cost, contact sheets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pairwright import hardware, scoring
from pairwright.report import contact_sheet, metrics, report
from pairwright.report.costs import costs
from pairwright.report.gather import read_run
from pairwright.report.regressions import MOST, regressions
from pairwright.store import Store, write_json
from tests.miniatures.run_folder import write_run
from tests.report.test_report import read


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs"), prompts=12)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder.parent, tmp_path / "runs")
    return tmp_path / "runs" / folder.name


def textures(folder: Path, label: str) -> dict[tuple[str, int], float]:
    """Texture by prompt and index, read from the store."""
    store = Store(folder.parent)
    tables = json.loads(next(folder.parent.glob("store/score/*/tables.json")).read_text())
    scores: Any = scoring.read_scores(store.open(scoring.VERB, tables["tables"][label]["texture"]))
    rows = store.open("pictures", tables["pictures"][label]).rows(columns=["id", "prompt_id", "index"])
    return {(row["prompt_id"], row["index"]): scores[row["id"]]["texture"] for row in rows}


def test_the_prompts_that_lost_most_come_first_with_both_pictures(copy: Path) -> None:
    change(copy, baseline="stage 1 + 2")  # the drawn pictures grow sharper with every stage: seen from the last, all others lose
    run = read_run(copy)
    (step,) = run.of("compare")
    found = {each.model: each for each in regressions(run, step)}
    assert list(found) == ["base", "stage 1"]
    last = textures(copy, "stage 1 + 2")
    for label, shown in found.items():
        own = textures(copy, label)
        means = {prompt: np.mean([own[prompt, i] - last[prompt, i] for i in (0, 1)]) for prompt, _ in last}
        lost = sorted((mean, prompt) for prompt, mean in means.items() if mean < 0)
        assert (shown.worse, shown.prompts, shown.metric, len(shown.rows)) == (len(lost), 12, "texture", MOST)
        differences = [float(row.difference.replace(",", "")) for row in shown.rows]
        assert differences == pytest.approx([mean for mean, _ in lost[:MOST]], rel=5e-3)
        _, worst = lost[0]
        index = min((0, 1), key=lambda i: own[worst, i] - last[worst, i])
        scores = [float(each.replace(",", "")) for each in (shown.rows[0].baseline_score, shown.rows[0].model_score)]
        assert scores == pytest.approx([last[worst, index], own[worst, index]], rel=5e-3)
    assert f"{found['base'].worse} of 12 prompts scored lower than stage 1 + 2 on texture" in read(copy).text


def test_scores_that_were_removed_leave_the_page_whole(copy: Path) -> None:
    shutil.rmtree(copy.parent / "store" / scoring.VERB)
    page = read(copy)
    assert "Where it got worse" not in page.text
    assert "texture primary" in page.text


def change(folder: Path, **fields: Any) -> None:
    path = next(folder.parent.glob("store/compare/*/comparison.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_alarms_warnings_and_the_best_model_are_on_the_page(copy: Path) -> None:
    best = {"model": "stage 1", "mean": 3.0, "alike": [], "rows": []}
    change(copy, alarms=[{"said": "stage 1 may have learned <the scorer>"}], warnings=["base: captions leaked"], best=best)
    page = read(copy)
    assert "Alarm. stage 1 may have learned <the scorer>" in page.text
    assert "base: captions leaked" in page.text
    assert "Best by texture: stage 1 (3.000); every other model is worse" in page.text


def test_checkpoints_are_drawn_over_their_steps() -> None:
    metric = {"name": "score", "unit": "u", "higher_is_better": True, "primary": True}
    found: dict[str, Any] = {"models": ["start", "step 100", "step 200"], "baseline": "start"}
    found |= {"metrics": [{**metric, "means": {"start": 1.0, "step 100": 3.0, "step 200": 2.0}}]}
    at = {"start": 0.0, "step 100": 100.0, "step 200": 200.0}
    (chart,) = metrics.over(found, at, "the training's steps")
    (line,) = chart.lines
    assert line.raw == line.smooth, "nothing is smoothed"
    places = [tuple(map(float, each.split())) for each in line.raw[1:].split("L")]
    assert [x for x, _ in places] == [0, 150, 300]
    heights = [y for _, y in places]
    assert heights[1] < heights[2] < heights[0], "up is more"
    assert [tick.label for tick in chart.across][:2] == ["0", "50"]
    assert metrics.over({**found, "models": ["base", "step 100"]}, {}, "x") == ()


def test_cost_is_said_by_device_with_hours_of_gpus(copy: Path) -> None:
    record = json.loads((copy / "run.json").read_text())
    gpu = {"kind": "cuda", "label": "A GPU", "count": 2}
    record["steps"]["stage1"] |= {"seconds": 3600.0, "ran_on": gpu}
    record["steps"]["stage2"] |= {"seconds": 1800.0, "ran_on": gpu}
    record["steps"]["scores"] |= {"seconds": 30.0, "ran_on": hardware.occupied(torch.device("cpu"))}
    write_json(copy / "run.json", record)
    first, second = costs(read_run(copy))
    assert first == "3.00 GPU-hours on A GPU (1 h 30 min)"
    assert second.startswith("30 s on CPU with ")
    assert second.endswith(", no GPU")
    assert first in read(copy).text


def test_a_contact_sheet_has_a_row_per_prompt_and_a_column_per_model(copy: Path) -> None:
    path = contact_sheet(copy, "pictures")
    assert path.name == "pictures-contact-sheet.jpg"
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"), dtype=float)
    assert pixels.shape == (28 + 12 * 134 + 6, 200 + 3 * 134 + 6, 3)
    cells = [pixels[28 + 134 * row + 48 : 28 + 134 * row + 80, 200 + 134 * column + 48 : 200 + 134 * column + 80]
             for row in range(12) for column in range(3)]  # fmt: skip
    assert min(cell.std() for cell in cells) > 1, "each cell holds a picture"
    with pytest.raises(ValueError, match="no finished generate step 'stage1'"):
        contact_sheet(copy, "stage1")


def test_the_page_of_a_run_without_scores_has_no_losses(tmp_path: Path) -> None:
    folder = write_run(tmp_path, until="pictures", state="running")
    assert 'id="regressions"' not in report(folder).read_text()
