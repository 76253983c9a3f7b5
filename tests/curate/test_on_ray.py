"""The Ray engine on a real cluster of two nodes on this machine: the same tables as the local engine's, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairwright.engines import EngineError, on_ray
from pairwright.store import Store
from tests.curate.on_ray import files, made
from tests.curate.test_crew import many
from tests.fakes.cluster import two_nodes

pytest.importorskip("ray", reason="pip install 'pairwright[ray]'")

# Ray's own modules leave sockets to the garbage collector and speak of what they will change.
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many(tmp_path_factory.mktemp("photographs"))


def assert_equal(one: Path, other: Path) -> None:
    """All tables are the same. Of repaints, workers may have made some that nobody asked for in the end: those both have are."""
    final = ("pictures", "scores", "curate")
    assert files(one, *final) == files(other, *final)
    assert len(files(one, *final)) >= 10
    first, second = files(one, "repaint", "gap"), files(other, "repaint", "gap")
    both = first.keys() & second.keys()
    assert len(both) >= 6
    assert {name: first[name] for name in both} == {name: second[name] for name in both}


def test_two_nodes_give_the_local_engines_tables(tmp_path: Path, photographs: Path, cluster: Any) -> None:
    here = made(tmp_path / "local", photographs)
    there = made(tmp_path / "ray", photographs, engine="ray")
    assert there.fingerprint == here.fingerprint
    assert_equal(tmp_path / "local", tmp_path / "ray")
    assert there.summary["funnel"] == here.summary["funnel"]
    assert there.summary["tried"] == here.summary["tried"] < 140
    reasons = {row["id"]: row["reason"] for row in there.rows("rejected") if row["step"] == "duplicate"}
    assert reasons == {
        "047a.png": "same content as 047.png",
        "070.png": "same content as 003.png",
        "071.png": "same content as 003.png",
        "100.webp": "same pixels as 004.png",
    }
    assert not list((tmp_path / "ray").rglob("looks-*")), "what is needed only until all is read is gone"


def test_a_worker_that_is_killed_costs_its_piece_and_changes_nothing(tmp_path: Path, photographs: Path, cluster: Any) -> None:
    mark = tmp_path / "died"
    mark.touch()
    mortal = {"perturbation": {"name": "tests.fakes.mortal", "mark": str(mark)}, "eager": True, "batch_size": 4}
    made(tmp_path / "local", photographs, **mortal)
    mark.unlink()
    made(tmp_path / "ray", photographs, engine="ray", **mortal)
    assert mark.read_text(), "a worker has died"
    assert int(mark.read_text()) != os.getpid()
    assert_equal(tmp_path / "local", tmp_path / "ray")
    assert files(tmp_path / "local", "repaint") == files(tmp_path / "ray", "repaint")


def test_a_run_that_is_killed_goes_on_and_reads_and_repaints_nothing_again(tmp_path: Path, photographs: Path, cluster: Any) -> None:
    root = tmp_path / "ray"
    script = [sys.executable, "-m", "tests.curate.on_ray", str(root), str(photographs)]
    life = subprocess.Popen(script, cwd=REPOSITORY, env={**os.environ, "RAY_ADDRESS": cluster.address})
    while not list((root / "store" / "repaint").rglob("data-*.parquet")):
        assert life.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    life.send_signal(signal.SIGKILL)
    life.wait()
    assert not any(node.complete for node in Store(root).nodes() if node.verb == "curate")
    time.sleep(5)  # what it had handed out may still be finished by workers that Ray has not ended yet
    there = {path: path.stat().st_ino for path in root.rglob("*.parquet")}
    made(root, photographs, engine="ray", eager=True)
    assert {path: path.stat().st_ino for path in there} == there
    made(tmp_path / "local", photographs, eager=True)
    assert_equal(tmp_path / "local", root)


def test_a_piece_that_kills_every_worker_ends_with_an_error_that_says_so(
    tmp_path: Path, photographs: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "DEATHS", 2)
    deadly = {"name": "tests.fakes.mortal", "mark": str(tmp_path / "no" / "such" / "folder" / "died"), "after": 0}
    with pytest.raises(EngineError, match="2 workers died over one piece without a word"):
        made(tmp_path / "ray", photographs, engine="ray", perturbation=deadly)


def test_an_error_that_explains_itself_comes_back_as_it_is(tmp_path: Path, photographs: Path, cluster: Any) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(EngineError, match=r"find regions, on .*broken\.onnx"):
        made(tmp_path / "ray", photographs, engine="ray", saliency={"name": "u2net", "model": str(tmp_path / "broken.onnx")})
