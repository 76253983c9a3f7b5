"""Feedback by workers elsewhere: the same tables as done here, in one line from critic to label, and nothing is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pairwright import engines
from pairwright.options import Feedback
from pairwright.store import Node
from tests.curate.on_ray import files
from tests.fakes import commands, faults, redder, tint
from tests.fakes.crew import DiedError, Shuffled
from tests.feedback.made import made

VERBS = ("critique", "instruct", "edit", "relabel", "feedback")
COUNT = 200
"""Seven shards."""


@pytest.fixture(autouse=True)
def _fresh() -> None:
    for each in (faults.SEEN, commands.HEARD, tint.TOLD, redder.ASKED):
        each.clear()


def crewed(monkeypatch: pytest.MonkeyPatch, root: Path, crew: Shuffled, **changes: Any) -> Node:
    with monkeypatch.context() as patched:
        patched.setattr(engines, "crew", crew.crew)
        return made(root, COUNT, engine="ray", **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"critic": False},
        {"reward": False, "judge": "tests.fakes.redder"},
        {"measures": ["tests.fakes.red", "colorfulness"], "most": 50},
    ],
)
def test_workers_give_the_tables_that_are_made_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    here = made(tmp_path / "here", COUNT, **changes)
    there = crewed(monkeypatch, tmp_path / "there", Shuffled(), **changes)
    assert there.fingerprint == here.fingerprint
    assert files(tmp_path / "there", *VERBS) == files(tmp_path / "here", *VERBS)
    assert {**there.summary, "seconds": 0} == {**here.summary, "seconds": 0}


def test_a_shard_goes_through_the_whole_line_before_the_last_one_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crew = Shuffled()
    crewed(monkeypatch, tmp_path, crew)
    first = crew.done[0][1]
    assert crew.done[:4] == [(label, first) for label in ("critique", "instruct", "edit", "score with tests.fakes.red")]
    assert len(crew.done) == 4 * 7


def test_a_run_that_dies_goes_on_and_asks_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DiedError):
        crewed(monkeypatch, tmp_path / "there", Shuffled(lives=2))
    asked = len(faults.SEEN)
    assert 0 < asked < COUNT
    crewed(monkeypatch, tmp_path / "there", Shuffled())
    assert len(faults.SEEN) == COUNT
    assert len({*faults.SEEN}) == COUNT
    made(tmp_path / "here", COUNT)
    assert files(tmp_path / "there", *VERBS) == files(tmp_path / "here", *VERBS)


def test_either_engine_goes_on_where_the_other_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DiedError):
        crewed(monkeypatch, tmp_path, Shuffled(lives=2))
    made(tmp_path, COUNT)
    assert len({*faults.SEEN}) == len(faults.SEEN) == COUNT
    seen, told = len(faults.SEEN), len(tint.TOLD)
    crewed(monkeypatch, tmp_path, Shuffled(), measures=["colorfulness"])
    assert (len(faults.SEEN), len(tint.TOLD)) == (seen, told), "another measure asks and edits nothing"


def test_orders_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crew = Shuffled()
    crewed(monkeypatch, tmp_path, crew)
    assert 0 < crew.largest < 32 * 1000, "ids and places, no pictures"


def test_engine_and_pools_are_execution() -> None:
    assert {"engine", "ray"} <= Feedback.execution_fields()
