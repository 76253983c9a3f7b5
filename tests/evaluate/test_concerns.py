"""What is said beside the numbers: leaks, a primary metric that chose the pairs, and scorers that were learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pairwright import evaluate, options, tables
from pairwright.context import Context
from pairwright.evaluate import concerns
from pairwright.evaluate.lineage import Ancestry, Lineage
from pairwright.models import Layer, ModelRef, trained_layer
from pairwright.store import Node, Store, write_json
from tests.test_evaluate import png


def write_training(store: Store, name: str, pairs: Node, start: ModelRef) -> ModelRef:
    """A finished training as the verb leaves it, its adapter being the bytes of its name."""
    node = store.node("train", {"name": name, "start": start.identity(store)}, [pairs.fingerprint])
    (node.path / "adapter").mkdir(parents=True)
    (node.path / "adapter" / "pytorch_lora_weights.safetensors").write_bytes(name.encode())
    made = ModelRef(start.base, start.family, (trained_layer(node, "adapter"),))
    write_json(node.path / "model.json", made.to_json())
    node.finish()
    return made


def write_pairs(store: Store, captions: list[str], meaning: dict[str, Any], inputs: tuple[str, ...] = ()) -> Node:
    node = store.node("curate", meaning, inputs)
    picture = tables.image_cell(png(0, 5), "x")
    row = {"winner": picture, "loser": picture, "mask": None, "winner_id": "w", "loser_id": "l", "lineage": "{}"}
    node.write(0, [{"id": str(number), "prompt": text, **row} for number, text in enumerate(captions)], tables.PAIRS)
    node.finish()
    return node


def write_pictures(store: Store, label: str, model: ModelRef, tint: float, prompts: int = 8) -> Node:
    node = store.node("pictures", {"label": label, "model": model.identity(store)})
    rows = [
        {
            "id": f"{label}-{prompt}-{index}",
            "image": tables.image_cell(png(prompt * 10 + index, tint + prompt), "x"),
            "caption": f"a flower with {prompt} petals",
            "prompt_id": f"p{prompt}",
            "category": "",
            "index": index,
            "width": 12,
            "height": 12,
            "provenance": "{}",
        }
        for prompt in range(prompts)
        for index in range(2)
    ]
    node.write(0, rows, tables.GENERATED)
    node.finish(pictures=len(rows))
    return node


CHOSEN = {"options": {"filters": [{"reward": {"name": "colorfulness", "options": {}}, "rule": "above_mean"}], "gap": None}}


@pytest.fixture
def base(tmp_path: Path) -> ModelRef:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    return ModelRef(str(tmp_path / "base"), "sd15")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def test_a_models_pictures_lead_back_to_the_pairs_of_every_stage(store: Store, base: ModelRef) -> None:
    one = write_pairs(store, ["a rose", "a tulip", "a rose"], CHOSEN)
    two = write_pairs(store, ["an iris"], {"relabel": {"reward": {"name": "imagereward"}}}, (one.fingerprint,))
    stage1 = write_training(store, "one", one, base)
    stage2 = write_training(store, "two", two, stage1)
    ancestry = Ancestry(store)
    assert ancestry.of(write_pictures(store, "base", base, 5)) == Lineage()
    assert ancestry.of(write_pictures(store, "stage 1", stage1, 6)) == Lineage(("a rose", "a tulip"), ("colorfulness",))
    found = ancestry.of(write_pictures(store, "stage 2", stage2, 7))
    assert set(found.captions) == {"a rose", "a tulip", "an iris"}
    assert set(found.rewards) == {"colorfulness", "imagereward"}


def test_a_copied_adapter_and_a_checkpoint_are_known_by_their_content(store: Store, base: ModelRef, tmp_path: Path) -> None:
    pairs = write_pairs(store, ["a rose"], CHOSEN)
    write_training(store, "one", pairs, base)
    training = next(node for node in store.nodes() if node.verb == "train")
    copy = tmp_path / "my_lora.safetensors"
    copy.write_bytes(b"one")
    ref = ModelRef(base.base, base.family, (Layer("adapter", str(copy), 0.7),))
    assert Ancestry(store).of(write_pictures(store, "copy", ref, 5)).captions == ("a rose",)
    folder = training.path / "checkpoints" / "step-00000100"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "pytorch_lora_weights.safetensors").write_bytes(b"earlier")
    earlier = ModelRef(base.base, base.family, (trained_layer(training, "checkpoints/step-00000100/adapter"),))
    write_json(folder / "model.json", earlier.to_json())
    assert Ancestry(store).of(write_pictures(store, "earlier", earlier, 5)).captions == ("a rose",)


def test_a_comparison_warns_of_leaks_and_of_a_primary_metric_that_chose_the_pairs(store: Store, base: ModelRef) -> None:
    captions = ["A flower with 3 petals!", "a flower with 4 red petals", "a house"]
    tuned = write_training(store, "one", write_pairs(store, captions, CHOSEN), base)
    labels = {"base": write_pictures(store, "base", base, 5), "tuned": write_pictures(store, "tuned", tuned, 40)}
    node = store.node("generate", {})
    write_json(node.path / "models.json", {label: each.fingerprint for label, each in labels.items()})
    node.finish()
    rewards = [options.Plugin(name="colorfulness"), options.Plugin(name="texture")]
    scores = evaluate.score(options.Score(rewards=rewards), Context(store, {"pictures": node}))

    def compared(**asked: Any) -> dict[str, Any]:
        result = evaluate.compare(options.Compare(resamples=500, **asked), Context(store, {"scores": scores}))
        found: dict[str, Any] = json.loads((result.path / "comparison.json").read_text())
        assert all(each in (result.path / "comparison.md").read_text() for each in found["warnings"])
        return found

    chose, leak = compared()["warnings"]
    assert chose.startswith("tuned: colorfulness chose the pairs and colorfulness is the primary metric")
    assert "trained with are among the 8 judged prompts: 1 exactly, 1 nearly, of 3 (for instance 'a flower with 3 petals')" in leak
    (only,) = compared(primary="texture")["warnings"]
    assert only == leak
    with pytest.raises(ValueError, match="aimed 'pickscore' is not among colorfulness, texture"):
        compared(aimed=("pickscore",))


def made(**rows: tuple[float, float, float]) -> dict[str, Any]:
    """A comparison of one model; texture is the one metric where less is better."""
    return {
        "primary": "reward",
        "metrics": [{"name": name, "higher_is_better": name != "noise"} for name in rows],
        "comparisons": [
            {"metric": name, "model": "tuned", "low": low, "difference": middle, "high": high}
            for name, (low, middle, high) in rows.items()
        ],
    }


def test_a_rise_where_training_aimed_and_a_fall_elsewhere_is_an_alarm() -> None:
    rows = {"reward": (0.1, 0.3, 0.5), "texture": (-9.0, -5.0, -1.0), "other": (-1.0, 0.2, 1.4), "noise": (0.5, 1.0, 1.5)}
    (alarm,) = concerns.alarms(made(**rows), {"tuned": {"reward"}})
    assert (alarm["rises"], alarm["falls"]) == (["reward"], ["texture", "noise"])
    assert (
        "reward (+0.300), which its training aimed at, got better while texture (-5.00) and noise (+1.00) got worse"
        in alarm["said"]
    )


@pytest.mark.parametrize(
    ("rows", "aimed"),
    [
        ({"reward": (-0.1, 0.3, 0.5), "texture": (-9.0, -5.0, -1.0)}, {"reward"}),
        ({"reward": (0.1, 0.3, 0.5), "texture": (-9.0, -5.0, 1.0)}, {"reward"}),
        ({"reward": (0.1, 0.3, 0.5), "texture": (1.0, 5.0, 9.0)}, {"reward"}),
        ({"reward": (0.1, 0.3, 0.5), "texture": (-9.0, -5.0, -1.0)}, {"reward", "texture"}),
        ({"reward": (0.1, 0.3, 0.5), "texture": (-9.0, -5.0, -1.0)}, set()),
        ({"reward": (None, 0.3, None), "texture": (None, -5.0, None)}, {"reward"}),
    ],
)
def test_anything_less_is_no_alarm(rows: dict[str, Any], aimed: set[str]) -> None:
    assert concerns.alarms(made(**rows), {"tuned": aimed}) == []
    assert concerns.alarms(made(**rows), {"base": {"reward"}}) == []


def test_columns_are_aimed_at_by_their_reward_or_by_name() -> None:
    lineages = {"base": Lineage(), "tuned": Lineage((), ("pickscore", "hpsv2"))}
    columns = {"pickscore": "pickscore", "hps": "hpsv2", "texture": "texture"}
    assert concerns.aimed_at(lineages, columns, ()) == {"base": set(), "tuned": {"pickscore", "hps"}}
    assert concerns.aimed_at(lineages, columns, ("texture",))["base"] == {"texture"}
