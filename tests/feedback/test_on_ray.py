"""Feedback on a real Ray cluster of two nodes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairwright.engines import EngineError
from tests.curate.on_ray import files
from tests.fakes.cluster import two_nodes
from tests.feedback.made import made
from tests.feedback.test_crew import VERBS

pytest.importorskip("ray", reason="pip install 'pairwright[ray]'")

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]
ONE = {name: {"most": 1} for name in ("critic", "instruct", "edit", "score")}


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[Any]:
    with two_nodes() as nodes:
        yield nodes


def test_four_pools_give_the_local_engines_tables(tmp_path: Path) -> None:
    here = made(tmp_path / "local", 200, measures=["colorfulness"])
    there = made(tmp_path / "ray", 200, engine="ray", ray=ONE, measures=["colorfulness"])
    assert there.fingerprint == here.fingerprint
    assert files(tmp_path / "ray", *VERBS) == files(tmp_path / "local", *VERBS)
    assert {**there.summary, "seconds": 0} == {**here.summary, "seconds": 0}


def test_a_server_that_cannot_be_reached_is_said_by_the_worker_that_asked(tmp_path: Path) -> None:
    critic = {"name": "openai", "served_model": "m", "server": "http://127.0.0.1:9/v1", "timeout": 5.0}
    with pytest.raises(EngineError, match=r"critique, on .*cannot be reached"):
        made(tmp_path, 40, engine="ray", ray=ONE, critic=critic)
