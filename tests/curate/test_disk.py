"""A disk that takes no more: one error that names the folder, nothing half-written, and the same command goes on."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pairwright.context import Context
from pairwright.curate import curate
from pairwright.options import Curate
from pairwright.store import DiskFullError, Node, Store
from tests.fakes import dye

PLAIN: dict[str, Any] = {
    "source": {"name": "tests.fakes.colours", "count": 40},
    "resolution": 32,
    "filters": [{"reward": "colorfulness", "rule": "at_least", "value": 5.0}],
    "saliency": "tests.fakes.middle",
    "perturbation": "tests.fakes.dye",
    "gap": {"reward": "tests.fakes.red", "at_least": 0.02},
    "keep": {"reward": "tests.fakes.red", "top": 10},
}


def made(root: Path) -> Node:
    return curate(Curate.model_validate(PLAIN), Context(Store(root)))


def rows(node: Node) -> list[dict[str, Any]]:
    return [*node.rows(), *node.rows("rejected")]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes; what is written further fails as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_limit_that_bites_at_any_size_leaves_whole_files_and_an_error_that_names_the_folder(tmp_path: Path) -> None:
    wanted = rows(made(tmp_path / "whole"))
    sizes = sorted(path.stat().st_size for path in (tmp_path / "whole").rglob("[!.]*.*") if path.is_file())
    folders = set()
    for size in (sizes[0] - 1, *sizes[:-1]):
        with (
            largest_file(size),
            pytest.raises(DiskFullError, match=r"takes no more \(File too large\): nothing was written half") as caught,
        ):
            made(tmp_path / "cut")
        assert caught.value.errno == errno.EFBIG
        folders.add(str(caught.value).split(" takes no more", 1)[0])
        assert not list((tmp_path / "cut").rglob(".tmp-*"))
        assert all(node.read() is not None for node in Store(tmp_path / "cut").nodes()), "a shard cannot be read"
    assert {Path(each).parent.name for each in folders} == {"pictures", "curate"}, "the largest files of this run"
    assert rows(made(tmp_path / "cut")) == wanted


def test_a_disk_that_is_full_at_every_third_write_loses_one_shard_of_work_each_time_and_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = rows(made(tmp_path / "whole"))
    write, calls = pq.write_table, []

    def full(table: Any, path: Path, **options: Any) -> None:
        calls.append(path)
        write(table, path, **options)
        if len(calls) % 3 == 0:
            os.truncate(path, path.stat().st_size // 2)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    before, failures = len(dye.EDITED), 0
    while True:
        try:
            node = made(tmp_path / "cut")
            break
        except DiskFullError as error:
            failures += 1
            assert str(error).startswith(str(tmp_path / "cut" / "store"))  # noqa: PT017 - it is raised again and again
            assert "No space left on device" in str(error)  # noqa: PT017
            assert not list((tmp_path / "cut").rglob(".tmp-*"))
    assert rows(node) == wanted
    assert failures >= 4
    edited = dye.EDITED[before:]
    assert len(edited) - len(set(edited)) <= 16 * failures
