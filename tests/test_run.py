"""A run is a list of pointers: it goes on where it was, and says what it computes anew."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pairwright import recipe, run, runtime
from pairwright.run import RunError
from pairwright.store import Store
from tests.fakes import dye

SOURCE = {"name": "tests.fakes.colours", "count": 60}
CURATE: dict[str, Any] = {
    "verb": "curate",
    "source": SOURCE,
    "resolution": 32,
    "saliency": "tests.fakes.middle",
    "perturbation": "tests.fakes.dye",
    "gap": {"reward": "tests.fakes.red", "at_least": 0.02},
    "keep": {"reward": "tests.fakes.red", "top": 10},
}


def made(**changes: Any) -> recipe.Recipe:
    return recipe.parse({"name": "mine", "step": {"pairs": {**CURATE, **changes}}})


class Heard:
    """A progress that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def task(self, label: str, total: int, done: int = 0) -> Any:
        from pairwright.progress import SILENT

        return SILENT.task(label, total, done)

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_a_run_points_to_its_results_and_leaves_a_report(tmp_path: Path) -> None:
    page = run.run(made(), tmp_path)
    assert page == tmp_path / "mine" / "report.html"
    record = run.read(tmp_path / "mine")
    assert (record["state"], record["steps"]["pairs"]["state"]) == ("complete", "complete")
    assert run.result(tmp_path / "mine", "pairs").complete
    ran_on = record["steps"]["pairs"]["ran_on"]
    assert (ran_on["kind"], ran_on["count"]) == (runtime.device().type, 1)
    run.run(made(), tmp_path)
    assert run.read(tmp_path / "mine")["steps"]["pairs"]["ran_on"] == ran_on, "what it took is kept where nothing is computed again"


def test_run_again_nothing_is_computed(tmp_path: Path) -> None:
    run.run(made(), tmp_path)
    before = len(dye.EDITED)
    run.run(made(), tmp_path)
    assert len(dye.EDITED) == before
    assert run.read(tmp_path / "mine")["steps"]["pairs"]["reused"] is True


def test_a_changed_option_is_said_and_computed_and_an_execution_field_is_not(tmp_path: Path) -> None:
    first = Heard()
    run.run(made(), tmp_path, progress=first)
    one = run.result(tmp_path / "mine", "pairs").fingerprint
    again = Heard()
    run.run(made(batch_size=3), tmp_path, progress=again)
    assert run.result(tmp_path / "mine", "pairs").fingerprint == one
    assert not [line for line in again.lines if "changed since" in line]
    changed = Heard()
    run.run(made(keep={"reward": "tests.fakes.red", "top": 5}), tmp_path, progress=changed)
    assert run.result(tmp_path / "mine", "pairs").fingerprint != one
    assert any("pairs: changed since the last run: keep.top (10 -> 5)" in line for line in changed.lines)


def test_a_failed_step_is_recorded_with_its_error_and_can_be_run_again(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no picture is left"):
        run.run(made(least_side=500), tmp_path)
    record = run.read(tmp_path / "mine")
    assert (record["state"], record["steps"]["pairs"]["state"]) == ("failed", "failed")
    assert "no picture is left" in record["steps"]["pairs"]["error"]
    with pytest.raises(RunError, match="is not finished"):
        run.result(tmp_path / "mine", "pairs")
    run.run(made(), tmp_path)
    assert run.read(tmp_path / "mine")["state"] == "complete"


def test_gc_lists_what_no_run_points_to_and_keeps_what_results_were_made_from(tmp_path: Path) -> None:
    run.run(made(), tmp_path)
    assert run.unreferenced(tmp_path) == []
    old = run.result(tmp_path / "mine", "pairs")
    run.run(made(seed=1), tmp_path)
    run.run(made(seed=2), tmp_path)
    left = {node.fingerprint for node, size in run.unreferenced(tmp_path) if size > 0}
    assert old.fingerprint in left
    (tmp_path / "store" / "curate" / ".tmp-half").write_text("left by a killed process")
    run.delete(tmp_path)
    assert not list((tmp_path / "store").rglob(".tmp-*"))
    assert run.unreferenced(tmp_path) == []
    assert run.result(tmp_path / "mine", "pairs").complete
    assert {node.verb for node in Store(tmp_path).nodes()} >= {"curate", "pictures", "repaint", "gap", "scores"}


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        run.read(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_at_random_moments_the_run_ends_with_the_same_pairs(tmp_path: Path) -> None:
    run.run(made(), tmp_path / "whole")
    wanted = [(row["id"], row["loser"]["bytes"]) for row in run.result(tmp_path / "whole" / "mine", "pairs").rows()]
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "mine", "step": {"pairs": CURATE}}))
    code = (
        "import json, sys; from pathlib import Path; from pairwright import recipe, run\n"
        "print('ready', flush=True)\n"
        "run.run(recipe.parse(json.loads(Path(sys.argv[1]).read_text())), Path(sys.argv[2]))"
    )
    moments = random.Random(0)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "recipe.json"), str(tmp_path / "cut")], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    run.run(made(), tmp_path / "cut")
    assert [(row["id"], row["loser"]["bytes"]) for row in run.result(tmp_path / "cut" / "mine", "pairs").rows()] == wanted
