"""Shards are shared out by their numbers; a worker's error is the caller's, its death an error that says what is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pairwright.progress import SILENT
from pairwright.shares import Share, WorkerError, share_out


def mark(folder: Path, device: str, share: Share) -> None:
    import torch

    for shard in range(5):
        if shard in share:
            (folder / str(shard)).write_text(f"{device} {os.getpid()} {torch.get_num_threads()}")


def fail(folder: Path, device: str, share: Share) -> None:
    if 1 in share:
        raise ValueError(f"{device} has no room")
    mark(folder, device, share)


def die(folder: Path, device: str, share: Share) -> None:
    mark(folder, device, share)
    if 1 in share:
        os._exit(9)


def linger(folder: Path, device: str, share: Share) -> None:
    for beat in range(6000):
        (folder / f"{device}-{share.rank}").write_text(str(beat))
        time.sleep(0.1)


def written(folder: Path) -> int:
    return len(list(folder.iterdir()))


def shared(work: Callable[[Path, str, Share], None], folder: Path) -> None:
    share_out(
        partial(work, folder),
        ("cpu", "cpu"),
        label="mark",
        total=5,
        written=partial(written, folder),
        progress=SILENT,
    )


def test_every_shard_is_somebodys(tmp_path: Path) -> None:
    shared(mark, tmp_path)
    said = [(tmp_path / str(shard)).read_text().split() for shard in range(5)]
    assert len({pid for _, pid, _ in said[::2]}) == len({pid for _, pid, _ in said[1::2]}) == 1
    assert str(os.getpid()) not in {pid for _, pid, _ in said}


def test_workers_on_the_cpu_divide_its_cores(tmp_path: Path) -> None:
    from pairwright import hardware

    shared(mark, tmp_path)
    assert {int((tmp_path / str(shard)).read_text().split()[2]) for shard in range(5)} <= set(
        range(1, max(hardware.cores() // 2, 1) + 1)
    )


def test_nothing_is_started_where_nothing_is_missing(tmp_path: Path) -> None:
    for shard in range(5):
        (tmp_path / str(shard)).touch()
    shared(die, tmp_path)


def test_what_a_worker_raises_reaches_the_caller(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cpu has no room"):
        shared(fail, tmp_path)
    assert {"0", "2", "4"} <= {path.name for path in tmp_path.iterdir()}


def test_a_worker_that_dies_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="what was computed is kept: run the same command again"):
        shared(die, tmp_path)
    assert (tmp_path / "1").exists()


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from tests.test_shares import linger, shared; shared(linger, Path({str(tmp_path)!r}))"
    parent = subprocess.Popen([sys.executable, "-c", code])
    until(lambda: written(tmp_path) == 2)
    parent.kill()
    parent.wait()
    until(lambda: still(tmp_path))


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def beats(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.iterdir())]


def still(folder: Path) -> bool:
    before = beats(folder)
    time.sleep(1)
    return beats(folder) == before
