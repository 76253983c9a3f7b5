"""Full fine-tuning through the verb: interrupted, continued by a second stage, measured against other runs, used by others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from pairwright import models, options
from pairwright.context import Context
from pairwright.diffusion import families, sampling
from pairwright.models import ModelRef
from pairwright.store import Node, Store, write_json
from pairwright.train import log_rows, train
from tests.miniatures.pairs import write_pairs
from tests.miniatures.sd15 import write_sd15

SETTINGS = {
    "objective": "dpo",
    "method": "full",
    "steps": 4,
    "batch": 2,
    "micro_batch": 2,
    "checkpoint_every": 2,
    "dtype": "float32",
    "optimiser": {"learning_rate": 1e-3},
    "rollout": {"steps": 2, "refresh": 3},
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_sd15(tmp_path_factory.mktemp("sd15")))


class Killer:
    """A progress that ends the process's work at a given training step, as a signal would."""

    def __init__(self, after: int) -> None:
        self.after, self.training = after, False

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Killer]:
        self.training = label.startswith("train")
        yield self

    def advance(self, by: int = 1, **facts: float | str) -> None:
        self.after -= self.training
        if self.after == 0 and self.training:
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        """Nothing."""


def run(root: Path, base: str, *, killed: int = 0, inputs: dict[str, Node] | None = None, **settings: Any) -> Node:
    store = Store(root)
    chosen = options.Train.model_validate({"start": base, **SETTINGS, **settings})
    progress: Any = Killer(killed)
    return train(chosen, Context(store, {"pairs": write_pairs(store), **(inputs or {})}, progress))


def weights(node: Node, place: str = "weights") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(node.path / place / "unet" / "diffusion_pytorch_model.safetensors")
    return found


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def prediction(ref: ModelRef, store: Store) -> torch.Tensor:
    family = families.load(ref, store, dtype="float32", device=CPU)
    noise = sampling.initial_noise(family, 32, ["a"], 0)
    with torch.no_grad():
        return family.predict(noise, torch.tensor([500]), family.condition(["flower 1"]))


@pytest.mark.parametrize("settings", [{"objective": "dro", "ema": 0.9}, {"objective": "dpo"}])
def test_killed_it_ends_with_the_very_same_weights(tmp_path: Path, base: str, settings: dict[str, Any]) -> None:
    whole = run(tmp_path / "whole", base, **settings)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", base, killed=3, **settings)
    resumed = run(tmp_path / "killed", base, **settings)
    assert resumed.fingerprint == whole.fingerprint
    assert equal(weights(resumed), weights(whole))
    assert [row["loss"] for row in log_rows(resumed)] == [row["loss"] for row in log_rows(whole)]


def test_the_result_is_the_whole_network_on_its_public_base(tmp_path: Path, base: str) -> None:
    node = run(tmp_path, base)
    assert models.of_node(node) == ModelRef(base, "sd15", (models.Layer("weights", f"store:train/{node.fingerprint}/weights"),))
    before = UNet2DConditionModel.from_pretrained(base, subfolder="unet").state_dict()
    after = UNet2DConditionModel.from_pretrained(node.path / "weights", subfolder="unet").state_dict()
    assert {value.dtype for value in after.values()} == {torch.float32}
    assert all((value - before[name]).abs().max() > 0 for name, value in after.items()), "every tensor was trained"
    assert equal(weights(node, "checkpoints/step-00000004/weights"), weights(node))
    assert not equal(weights(node, "checkpoints/step-00000002/weights"), weights(node))


def test_the_first_gain_is_0_and_the_average_is_the_result(tmp_path: Path, base: str) -> None:
    plain, averaged = run(tmp_path, base), run(tmp_path, base, ema=0.5)
    first = log_rows(plain)[0]
    assert first["rewards/margins"] == 0.0
    assert first["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert log_rows(plain) != []
    assert not equal(weights(plain), weights(averaged))
    assert [row["loss"] for row in log_rows(plain)] == [row["loss"] for row in log_rows(averaged)]


def test_stage_2_goes_on_from_stage_1s_weights_and_is_measured_against_them(tmp_path: Path, base: str) -> None:
    stage1 = run(tmp_path, base, objective="sft")
    stage2 = run(tmp_path, base, start="stage1", inputs={"stage1": stage1})
    first = log_rows(stage2)[0]
    assert first["rewards/margins"] == 0.0
    store = Store(tmp_path)
    bare, one, two = (prediction(ref, store) for ref in (ModelRef(base, "sd15"), models.of_node(stage1), models.of_node(stage2)))
    assert (one - bare).abs().max() > 1e-3
    assert (two - one).abs().max() > 1e-4
    assert len(models.of_node(stage2).layers) == 1, "its weights stand for stage 1's too"
    against_base = log_rows(run(tmp_path, base, steps=1, start="stage1", reference="base", inputs={"stage1": stage1}))[0]
    assert against_base["policy_winner"] == first["policy_winner"]
    assert against_base["reference_winner"] != first["reference_winner"]


def test_another_runs_step_or_checkpoint_is_the_reference_by_name(tmp_path: Path, base: str) -> None:
    stage1 = run(tmp_path, base, objective="sft")
    write_json(tmp_path / "x" / "run.json", {"steps": {"stage1": {"verb": "train", "fingerprint": stage1.fingerprint}}})
    rows = {
        name: log_rows(run(tmp_path, base, steps=1, method=method, reference=name))[0]
        for method in ("lora", "full")
        for name in ("runs/x/stage1", "runs/x/stage1@step-00000002", "base")
    }
    assert len({row["policy_winner"] for row in rows.values()}) == 1
    assert len({row["reference_winner"] for row in rows.values()}) == 3


def test_a_lora_on_top_of_full_weights_is_a_chain_that_later_steps_read(tmp_path: Path, base: str) -> None:
    """Aligning on top of an aligned model: full weights, a LoRA on them, its second stage, and that one's result merged."""
    aligned = run(tmp_path, base, objective="sft")
    small: dict[str, Any] = {"method": "lora", "lora": {"rank": 2, "alpha": 2}}
    stage1 = run(tmp_path, base, objective="sft", start="aligned", inputs={"aligned": aligned}, **small)
    stage2 = run(tmp_path, base, start="stage1", inputs={"stage1": stage1}, **small)
    assert log_rows(stage2)[0]["rewards/margins"] == 0.0, "measured against the end of stage 1"
    chain = models.of_node(stage2)
    assert [layer.kind for layer in chain.layers] == ["weights", "adapter"]
    store = Store(tmp_path)
    with_both, below = prediction(chain, store), prediction(models.of_node(aligned), store)
    assert (with_both - below).abs().max() > 1e-3
    merged = run(tmp_path, base, steps=1, start="stage2", inputs={"stage2": stage2}, optimiser={"learning_rate": 1e-12})
    torch.testing.assert_close(prediction(models.of_node(merged), store), with_both, rtol=1e-4, atol=1e-5)


def test_a_folder_from_outside_is_a_start_like_any_other(tmp_path: Path, base: str) -> None:
    theirs = tmp_path / "dpo-unet" / "unet"
    network = UNet2DConditionModel.from_pretrained(write_sd15(tmp_path / "other", seed=1), subfolder="unet")
    network.save_pretrained(theirs)
    node = run(tmp_path, base, steps=1, start={"base": base, "layers": [str(theirs.parent)]}, method="lora")
    assert [layer.kind for layer in models.of_node(node).layers] == ["weights", "adapter"]
    assert log_rows(node)[0]["policy_winner"] != log_rows(run(tmp_path, base, steps=1, method="lora"))[0]["policy_winner"]
