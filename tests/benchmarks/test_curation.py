"""The curation benchmark in miniature: every way keeps the same photographs, and a way that does not has no time."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.curation import __main__ as benchmark
from benchmarks.curation import accelerator, ways
from benchmarks.curation.clock import Clock
from benchmarks.training import networks
from pairwright.options import Plugin
from tests.miniatures import u2net


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    rows = []
    for number in range(12):
        generator = np.random.default_rng(number)
        coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((96, 72)).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "text": f"picture {number}"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_all_ways_keep_the_same_photographs_and_everything_is_written(photographs: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from tests.miniatures.migan import write_migan

    inpainter = write_migan(tmp_path / "migan_pipeline_v2.onnx")
    saliency = u2net.write_folder(tmp_path / "saliency")
    words = ["--photos", photographs, "--saliency", saliency, "--inpainter", inpainter, "--keep", 2, "--gap", 0, "--side", 64]
    more = ["--seeds", 1, "--large", 200, 150, "--repeats", 1, "--results", tmp_path]
    benchmark.main([str(each) for each in [*words, *more]])
    found = json.loads((tmp_path / "curation.json").read_text())
    scripts, eager, lazy = found["ways"]
    assert scripts["files"] == eager["files"] == lazy["files"]
    assert len(lazy["files"]) == 2
    assert scripts["repaints"] > eager["repaints"] >= lazy["repaints"] >= 2
    assert scripts["step pictures"]["read and crop"] > 3 * lazy["step pictures"]["read and crop"]
    assert all(sum(each["step seconds"].values()) <= each["seconds"] for each in found["ways"])
    assert {step for step, count in lazy["step pictures"].items() if count} == set(ways.STEPS)
    assert 1100 < found["repaints"]["0.0"][0] < 1550
    page = (tmp_path / "curation.md").read_text()
    assert "| pairwright, lazy order |" in page
    assert "below 2 % of any repaint" in page


def test_a_way_that_keeps_other_photographs_has_no_time(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = ways.Done("other", ["a.png"], 1, 1.0, Clock())
    monkeypatch.setattr(ways, "published", lambda *_: done)
    monkeypatch.setattr(ways, "ours", lambda *_, eager: dataclasses.replace(done, files=["b.png"]))
    task = ways.Task(photographs, Plugin(name="u2net"), Plugin(name="migan"), 1, 0.0)
    with pytest.raises(benchmark.CurationBenchmarkError, match=r"other keeps \['b.png'\], the scripts keep \['a.png'\]"):
        benchmark.raced(task, tmp_path)


def test_a_step_within_a_step_is_counted_once() -> None:
    clock = Clock()
    with clock.step("outer", 4):
        time.sleep(0.01)
        with clock.step("inner", 2):
            time.sleep(0.05)
    assert clock.seconds["inner"] >= 0.05
    assert 0.01 <= clock.seconds["outer"] < clock.seconds["inner"]
    assert clock.rate("inner") == 2 / clock.seconds["inner"]
    assert clock.rate("other") is None


def test_what_is_made_for_an_accelerator_runs_on_anything() -> None:
    found = accelerator.measure("cpu", networks.TINY, steps=(2, 1), batches=(1, 2), repeats=1, compiling=(False,))
    assert [(each.steps, each.batch) for each in found] == [(2, 1), (1, 1), (2, 2), (1, 2)]
    assert all(each.rate > 0 for each in found)
    full = 2 * 50 * 0.803e12 + 1.117e12 + 2.515e12
    assert found[0].flop == pytest.approx(full - 2 * 48 * 0.803e12)
