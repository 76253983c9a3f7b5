"""Judged runs are entered before they begin, and what they scored is kept."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import judging, provenance
from benchmarks.contrasts import Numbers
from benchmarks.judging import Benchmark, Judged, JudgedError
from benchmarks.learning import __main__ as learning
from pairwright import recipe, run

PACK = {"base": "sha256:1"}
PLACES: Numbers = {("a red rose", 0): 0.1 + 0.2, ("a red rose", 1): -1.0, ("a daisy, 'white'", 0): 3.5}


@pytest.fixture(scope="module")
def recipes() -> list[recipe.Recipe]:
    return learning.load("learning", ["pairs.source.path = '/photos'", "pictures.prompts = '/prompts.jsonl'"])


@pytest.fixture
def benchmark_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    monkeypatch.setattr(provenance, "provenance", lambda: {"pack": PACK, "machine": "m", "date": "today"})
    protocol = tmp_path / "PROTOCOL.md"
    protocol.write_text("# Runs\n\n| date | run | what | state |\n|---|---|---|---|\n")
    return Benchmark("python -m benchmarks.x", protocol, tmp_path / "runs", tmp_path / "judged")


def rows(protocol: Path) -> list[tuple[str, str]]:
    found = [line.split("|") for line in protocol.read_text().splitlines()[4:]]
    return [(row[2].strip(), row[4].strip()) for row in found]


def test_a_run_is_entered_once_and_its_line_says_when_it_is_done(benchmark_of: Benchmark, recipes: list[recipe.Recipe]):
    protocol = benchmark_of.protocol
    for state in ("begun", "begun", "done", "begun"):
        judging.enter(protocol, recipes[0], PACK, state)
    judging.enter(protocol, recipes[1], PACK)
    judging.enter(protocol, recipes[0], {"base": "sha256:2"})
    assert rows(protocol) == [("learning-seed=0", "done"), ("learning-seed=1", "begun"), ("learning-seed=0", "begun")]


def test_a_run_is_its_meaning_and_its_weights_wherever_things_lie_and_whoever_computes(recipes: list[recipe.Recipe]):
    first = judging.digest(recipes[:1], PACK)

    def of(*changes: str) -> str:
        paths = ["pairs.source.path = '/elsewhere'", "pictures.prompts = '/other.jsonl'"]
        return judging.digest(learning.load("learning", [*paths, *changes])[:1], PACK)

    assert of("pairs.engine = 'ray'", "pictures.batch_size = 7", "dro.micro_batch = 16") == first
    changed = [of("dpo.beta = 501"), of("pictures.steps = 19"), of("pairs.crops = 1"), of("scores.rewards = ['colorfulness']")]
    assert len({first, *changed, judging.digest(recipes[:1], {"base": "sha256:2"}), judging.digest(recipes[1:2], PACK)}) == 7


def test_scores_come_back_as_they_were_with_what_was_said(tmp_path: Path):
    judged = Judged({"base": {"imagereward": PLACES, "classifier": {("p", 0): 1e-9}}}, {"machine": "m"})
    judging.write(tmp_path / "scores.parquet", judged)
    assert judging.read(tmp_path / "scores.parquet") == judged


def test_what_is_no_table_of_scores_says_so(tmp_path: Path):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    pq.write_table(pa.table({"arm": ["base"]}), tmp_path / "other.parquet")
    for name in ("broken", "other"):
        with pytest.raises(JudgedError, match=f"{name}.parquet is no table of judged scores"):
            judging.read(tmp_path / f"{name}.parquet")


def test_seeds_run_apart_and_what_is_kept_is_not_run_again(
    benchmark_of: Benchmark, recipes: list[recipe.Recipe], monkeypatch: pytest.MonkeyPatch
):
    ran: list[str] = []

    def running(each: recipe.Recipe, root: Path, **_: object) -> None:
        assert rows(benchmark_of.protocol)[-1] == (each.name, "begun"), "a run is entered before it begins"
        ran.append(each.name)

    monkeypatch.setattr(run, "run", running)
    monkeypatch.setattr(run, "result", lambda folder, step: None)
    monkeypatch.setattr(judging, "read_scored", lambda context: None)
    monkeypatch.setattr(judging, "numbers", lambda scored: {"base": {"imagereward": PLACES}})

    found = benchmark_of.run(recipes, seeds=[1])
    assert ran == ["learning-seed=1"]
    assert judging.missing(found, recipes) == [0, 2]
    assert judging.missing(benchmark_of.run(recipes, seeds=[]), recipes) == [0, 2]
    found = benchmark_of.run(recipes)
    assert ran == ["learning-seed=1", "learning-seed=0", "learning-seed=2"]
    assert judging.missing(found, recipes) == []
    assert found[2].numbers == {"base": {"imagereward": PLACES}}
    assert found[2].said["provenance"]["machine"] == "m"
    assert [state for _, state in rows(benchmark_of.protocol)] == ["done"] * 3


def test_scores_of_another_pack_are_not_taken(
    benchmark_of: Benchmark, recipes: list[recipe.Recipe], monkeypatch: pytest.MonkeyPatch
):
    judging.write(benchmark_of.file(recipes[0], {"base": "sha256:2"}), Judged({}))
    assert judging.missing(benchmark_of.run(recipes, seeds=[]), recipes) == [0, 1, 2]
