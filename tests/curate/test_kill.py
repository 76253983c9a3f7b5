"""Kill -9 at fifty random moments of a curation: what was finished stays, one shard at most is made again, the tables are equal."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pairwright.curate.repaint import CANDIDATES_PER_SHARD
from pairwright.store import Store

KILLS = 50
COMPUTED = {"pictures", "scores", "repaint", "gap"}
REPOSITORY = Path(__file__).parents[2]


class Lives:
    """The script that lives and dies."""

    def __init__(self, log: Path) -> None:
        log.touch()
        self.log = log
        script = [sys.executable, "-m", "tests.curate.lives", str(log)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            script, cwd=REPOSITORY, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def one(self, root: Path, seconds: float) -> tuple[str, list[str]]:
        """How it ended, and the ids that were repainted in it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        before = len(self.log.read_text().split())
        self.process.stdin.write(f"{seconds} {root}\n")
        self.process.stdin.flush()
        ended = self.process.stdout.readline().strip()
        return ended, self.log.read_text().split()[before:]

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def shards(root: Path) -> dict[str, tuple[int, int]]:
    """Every finished shard, and what tells whether it was written again. A shard is there when its `data` is, which comes last.

    The pairs themselves are left out: they are only chosen, and are written together until all are there.
    """
    found = [path for verb in COMPUTED for path in (root / "store" / verb).rglob("data-*.parquet")]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def repainted(root: Path) -> set[str]:
    return {row["id"] for node in Store(root).nodes() if node.verb == "repaint" for row in node.rows(columns=["id"])}


def content(root: Path) -> dict[str, list[dict[str, Any]]]:
    """Every table of every result, but for the times in the summaries."""
    return {
        f"{node.verb}/{node.fingerprint}/{table}": list(node.rows(table))
        for node in Store(root).nodes()
        for table in ("data", "rejected", "masks")
        if node.shards(table)
    }


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_fifty_times_nothing_finished_is_lost_and_the_tables_are_those_of_an_uninterrupted_run(tmp_path: Path) -> None:
    lives = Lives(tmp_path / "log")
    try:
        lives.one(tmp_path / "warm", 600.0)
        started = time.monotonic()
        assert lives.one(tmp_path / "whole", 600.0)[0] == "finished 0"
        length = time.monotonic() - started
        wanted = content(tmp_path / "whole")
        assert {name.split("/")[0] for name in wanted} == {*COMPUTED, "curate"}
        moments, kills, trial, finished = random.Random(5), 0, 0, 0
        reached: set[str] = set()
        while kills < KILLS or not finished:
            root = tmp_path / str(trial)
            there, known = shards(root), repainted(root)
            # The last ones may end by themselves, so that every trial is seen to its end.
            ended, edited = lives.one(root, moments.uniform(0.05, 0.7) * length if kills < KILLS else 600.0)
            now = shards(root)
            assert {name: now.get(name) for name in there} == there, "a finished shard was lost or written again"
            assert not known & set(edited), "what had been repainted was repainted again"
            assert len(set(edited) - repainted(root)) <= CANDIDATES_PER_SHARD, "more than one shard was lost"
            reached |= {Path(name).parts[-3] for name in now.keys() - there.keys()}
            if ended == "killed":
                kills += 1
                continue
            assert ended == "finished 0"
            assert content(root) == wanted
            trial, finished = trial + 1, finished + 1
        assert reached == COMPUTED
    finally:
        lives.close()
