"""Progress in a log: now and then a line with the rate and the time left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pairwright import progress


def test_a_task_in_a_log_says_how_far_it_is_at_its_end_and_not_at_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with progress._Log().task("repaint", 10, done=4) as task:
        for _ in range(6):
            task.advance(passed="3")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("  repaint: 10/10, ")
    assert "0:00 left passed=3" in lines[0]


def test_the_rate_counts_only_what_this_process_did() -> None:
    line = progress._Line("x", 100, 50)
    line.done, line.started = 60, 0.0
    assert "60/100, 5/s, 0:08 left loss=0.25" in line.line(2.0, {"loss": 0.25})


def test_long_times_are_said_in_hours() -> None:
    assert progress._clock(3725) == "1:02:05"
    assert progress._clock(59.6) == "1:00"


def test_the_silent_one_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.SILENT.task("x", 3) as task:
        task.advance(3)
    progress.SILENT.say("hello")
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_drawn_without_a_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    live = progress._Live()
    with live.task("train", 2) as task:
        task.advance(2, loss=0.5)
    live.say("[1/6] pairs: curate")
    said = capsys.readouterr().err
    assert "train" in said
    assert "[1/6] pairs: curate" in said


def test_work_goes_on_where_nobody_reads_its_progress(tmp_path: Path) -> None:
    done = tmp_path / "done"
    script = f"""
from pathlib import Path
from pairwright.progress import choose
shown = choose()
with shown.task("work", 5) as task:
    for _ in range(5):
        task.advance()
        shown.say("still at it")
Path({str(done)!r}).touch()
"""
    worker = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    assert worker.stderr is not None
    worker.stderr.close()
    assert worker.wait() == 0
    assert done.exists()
