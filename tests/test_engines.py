"""Engines: which there are, and what is said where one cannot be had."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pairwright import engines, recipe
from pairwright.engines import EngineError, on_ray
from pairwright.options import Curate, Pool, Ray
from pairwright.progress import SILENT
from pairwright.recipe import RecipeError


def test_the_local_engine_needs_nobody(tmp_path: Path) -> None:
    with engines.crew("local", Ray(), tmp_path, SILENT) as crew:
        assert crew is None


def test_without_ray_the_line_that_installs_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(EngineError, match=r"engine = \"ray\" needs Ray .*: pip install 'pairwright\[ray\]'"),
        engines.crew("ray", Ray(), tmp_path, SILENT),
    ):
        pass


def test_an_unknown_engine_and_pools_that_cannot_be_are_errors_of_the_recipe(tmp_path: Path) -> None:
    text = 'name = "x"\nextends = "tiny"\n[step.pairs]\n'
    for line, words in (
        ('engine = "rey"', r"there is no engine 'rey'\. Did you mean 'ray'\?"),
        ("ray.repaint = { least = 9, most = 2 }", "least = 9 is more than most = 2"),
        ("ray.repaint = { gpu = 1 }", r"unknown field\. Did you mean 'gpus'\?"),
        ("ray.repeat = {}", r"unknown field\. Did you mean 'repaint'\?"),
    ):
        path = tmp_path / "x.toml"
        path.write_text(text + line + "\n")
        with pytest.raises(RecipeError, match=words):
            recipe.load(path)


def test_every_field_of_cluster_and_pools_is_execution() -> None:
    assert {"engine", "ray"} <= Curate.execution_fields()
    assert Ray.execution_fields() == set(Ray.model_fields)
    assert Pool.execution_fields() == set(Pool.model_fields)


class Told:
    """A cluster of so many cores and GPUs, and whom the crew tells."""

    def __init__(self, **resources: float) -> None:
        self.resources = resources
        self.said: list[str] = []

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def say(self, text: str) -> None:
        self.said.append(text)


class Kind:
    def __init__(self, label: str, pool: str, accelerated: bool) -> None:
        self.label, self.pool, self.accelerated = label, pool, accelerated


STATIONS = [Kind("find regions", "saliency", True), Kind("repaint", "repaint", True), Kind("score the gap", "score", True)]


def asked(told: Told, options: Ray, stations: list[Kind] = STATIONS) -> dict[str, dict[str, float]]:
    return on_ray.Crew(told, options, Path("/"), told)._resources(stations)  # type: ignore[arg-type]


def test_one_gpu_holds_a_worker_of_each_kind_and_work_without_a_device_takes_none() -> None:
    told = Told(CPU=8.0, GPU=1.0)
    shares = asked(told, Ray())
    assert {name: each["num_gpus"] for name, each in shares.items()} == {
        "find regions": 0.25,
        "repaint": 0.5,
        "score the gap": 0.25,
    }
    assert not told.said
    assert asked(told, Ray(), [Kind("read", "read", False), Kind("migan", "repaint", False)])["migan"]["num_gpus"] == 0
    assert asked(Told(CPU=8.0), Ray())["repaint"]["num_gpus"] == 0
    given = Ray.model_validate({"repaint": {"gpus": 1}})
    assert asked(Told(CPU=8.0), given)["repaint"]["num_gpus"] == 1, "a cluster that starts its first GPU when asked"


def test_pools_that_find_no_room_now_are_said_with_the_field_that_changes_it() -> None:
    told = Told(CPU=2.0, GPU=1.0)
    asked(told, Ray.model_validate({"repaint": {"least": 3, "gpus": 1}}))
    workers = "  the least workers for find regions, repaint, score the gap take"
    assert told.said == [
        f"{workers} 5 CPU, and the cluster has 2: this waits until it grows, or give the pools less (ray.saliency.cpus)",
        f"{workers} 3.5 GPU, and the cluster has 1: this waits until it grows, or give the pools less (ray.saliency.gpus)",
    ]


def test_a_worker_that_does_not_see_the_store_says_so_and_does_nothing(tmp_path: Path) -> None:
    import pickle

    class Never:
        label, pool, accelerated = "repaint", "repaint", False

        def work(self, piece: object) -> None:
            raise AssertionError

    there = on_ray.Surroundings.here(tmp_path / "elsewhere")
    batch = {"number": [3], "content": [pickle.dumps(None)], "said": [pickle.dumps(None)]}
    (said,) = on_ray.Worker(Never(), there)(batch)["said"]  # type: ignore[arg-type]
    refusal = pickle.loads(said)
    assert isinstance(refusal, on_ray.Refusal)
    assert "elsewhere is not there: runs and store must lie on storage that all machines see under one path" in refusal.message
    again = on_ray.Worker(Never(), there)({**batch, "said": [said]})["said"]  # type: ignore[arg-type]
    assert again == [said], "the stations behind it pass it on"
