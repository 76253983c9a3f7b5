import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from pairwright import models, runtime
from pairwright.context import Context
from pairwright.diffusion import checkpoints, families, sampling, training
from pairwright.models import LORA_FILE, ModelRef
from pairwright.options import Train
from pairwright.store import Node, Store
from pairwright.train import TrainError, log_rows, train
from tests.miniatures.pairs import write_pairs
from tests.miniatures.sd15 import write_sd15

SMALL = {"steps": 5, "batch": 2, "micro_batch": 2, "dtype": "float32", "checkpoint_every": 2, "rollout": {"steps": 2, "refresh": 3}}
FAST = {"learning_rate": 1e-3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_sd15(tmp_path_factory.mktemp("sd15")))


class Killer:
    """A progress that ends the process's work at a given training step, as a signal would."""

    def __init__(self, after: int) -> None:
        self.after, self.training, self.said = after, False, list[str]()

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator["Killer"]:
        self.training = label.startswith("train")
        yield self

    def advance(self, by: int = 1, **facts: float | str) -> None:
        self.after -= self.training
        if self.after == 0 and self.training:
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        self.said.append(text)


def run(
    root: Path, base: str, *, killed: int = 0, stage1: Node | None = None, heard: list[str] | None = None, **settings: Any
) -> Node:
    store = Store(root)
    inputs = {"pairs": write_pairs(store), **({"stage1": stage1} if stage1 else {})}
    options = Train.model_validate({"objective": "sft", "start": base, "optimiser": FAST, **SMALL, **settings})
    progress: Any = Killer(killed)
    try:
        return train(options, Context(store, inputs, progress))
    finally:
        if heard is not None:
            heard += progress.said


def weights(node: Node, place: str = "adapter") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(node.path / place / LORA_FILE)
    return found


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def without_measurements(node: Node) -> list[dict[str, Any]]:
    measured = {"seconds", "pairs_per_second", "memory"}
    return [{name: value for name, value in row.items() if name not in measured} for row in log_rows(node)]


@pytest.mark.parametrize(
    ("settings", "killed"),
    [({"objective": "dro", "ema": 0.99, "caption_dropout": 0.2}, 5), ({"objective": "dpo"}, 3), ({"objective": "sft"}, 1)],
)
def test_a_killed_training_ends_with_the_very_same_weights(
    tmp_path: Path, base: str, settings: dict[str, Any], killed: int
) -> None:
    """DRO's is killed between two refreshes: its sampling policy is the one of three steps ago."""
    whole = run(tmp_path / "whole", base, **settings)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", base, killed=killed, **settings)
    log = next((tmp_path / "killed" / "store" / "train").glob("*/steps.jsonl"))
    assert len(log.read_text().splitlines()) == killed
    log.write_text(log.read_text() + '{"step": 99, "lo')
    resumed = run(tmp_path / "killed", base, **settings)
    assert resumed.fingerprint == whole.fingerprint
    assert equal(weights(resumed), weights(whole))
    assert without_measurements(resumed) == without_measurements(whole)
    assert [row["step"] for row in log_rows(resumed)] == [1, 2, 3, 4, 5]


def test_the_result_is_whole_and_says_what_it_is(tmp_path: Path, base: str) -> None:
    node = run(tmp_path, base, objective="dro", rollout={"steps": 2})
    assert node.complete
    assert node.summary["steps"] == 5
    assert node.summary["pairs"] == 6
    assert 0 <= node.summary["rollouts"] <= 1
    ref = models.of_node(node)
    assert ref == ModelRef(base, "sd15", (models.Layer("adapter", f"store:train/{node.fingerprint}/adapter"),))
    assert not list(node.path.rglob(".tmp-*"))
    assert not list(node.path.rglob("*.pt")) + list(node.path.rglob("*.bin")) + list(node.path.rglob("*.pkl"))


def test_every_checkpoint_stays_a_result(tmp_path: Path, base: str) -> None:
    node = run(tmp_path, base, steps=7)
    places = sorted((node.path / "checkpoints").iterdir())
    assert [place.name for place in places] == ["step-00000002", "step-00000004", "step-00000006", "step-00000007"]
    assert equal(weights(node, "checkpoints/step-00000007/adapter"), weights(node))
    assert not equal(weights(node, "checkpoints/step-00000002/adapter"), weights(node))
    assert models.of_node(node, "step-00000002").layers[0].file(Store(tmp_path)).is_file()


def test_two_states_can_be_gone_on_from_until_the_training_is_over(tmp_path: Path, base: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, base, steps=9, killed=7)
    (resume,) = (tmp_path / "store" / "train").glob("*/resume")
    assert sorted(place.name for place in resume.iterdir()) == ["step-00000004", "step-00000006"]
    node = run(tmp_path, base, steps=9)
    assert not (node.path / "resume").exists()
    assert not [name for name in node.record()["files"] if "resume" in name]


def test_a_state_is_kept_every_so_many_minutes_between_checkpoints(tmp_path: Path, base: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, base, steps=5, killed=5, checkpoint_every=100, resume_minutes=1e-9)
    (resume,) = (tmp_path / "store" / "train").glob("*/resume")
    assert sorted(place.name for place in resume.iterdir()) == ["step-00000003", "step-00000004"]
    assert not (resume.parent / "checkpoints").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "dro", "ema": 0.99},
        {"objective": "dro", "batch": 4, "rollout": {"steps": 2, "states": 2, "buffer": 6}},
        {"objective": "dpo", "optimiser": {"name": "adafactor"}},
    ],
    ids=["lagging", "replayed", "paired"],
)
def test_a_kill_after_any_step_changes_no_bit(tmp_path: Path, base: str, settings: dict[str, Any]) -> None:
    """Trap 9: resuming drops the sampling policy or the replayed states, or counts steps wrongly."""
    whole = run(tmp_path / "whole", base, **settings)
    for killed in (1, 2, 2, 2, 2):  # so it goes on after step 0, 1, 2, 3 and 4; replays reach back and the snapshot is of step 3
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", base, killed=killed, resume_minutes=1e-9, **settings)
    resumed = run(tmp_path / "killed", base, **settings)
    assert equal(weights(resumed), weights(whole))
    assert without_measurements(resumed) == without_measurements(whole)


def test_a_kill_between_the_last_checkpoint_and_the_end_trains_nothing_again(
    tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, base)
    monkeypatch.setattr(training, "steps", None)
    node = run(tmp_path, base)
    assert node.summary["steps"] == 5
    assert node.summary["seconds"] == pytest.approx(sum(row["seconds"] for row in log_rows(node)), abs=1e-3)
    assert equal(weights(node), weights(node, "checkpoints/step-00000005/adapter"))


@pytest.mark.parametrize("lost", ["adapter/" + LORA_FILE, "checkpoints/step-00000004/adapter/" + LORA_FILE, "steps.jsonl"])
def test_a_result_that_lost_a_file_is_made_whole_again(tmp_path: Path, base: str, lost: str) -> None:
    node = run(tmp_path, base)
    before = weights(node)
    (node.path / lost).unlink()
    healed = run(tmp_path, base)
    assert healed.complete
    assert (healed.path / lost).is_file()
    assert equal(weights(healed), before)
    assert len(log_rows(healed)) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_state_before_the_step_under_way(
    tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The signal comes in the fourth step, between its two micro-batches; nothing else would keep a state."""
    backward, calls = training.Trainer.backward, list[int]()

    def signalled(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 7:
            os.kill(os.getpid(), number)
        return backward(*given)

    settings: dict[str, Any] = {"micro_batch": 1, "checkpoint_every": 100}
    whole = run(tmp_path / "whole", base, **settings)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(training.Trainer, "backward", signalled)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", base, **settings)
    assert len(calls) == 7, "the step's other micro-batch is left out"
    (resume,) = (tmp_path / "stopped" / "store" / "train").glob("*/resume")
    assert [place.name for place in resume.iterdir()] == ["step-00000003"]
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    resumed = run(tmp_path / "stopped", base, **settings)
    assert len(calls) == 7 + 4
    assert equal(weights(resumed), weights(whole))
    assert without_measurements(resumed) == without_measurements(whole)


def test_a_finished_training_is_not_done_again(tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path, base, steps=1)
    monkeypatch.setattr(families, "load_base", None)
    assert run(tmp_path, base, steps=1, device="cpu", micro_batch=1) == first


def test_averaged_weights_are_the_result_where_they_are_on(tmp_path: Path, base: str) -> None:
    plain = run(tmp_path / "plain", base)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "averaged", base, ema=0.5, killed=5)
    (state,) = (tmp_path / "averaged" / "store" / "train").glob("*/resume/step-00000004")
    raw = {name: load_file(state / f"{name}.safetensors") for name in ("policy", "average")}
    averaged = run(tmp_path / "averaged", base, ema=0.5)
    kept = "checkpoints/step-00000004/adapter"

    def of(name: str) -> dict[str, torch.Tensor]:
        return {f"unet.{key}": value for key, value in raw[name].items()}

    assert not equal(weights(averaged), weights(plain))
    assert equal(of("policy"), weights(plain, kept)), "the average changes nothing in the training"
    assert equal(of("average"), weights(averaged, kept))


def test_stage_2_goes_on_from_the_averaged_weights(tmp_path: Path, base: str) -> None:
    stage1 = run(tmp_path, base, steps=4, ema=0.9, ema_every=2, ema_warmup=False)
    plain = run(tmp_path / "plain", base, steps=4)
    still = {"learning_rate": 1e-30, "weight_decay": 0.0}
    stage2 = run(tmp_path, base, objective="dpo", steps=1, start="stage1", stage1=stage1, optimiser=still)
    assert equal(weights(stage2), weights(stage1))
    assert not equal(weights(stage1), weights(plain))


def prediction(ref: ModelRef, store: Store) -> torch.Tensor:
    family = families.load(ref, store, dtype="float32", device=torch.device("cpu"))
    noise = sampling.initial_noise(family, 32, ["a"], 0)
    with torch.no_grad():
        return family.predict(noise, torch.tensor([500]), family.condition(["flower 1"]))


def test_stage_2_goes_on_with_stage_1s_adapter_and_is_measured_against_it(tmp_path: Path, base: str) -> None:
    stage1 = run(tmp_path, base, objective="sft", steps=4, lora={"rank": 2, "alpha": 4})
    stage2 = run(tmp_path, base, objective="dpo", steps=2, start="stage1", stage1=stage1)
    first = log_rows(stage2)[0]
    assert first["rewards/margins"] == 0.0
    assert first["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert first["policy_winner"] == first["reference_winner"]
    store = Store(tmp_path)
    bare, one, two = (prediction(ref, store) for ref in (ModelRef(base, "sd15"), models.of_node(stage1), models.of_node(stage2)))
    assert (one - bare).abs().max() > 1e-3
    assert (two - one).abs().max() > 1e-4
    assert models.of_node(stage2).base == base, "the adapter stands for the whole chain on the public base"
    against_base = run(tmp_path, base, objective="dpo", steps=1, start="stage1", reference=base, stage1=stage1)
    row = log_rows(against_base)[0]
    assert row["policy_winner"] == first["policy_winner"]
    assert row["reference_winner"] != first["reference_winner"]


def test_what_is_trained_and_measured_against_what_is_said(tmp_path: Path, base: str) -> None:
    said: list[str] = []
    stage1 = run(tmp_path, base, objective="dro", steps=1, heard=said)
    assert said[0] == "  trains a fresh adapter of rank 4 on the start; measured against the start"
    assert said[1].startswith("  the sampling policy lags (rollout.refresh = 3), so every loser is sampled")
    said.clear()
    more: dict[str, Any] = {"objective": "dpo", "steps": 1, "start": "stage1", "stage1": stage1, "heard": said}
    run(tmp_path, base, lora={"rank": 2}, **more)
    assert said[:2] == [
        "  trains the adapter that the start ends in; measured against the start",
        "  lora is not read: the adapter that is continued has its own rank",
    ]
    said.clear()
    run(tmp_path, base, reference="base", **more)
    assert said == ["  trains the adapter that the start ends in; measured against the base below the start"]
    said.clear()
    run(tmp_path, base, reference={"base": base, "layers": [str(stage1.path / "adapter")]}, **more)
    assert said == [f"  trains the adapter that the start ends in; measured against {base}, {stage1.path / 'adapter'}"]


def test_a_start_with_a_foreign_lora_is_measured_against_it_and_exported_with_it(tmp_path: Path, base: str) -> None:
    stage1 = run(tmp_path, base, steps=4)
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes((stage1.path / "adapter" / LORA_FILE).read_bytes())
    model = {"base": base, "layers": [f"{foreign}:0.5"]}
    node = run(tmp_path, base, objective="dpo", steps=2, start=model)
    first = log_rows(node)[0]
    assert first["rewards/margins"] == 0.0
    assert first["policy_winner"] != log_rows(run(tmp_path, base, objective="dpo", steps=1))[0]["policy_winner"]
    ranks = {value.shape[0] for key, value in weights(node).items() if ".lora_A." in key}
    assert ranks == {8}, "two adapters of rank 4 in one file"


def test_the_saved_adapter_gives_the_models_pictures_in_diffusers_own_pipeline(tmp_path: Path, base: str) -> None:
    stage1 = run(tmp_path, base, steps=3, lora={"rank": 2, "alpha": 6})
    node = run(tmp_path, base, objective="dpo", steps=2, start="stage1", stage1=stage1)
    family = families.load(models.of_node(node), Store(tmp_path), dtype="float32", device=torch.device("cpu"))
    noise = sampling.initial_noise(family, 32, ["a", "b"], 0)
    prompts = ["flower 1", "rose"]
    ours = sampling.sample(
        family, family.condition(prompts), family.condition([""]), noise, ["a", "b"], sampling.Settings(steps=4, guidance=3.0)
    )
    with runtime.quiet():
        pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 4, "guidance_scale": 3.0, "height": 32, "width": 32, "output_type": "latent"}
    bare = pipeline(prompts, latents=noise.clone(), **options).images
    pipeline.load_lora_weights(node.path / "adapter")
    theirs = pipeline(prompts, latents=noise.clone(), **options).images
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    assert (theirs - bare).abs().max() > 0.01


def test_only_what_the_objective_reads_is_in_the_fingerprint(tmp_path: Path, base: str) -> None:
    def fingerprint(**settings: Any) -> str:
        return run(tmp_path, base, steps=1, batch=1, **settings).fingerprint

    assert fingerprint(objective="sft", beta=1.0, margin=0.5) == fingerprint(objective="sft")
    assert fingerprint(objective="sft", micro_batch=1, checkpoint_activations=True) == fingerprint(objective="sft")
    assert fingerprint(objective="dpo", beta=1.0) != fingerprint(objective="dpo")
    assert fingerprint(objective="sft", seed=1) != fingerprint(objective="sft")


def test_the_node_says_from_what_it_was_made(tmp_path: Path, base: str) -> None:
    node = run(tmp_path, base, steps=1)
    record = json.loads((node.path / "node.json").read_text())
    assert record["meaning"]["start"]["base"].startswith("sha256:")
    assert record["inputs"] == [write_pairs(Store(tmp_path)).fingerprint]


def test_without_pairs_or_with_two_sets_there_is_nothing_to_train_on(tmp_path: Path, base: str) -> None:
    store = Store(tmp_path)
    options = Train.model_validate({"objective": "sft", "start": base})
    with pytest.raises(TrainError, match="none of its inputs made pairs"):
        train(options, Context(store, {}))
    two = {"one": write_pairs(store), "two": write_pairs(store, seed=1)}
    with pytest.raises(TrainError, match=r"several .*one, two"):
        train(options, Context(store, two))


def test_a_reference_on_another_base_is_measured_against(tmp_path: Path, base: str) -> None:
    other = write_sd15(tmp_path / "other", seed=1)
    own, foreign = (
        log_rows(run(tmp_path / "runs", base, objective="dpo", steps=1, reference=each))[0] for each in ("start", str(other))
    )
    assert own["policy_winner"] == own["reference_winner"] == foreign["policy_winner"]
    assert abs(foreign["reference_winner"] - own["reference_winner"]) > 1e-3


@pytest.mark.usefixtures("every_format")
def test_bfloat16_trains_float32_weights(tmp_path: Path, base: str) -> None:
    node = run(tmp_path, base, objective="dpo", steps=2, dtype="bfloat16", optimiser={"learning_rate": 2.56e-6})
    assert {value.dtype for value in weights(node).values()} == {torch.float32}
    first, second = log_rows(node)
    assert first["rewards/margins"] == 0.0, "policy and reference run with the same kernels, dtype and batch shape"
    assert second["rewards/margins"] != 0.0
