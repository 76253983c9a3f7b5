"""``pairwright train --calibrate``: what beta means on some pairs, with nothing of the run changed."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from pairwright import cli
from pairwright.context import Context
from pairwright.options import Train
from pairwright.store import Store, write_json
from pairwright.train import TrainError, calibrate, train
from pairwright.train.calibrate import PAIRS, TRIAL, Calibration
from tests.miniatures.pairs import write_pairs
from tests.miniatures.sd15 import write_sd15

SMALL: dict[str, Any] = {"batch": 8, "micro_batch": 64, "dtype": "float32"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a curation and one training."""
    folder = tmp_path_factory.mktemp("calibrate")
    base, store = str(write_sd15(folder / "base")), Store(folder / "runs")
    pairs = write_pairs(store)
    chosen = Train.model_validate({"objective": "sft", "start": base, "steps": 1, **SMALL})
    nodes = {"pairs": pairs, "stage1": train(chosen, Context(store, {"pairs": pairs}))}
    steps = {name: {"verb": node.verb, "fingerprint": node.fingerprint, "state": "complete"} for name, node in nodes.items()}
    write_json(store.root / "mine" / "run.json", {"name": "mine", "recipe": {"step": {}}, "steps": steps})
    return store.root


def test_the_start_is_an_input_as_in_training_and_nothing_of_the_run_changes(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and "encode" not in path.parts}
    words = ["train", "--calibrate", "--root", str(root), "--run", "mine", "--step", "stage2", "--from", "pairs"]
    words += ["--objective", "dpo", "--start", "stage1", "--beta", "500", "--batch", "8", "--micro-batch", "64"]
    cli.call([*words, "--dtype", "float32"])
    said = capsys.readouterr().out
    assert said.startswith(f"{PAIRS} pairs, timesteps as in training.")
    assert "beta = 500 multiplies a gain by 250. The loss is about straight in the gain up to 0.004 (" in said
    assert f"After {TRIAL} trial steps at learning rate 0.0001, thrown away, |gain| is" in said
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and "encode" not in path.parts} == before


def test_gains_grow_with_the_learning_rate_and_beta_only_scales_them(root: Path) -> None:
    store = Store(root)
    base = str(root.parent / "base")

    def measured(rate: float, beta: float) -> Calibration:
        said = {"objective": "dpo", "start": base, "beta": beta, "optimiser": {"learning_rate": rate, "warmup": 100}}
        return calibrate(Train.model_validate({**said, **SMALL}), Context(store, {"pairs": write_pairs(store)}))

    slow, fast = measured(1e-4, 1000.0), measured(1e-3, 1000.0)
    assert len(slow.gains) == PAIRS
    assert 0 < slow.median < fast.median
    assert slow.median == statistics.median(abs(gain) for gain in slow.gains)
    assert slow.reached(4.0) == pytest.approx(4 * slow.reached(1.0))
    assert slow.reached(1.0) == pytest.approx(TRIAL / (500 * slow.median))
    assert (slow.winner, slow.loser) == (fast.winner, fast.loser), "the reference does not move"
    still = measured(1e-30, 1000.0)
    assert still.median == 0
    assert "moved no gain at all" in still.said()


def test_an_objective_without_beta_is_refused(root: Path) -> None:
    chosen = Train.model_validate({"objective": "dro", "start": "tiny:base"})
    with pytest.raises(TrainError, match="objective 'dro' has no beta to calibrate; dpo, ipo and hinge have one"):
        calibrate(chosen, Context(Store(root), {}))
