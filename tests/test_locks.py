"""Runs keep others off; results that several runs want are computed once."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pairwright import locks, run
from pairwright.locks import HeldError
from pairwright.progress import SILENT
from pairwright.store import Node, Store
from tests.test_run import Heard, made


@contextmanager
def elsewhere(root: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that works on the same store, and has said that it holds a result."""
    code = f"""
        import time
        from pathlib import Path
        from pairwright import locks
        from pairwright.progress import SILENT
        from pairwright.store import Store
        root = Path({str(root)!r})
        node = Store(root).node("curate", {{}})
    """
    program = textwrap.dedent(code) + textwrap.dedent(body)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        yield process
        process.kill()


def node(root: Path) -> Node:
    return Store(root).node("curate", {})


def test_a_second_process_is_told_who_holds_the_run(tmp_path: Path) -> None:
    with locks.hold(tmp_path / "mine"):
        code = f"from pathlib import Path; from pairwright import locks\nwith locks.hold(Path({str(tmp_path / 'mine')!r})): pass"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"process {os.getpid()} on" in other.stderr
    with locks.hold(tmp_path / "mine"):
        pass


def test_in_one_process_a_held_run_is_refused_too(tmp_path: Path) -> None:
    with locks.hold(tmp_path), pytest.raises(HeldError, match="is being worked on by process"), locks.hold(tmp_path):
        pass


def test_a_result_that_another_process_computes_is_waited_for_and_not_computed_again(tmp_path: Path) -> None:
    body = """
        with locks.claimed([node], SILENT):
            print("held", flush=True)
            while not (root / "waited").exists():
                time.sleep(0.05)
            node.finish(by="the other")
    """
    heard = Waiter(tmp_path / "waited")
    with elsewhere(tmp_path, body) as other, locks.claimed([node(tmp_path)], heard) as unfinished:
        assert unfinished == []
        assert [f"process {other.pid} on" in line for line in heard.lines] == [True]
    assert node(tmp_path).summary == {"by": "the other"}


class Waiter(Heard):
    """Leaves a file when it is told that somebody waits."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.mark = mark

    def say(self, text: str) -> None:
        super().say(text)
        if "is being computed by" in text:
            self.mark.touch()


def test_a_result_whose_process_was_killed_is_taken_over(tmp_path: Path) -> None:
    body = """
        with locks.claimed([node], SILENT):
            print("held", flush=True)
            time.sleep(600)
    """
    heard = Heard()
    with elsewhere(tmp_path, body) as other:
        other.kill()
        with locks.claimed([node(tmp_path)], heard) as unfinished:
            assert unfinished == [node(tmp_path)]


def test_waiting_for_another_process_is_no_cost_of_a_step(tmp_path: Path) -> None:
    run.run(made(), tmp_path / "before")
    known = run.result(tmp_path / "before" / "mine", "pairs")
    body = f"""
        node = type(node)(root / "store" / "curate" / "{known.fingerprint}", "curate")
        with locks.claimed([node], SILENT):
            print("held", flush=True)
            while not (root / "waited").exists():
                time.sleep(0.05)
            time.sleep(2)
    """
    root = tmp_path / "now"
    heard = Waiter(root / "waited")
    started = time.monotonic()
    with elsewhere(root, body):
        run.run(made(), root, progress=heard)
    entry = run.read(root / "mine")["steps"]["pairs"]
    assert not entry["reused"]
    assert sum("is being computed by" in line for line in heard.lines) == 1
    assert entry["seconds"] < time.monotonic() - started - 1.5


def test_locks_are_no_part_of_a_result(tmp_path: Path) -> None:
    found = node(tmp_path)
    with locks.claimed([found, found], SILENT) as unfinished:
        assert unfinished == [found, found]
        found.finish()
    assert found.record()["files"] == {}
    found.reopen()
    assert found.complete


SWEEP = """
name = "several"
[sweep]
"pairs.seed" = [0, 1, 2]
[step.pairs]
verb = "curate"
source = { name = "tests.fakes.colours", count = 60 }
resolution = 32
saliency = "tests.fakes.middle"
perturbation = "tests.fakes.dye"
gap = { reward = "tests.fakes.red", at_least = 0.02 }
keep = { reward = "tests.fakes.red", top = 10 }
"""


def test_a_sweep_that_two_processes_run_has_every_row_computed_once(tmp_path: Path) -> None:
    (tmp_path / "several.toml").write_text(SWEEP)
    command = [sys.executable, "-m", "pairwright", "run", str(tmp_path / "several.toml"), "--root", str(tmp_path / "runs")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    printed = [each.communicate(timeout=300)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], printed
    assert sum(each.count("done in") for each in printed) == 3, printed
    states = [run.read(folder)["state"] for folder in sorted((tmp_path / "runs").glob("several-*"))]
    assert states == ["complete"] * 3


def test_two_runs_that_share_a_step_compute_it_once(tmp_path: Path) -> None:
    code = f"""
        import sys
        from pathlib import Path
        from pairwright import run
        from pairwright.progress import choose
        from tests.test_run import made
        recipe = made().model_copy(update={{"name": sys.argv[1]}})
        run.run(recipe, Path({str(tmp_path)!r}), progress=choose())
    """
    program = textwrap.dedent(code)
    both = [
        subprocess.Popen([sys.executable, "-c", program, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name in ("one", "two")
    ]
    printed = [each.communicate(timeout=300)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], printed
    records = [run.read(tmp_path / name)["steps"]["pairs"] for name in ("one", "two")]
    assert records[0]["fingerprint"] == records[1]["fingerprint"]
    assert sorted(each["reused"] for each in records) == [False, True]
