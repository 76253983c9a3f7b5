"""Several processes that train together give what one gives, to rounding."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pairwright import ranks
from pairwright.context import Context
from pairwright.models import LORA_FILE
from pairwright.options import Train
from pairwright.store import Node, Store
from pairwright.train import log_rows, train
from tests.diffusion.test_batches import batches
from tests.miniatures.pairs import write_pairs
from tests.miniatures.sd15 import write_sd15

# AdamW's epsilon is large, so that the first steps do not depend on the sign of gradients that are almost 0.
COMMON: dict[str, Any] = {
    "steps": 3,
    "batch": 5,
    "micro_batch": 2,
    "dtype": "float32",
    "device": "cpu",
    "margin": 1e-5,
    "optimiser": {"learning_rate": 1e-3, "epsilon": 1e-4},
}
TRAININGS: dict[str, dict[str, Any]] = {
    "dpo": {"objective": "dpo", "beta": 100.0},
    "dro": {"objective": "dro", "rollout": {"steps": 2}, "ema": 0.9, "caption_dropout": 0.2},
    "realalign": {"objective": "dro", "rollout": {"steps": 2, "refresh": 2}},
}
SCRIPT = """
import json, sys
from pathlib import Path
from pairwright import ranks
from pairwright.context import Context
from pairwright.options import Train
from pairwright.store import Store
from pairwright.train import follow, train

root, pairs, trainings = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
with ranks.together():
    if ranks.rank():
        follow()
    else:
        assert ranks.count() == 2
        store = Store(root)
        for options in trainings:
            train(Train.model_validate(options), Context(store, {"pairs": store.open("curate", pairs)}))
"""


def options(name: str, base: Path) -> dict[str, Any]:
    return {"start": str(base), **COMMON, **TRAININGS[name]}


def trained(store: Store, name: str, base: Path) -> Node:
    """The training of that name in this process."""
    return train(Train.model_validate(options(name, base)), Context(store, {"pairs": write_pairs(store)}))


@pytest.mark.slow
def test_two_processes_give_the_losses_and_the_weights_of_one(tmp_path: Path) -> None:
    """Launched by accelerate; five samples a step, so that their shares differ."""
    base = write_sd15(tmp_path / "base")
    two = Store(tmp_path / "two")
    pairs = write_pairs(two)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(port)]
    said = json.dumps([options(name, base) for name in TRAININGS])
    command = [sys.executable, *launch, str(script), str(two.root), pairs.fingerprint, said]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    for name in TRAININGS:
        alone = trained(Store(tmp_path / "one"), name, base)
        together = two.open("train", alone.fingerprint)
        assert together.complete
        for one, other in zip(log_rows(alone), log_rows(together), strict=True):
            for column in ("loss", "grad_norm", "policy_winner", "reference_winner", "rollouts", "losers", "forwards"):
                expected = one[column] if one[column] is None else pytest.approx(one[column], rel=1e-4, abs=1e-7)
                assert other[column] == expected, (name, column)
        told, weights = (load_file(node.path / "adapter" / LORA_FILE) for node in (alone, together))
        for key, value in told.items():
            torch.testing.assert_close(weights[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_the_shares_of_a_step_are_the_step(count: int) -> None:
    whole = batches(size=7, micro=2)
    parts = [replace(whole, rank=rank, ranks=count) for rank in range(count)]
    names = [name for part in parts for batch in part.of_step(3) for name in batch.occasions]
    assert names == [name for batch in whole.of_step(3) for name in batch.occasions]
    assert sum(part.share for part in parts) == 7
    assert max(part.share for part in parts) - min(part.share for part in parts) <= 1


def test_gradients_are_summed_in_parts_and_an_absent_one_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4)), torch.nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[2].grad = torch.arange(6.0).reshape(2, 3), torch.tensor([5.0])
    sizes: list[int] = []

    def total(values: torch.Tensor) -> torch.Tensor:
        sizes.append(len(values))
        return 2 * values

    monkeypatch.setattr(ranks, "count", lambda: 2)
    monkeypatch.setattr(ranks, "total", total)
    monkeypatch.setattr(ranks, "BUCKET_BYTES", 32)
    ranks.sum_gradients(parameters)
    assert sizes == [10, 1]
    assert [value.grad.tolist() for value in parameters if value.grad is not None] == [
        [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]], [0.0] * 4, [10.0],
    ]  # fmt: skip
