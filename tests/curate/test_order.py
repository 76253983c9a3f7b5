"""Cheap filters are asked first where the same pictures are kept whatever comes first, and nowhere else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairwright.context import Context
from pairwright.curate import curate
from pairwright.curate.choosing import Choice
from pairwright.curate.order import cheap_first, work
from pairwright.options import Curate, Filter, Plugin
from pairwright.progress import _Silent
from pairwright.selection import Funnel
from pairwright.store import Store

HPS: dict[str, Any] = {"reward": "hpsv3", "rule": "at_least", "value": 0.0}
PICK: dict[str, Any] = {"reward": "pickscore", "rule": "at_least", "value": 0.0}
SHARP: dict[str, Any] = {"reward": "texture", "rule": "at_least", "value": 0.0}
COLOUR: dict[str, Any] = {"reward": "colorfulness", "rule": "above_mean"}
BEST: dict[str, Any] = {"reward": "pickscore", "rule": "top", "value": 20}


class Told(_Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def filters(*rules: dict[str, Any]) -> list[Filter]:
    return [Filter.model_validate(each) for each in rules]


def test_thresholds_go_by_their_networks_work_and_no_weights_come_first() -> None:
    assert cheap_first(filters(HPS, PICK, SHARP)) == filters(SHARP, PICK, HPS)
    assert work(Plugin(name="texture")) == 0 < work(Plugin(name="pickscore")) < work(Plugin(name="hpsv3")) < math.inf


def test_nothing_moves_past_a_rule_that_looks_at_the_whole_set() -> None:
    assert cheap_first(filters(PICK, COLOUR, HPS, SHARP, BEST, SHARP)) == filters(PICK, COLOUR, SHARP, HPS, BEST, SHARP)
    assert cheap_first(filters(BEST, COLOUR)) == filters(BEST, COLOUR)


def test_equal_work_keeps_the_recipes_order() -> None:
    dull = {"reward": "colorfulness", "rule": "at_least", "value": 1.0}
    assert cheap_first(filters(SHARP, dull)) == filters(SHARP, dull)
    assert cheap_first(filters(dull, SHARP)) == filters(dull, SHARP)


def test_a_judge_behind_a_server_comes_last(tmp_path: Path) -> None:
    assert work(Plugin(name="openai", options={"served_model": "m"})) == math.inf


def test_weights_that_the_catalogue_does_not_know_count_by_their_size(tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(bytes(4_000_000))
    assert work(Plugin(name="pickscore", options={"model": str(tmp_path / "mine.safetensors")})) == 360e6
    assert work(Plugin(name="pickscore", options={"model": str(tmp_path / "absent.safetensors")})) == math.inf


@pytest.mark.parametrize("seed", range(20))
def test_moved_filters_keep_the_same_pictures_in_the_same_order_and_the_funnel_adds_up(seed: int) -> None:
    generator = np.random.default_rng(seed)
    names = [f"{each:03d}" for each in generator.permutation(300)]
    scores = {
        reward: dict(zip(names, generator.standard_normal(300).tolist(), strict=True))
        for reward in ("hpsv3", "pickscore", "texture", "colorfulness")
    }
    asked: dict[bool, list[str]] = {}
    kept: dict[bool, list[str]] = {}
    for eager in (False, True):
        options = Curate.model_validate(
            {"source": {"name": "imagefolder", "path": "x"}, "filters": [COLOUR, HPS, SHARP, BEST, HPS, PICK], "eager": eager}
        )
        funnel = Funnel()
        choice = Choice(options, names, lambda ids, rule: {each: scores[rule.reward.name][each] for each in ids}, funnel)
        kept[eager] = choice.filtered()
        asked[eager] = [each["step"] for each in funnel.steps]
        assert len(funnel.rejected) + len(kept[eager]) == 300
    assert kept[False] == kept[True] != []
    assert asked[True] == ["colorfulness", "hpsv3", "texture", "pickscore", "hpsv3", "pickscore"]
    assert asked[False] == ["colorfulness", "texture", "hpsv3", "pickscore", "pickscore", "hpsv3"]


def test_a_curation_says_that_it_asks_in_another_order_and_its_funnel_is_in_that_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairwright.curate.order.work", lambda reward: float(reward.name == "tests.fakes.red"))
    options = {
        "source": {"name": "tests.fakes.colours", "count": 40},
        "resolution": 32,
        "saliency": "tests.fakes.middle",
        "perturbation": "tests.fakes.dye",
        "filters": [
            {"reward": "tests.fakes.red", "rule": "at_least", "value": 0.1},
            {"reward": "colorfulness", "rule": "at_least", "value": 5.0},
        ],
    }
    told = Told()
    lazy = curate(Curate.model_validate(options), Context(Store(tmp_path), progress=told))
    eager = curate(Curate.model_validate({**options, "eager": True}), Context(Store(tmp_path)))
    assert [each["step"] for each in lazy.summary["funnel"]][1:3] == ["colorfulness", "tests.fakes.red"]
    assert [each["step"] for each in eager.summary["funnel"]][1:3] == ["tests.fakes.red", "colorfulness"]
    assert told.lines == ["  cheap filters first, which keeps the same pictures: colorfulness, tests.fakes.red"]
    assert lazy.read(columns=["id"]).equals(eager.read(columns=["id"]))
