"""The recipes that ship say what the papers say, fit the memory that they name, and train on miniatures of their models."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from pairwright import hardware, models, plan, recipe, runtime
from pairwright.context import Context
from pairwright.diffusion import optimisers
from pairwright.hardware import Device
from pairwright.models import LORA_FILE
from pairwright.options import Curate, Generate, Train
from pairwright.places import Hub
from pairwright.plan import memory
from pairwright.plan.graph import Graph
from pairwright.store import Node, Store
from pairwright.train import log_rows, train
from tests.miniatures import sd15, sd35, sdxl
from tests.miniatures.pairs import write_pairs

SHIPPED = sorted(name for name in recipe.shipped() if not name.startswith("sweeps/"))
"""Sweeps are many runs: tests/test_sweeps.py."""
SD15, SDXL, SD35 = (
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "stabilityai/stable-diffusion-3.5-medium",
)
FOREIGN_RANK = 2
"""Of the miniature that stands for FlowGRPO's LoRA."""

# Section by section what is published; what is not named here is a field's default.
STAGE1 = {
    "objective": "dro",
    "steps": 1600,
    "batch": 256,
    "margin": 0.001,
    "caption_dropout": 0.2,
    "flips": True,
    "reference": "start",
    "resolution": None,
    "lora": {"rank": 4, "alpha": 4.0, "targets": []},
    "optimiser": {
        "name": "adamw", "learning_rate": 1e-4, "betas": [0.9, 0.999], "epsilon": 1e-8,
        "weight_decay": 0.01, "warmup": 0, "clip": 1.0,
    },
    "rollout": {"steps": 20, "refresh": 16, "states": 1, "buffer": 0, "savings": True},
    "ema": 0.9999,
    "ema_every": 1,
    "ema_warmup": True,
}  # fmt: skip
STAGE2 = {
    "objective": "dpo",
    "steps": 1000,
    "batch": 256,
    "beta": 2000.0,
    "loser_weight": 1.0,
    "sft_weight": 0.0,
    "caption_dropout": 0.0,
    "flips": True,
    "reference": "start",
    "optimiser": {**STAGE1["optimiser"], "learning_rate": 2.56e-6, "warmup": 125},  # type: ignore[dict-item]
    "ema": 0.0,
}
MOVING = {"ema": 0.9, "ema_every": 8, "ema_warmup": False}
STAGE1_SD35 = {
    **STAGE1,
    **MOVING,
    "steps": 3200,
    "caption_dropout": 0.0,
    "lora": {"rank": 32, "alpha": 64.0, "targets": []},
    "optimiser": {**STAGE1["optimiser"], "learning_rate": 2e-4, "weight_decay": 1e-4},  # type: ignore[dict-item]
    "rollout": {**STAGE1["rollout"], "steps": 10, "refresh": 1},  # type: ignore[dict-item]
}
STAGE2_SD35 = {
    **STAGE2,
    **MOVING,
    "steps": 500,
    "beta": 100.0,
    "optimiser": {**STAGE2["optimiser"], "warmup": 0, "weight_decay": 1e-4},  # type: ignore[dict-item]
}
FULL = {
    **STAGE2,
    "method": "full",
    "steps": 2000,
    "batch": 2048,
    "beta": 5000.0,
    "optimiser": {**STAGE2["optimiser"], "learning_rate": 2.05e-5, "warmup": 500},  # type: ignore[dict-item]
}
LORA_SDXL = {
    **FULL,
    "method": "lora",
    "batch": 256,
    "lora": {"rank": 8, "alpha": 8.0, "targets": []},
    "optimiser": {**STAGE2["optimiser"], "learning_rate": 1e-5, "warmup": 0},  # type: ignore[dict-item]
}
PUBLISHED: list[tuple[str, str, Mapping[str, Any]]] = [
    ("realalign-sd15", "stage1", STAGE1),
    ("realalign-sd15", "stage2", STAGE2),
    ("dro-sd15", "stage1", {**STAGE1, "rollout": {**STAGE1["rollout"], "refresh": 1}}),  # type: ignore[dict-item]
    ("realalign-sd35", "stage1", STAGE1_SD35),
    ("realalign-sd35", "stage2", STAGE2_SD35),
    ("realalign/table3-sft", "stage1", {**STAGE1, "objective": "sft"}),
    ("realalign/table3-stage1", "stage1", STAGE1),
    ("realalign/table3-stage2", "stage2", {**STAGE2, "lora": STAGE1["lora"]}),
    ("realalign/table3", "sft", {**STAGE1, "objective": "sft"}),
    ("realalign/table3", "stage2_alone", {**STAGE2, "lora": STAGE1["lora"]}),
    ("rpo/table1-sd15-dpo", "aligned", FULL),
    ("rpo/table1-sd15-rpo", "aligned", FULL),
    ("rpo/table1-sdxl-dpo", "aligned", LORA_SDXL),
    ("rpo/table1-sdxl-rpo", "aligned", LORA_SDXL),
    ("rpo/original-dpo-sdxl", "aligned", {**FULL, "optimiser": {**FULL["optimiser"], "name": "adafactor"}}),  # type: ignore[dict-item]
]


def steps(name: str) -> dict[str, Any]:
    """The options of a shipped recipe's steps."""
    (found,) = recipe.load(name)
    return {step.name: step.options for step in found.steps}


@pytest.mark.parametrize(("name", "step", "said"), PUBLISHED, ids=[f"{name}-{step}" for name, step, _ in PUBLISHED])
def test_a_training_is_as_published(name: str, step: str, said: Mapping[str, Any]) -> None:
    chosen = steps(name)[step]
    # Read as written: the fingerprinted part leaves out what an objective does not read.
    written = chosen.model_dump(mode="json")
    written["rollout"] = {field: value for field, value in written["rollout"].items() if field != "at_once"}
    read = chosen.meaning()
    for field, value in said.items():
        if field in read:
            assert written[field] == value, field


def test_every_row_of_the_tables_has_a_recipe() -> None:
    rows = {
        "realalign/table1-sd15", "realalign/table1-sd35", "realalign/on-dpo-sd15", "realalign/on-flowgrpo-sd35",
        "realalign/table2-hpdv3", "realalign/table2-pickapic", "realalign/table2-civitai",
        "realalign/table3-sft", "realalign/table3-stage1", "realalign/table3-stage2", "realalign/table3-both",
        "realalign/table4-sd15-inpainting", "realalign/table4-sd35-inpainting", "realalign/table4-sd15-text2image",
        "realalign/table6-none", "realalign/table6-colour", "realalign/table6-gap", "realalign/table6-all",
        *(f"rpo/table1-{family}-{row}" for family in ("sd15", "sdxl") for row in ("dpo", "imagereward", "rpo", "both")),
    }  # fmt: skip
    assert rows <= set(SHIPPED)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_rows_of_the_second_paper_differ_in_what_they_say(family: str) -> None:
    rows = {row: steps(f"rpo/table1-{family}-{row}") for row in ("dpo", "imagereward", "rpo", "both")}
    base = {"sd15": SD15, "sdxl": SDXL}[family]
    published = {"sd15": "mhdang/dpo-sd1.5-text2image-v1", "sdxl": "mhdang/dpo-sdxl-text2image-v1"}[family]
    for row, chosen in rows.items():
        assert chosen["pairs"].source.options["limit"] == 100_000
        assert (chosen["pairs"].relabel is not None) == (row == "imagereward")
        assert chosen["aligned"].start.base == base
        assert chosen["aligned"].start.layers == ((published,) if row in {"rpo", "both"} else ())
        assert chosen["aligned"].reference == "start"
        assert set(chosen["pictures"].models) >= {"Diffusion-DPO", "aligned"}
    inputs = {
        row: next(step.inputs for step in recipe.load(f"rpo/table1-{family}-{row}")[0].steps if step.name == "aligned")
        for row in rows
    }
    assert inputs == {"dpo": ("pairs",), "imagereward": ("pairs",), "rpo": ("rich",), "both": ("pairs", "rich")}
    assert rows["both"]["aligned"].mix == {"pairs": 0.5, "rich": 0.5}
    rich = rows["rpo"]["rich"]
    assert (rich.side, rich.critic.name, rich.instructor.name) == ("winner", "llava_critic", "qwen2_5_vl")
    assert (rich.editor.name, rich.reward.name, rich.flips) == ("controlnet", "imagereward", True)
    assert rich.editor.options.get("model", SD15) == base, "pairs are edited by a model of the family that is trained"


@pytest.mark.parametrize("name", [each for each in SHIPPED if each.startswith("realalign")])
def test_curation_is_as_published_but_for_what_a_row_changes(name: str) -> None:
    chosen = steps(name)["pairs"]
    assert isinstance(chosen, Curate)
    changed = name.rpartition("/")[2].partition("-")[2] if "/table" in name else ""
    skipped = name.rpartition("/")[2] in {"table2-pickapic", "table2-civitai", "table6-none"}
    assert [(each.reward.name, each.rule) for each in chosen.filters] == ([] if skipped else [("colorfulness", "above_mean")])
    if changed in {"none", "colour"}:
        assert chosen.gap is None
    else:
        assert chosen.gap is not None
        assert (chosen.gap.reward.name, chosen.gap.at_least) == ("pickscore", 0.52)
    assert chosen.keep is not None
    assert chosen.keep.reward.name == ("chance" if changed in {"none", "colour", "gap"} else "pickscore")
    assert (chosen.keep.top, chosen.composite, chosen.eager) == (512, True, False)
    assert chosen.resolution == (1024 if "sdxl" in name else 512)
    assert (chosen.mask.threshold, chosen.mask.dilate, chosen.mask.feather) == (0.5, 0, 0.0)
    published = {"model": "stable-diffusion-v1-5/stable-diffusion-inpainting", "steps": 50, "guidance": 7.5, "strength": 1.0}
    painters = {
        "sd35-inpainting": ("inpaint_sd35", {"guidance": 7.0, "strength": 1.0}),
        "pixart-inpainting": ("inpaint_pixart", {"guidance": 4.5, "strength": 1.0}),
        "sd15-text2image": ("text2image", {"model": SD15, "steps": 50, "guidance": 7.5}),
    }
    assert (chosen.perturbation.name, chosen.perturbation.options) == painters.get(changed, ("inpaint", published))
    assert (chosen.saliency is None) == (changed == "sd15-text2image")


def test_winners_are_the_sources_that_the_rows_name() -> None:
    rows = {"table1-sd15": "hpdv3", "table1-sd35": "hpdv3", "table2-hpdv3": "hpdv3", "table2-pickapic": "pickapic"}
    rows |= {"table2-civitai": "civitai_top", "table3-stage2": "hpdv3", "table6-none": "hpdv3"}
    assert {row: steps(f"realalign/{row}")["pairs"].source.name for row in rows} == rows


@pytest.mark.parametrize("name", [each for each in SHIPPED if "tiny" not in each])
def test_pictures_are_made_as_published(name: str) -> None:
    chosen = steps(name)["pictures"]
    assert isinstance(chosen, Generate)
    family = {SD15: "sd15", SDXL: "sdxl", SD35: "sd35"}[next(iter(chosen.models.values())).base]
    expected = {"sd15": (512, 50, 7.5), "sdxl": (1024, 50, 5.0), "sd35": (512, 40, 4.5)}[family]
    assert (chosen.resolution, chosen.steps, chosen.guidance) == expected
    assert chosen.per_prompt == 5
    assert {each.base for each in chosen.models.values() if "/" in each.base} == {next(iter(chosen.models.values())).base}


@pytest.mark.parametrize(("name", "step"), [("realalign/table1-sd15", 800), ("realalign/table1-sd35", 450)])
def test_the_evaluated_checkpoint_is_one_that_is_kept(name: str, step: int) -> None:
    chosen = steps(name)
    assert chosen["pictures"].models["stage 1 + 2"].base == f"stage2@step-{step:08d}"
    assert step % chosen["stage2"].checkpoint_every == 0


@pytest.mark.parametrize("name", [each for each in SHIPPED if each.endswith("gb")])
def test_a_variant_for_a_card_has_the_results_of_its_recipe(name: str) -> None:
    """The effective batch and everything else that counts is the same, whatever fits at once."""
    whole = steps(name.rpartition("-")[0])
    for step, chosen in steps(name).items():
        assert chosen.meaning() == whole[step].meaning()
        assert not isinstance(chosen, Train) or (chosen.batch, type(chosen.micro_batch)) == (256, int)


@pytest.fixture
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hardware, "throughput", lambda device, dtype: 71e12)
    monkeypatch.setattr(runtime, "device", lambda name="auto": torch.device("cuda", 0))


@pytest.mark.usefixtures("_no_hub")
@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_is_planned_and_its_trainings_fit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gigabytes = {"48gb": 48, "sdxl": 80 if "original" in name else 24}.get(name.rpartition("-")[2], 24)
    device = Device("cuda:0", "A GPU", int(gigabytes * 1e9), int(gigabytes * 1e9))
    monkeypatch.setattr(hardware, "describe", lambda _: device)
    for found in recipe.load(name):
        assert f"Plan of {found.name}" in plan.plan(found, tmp_path)
        graph = Graph(found, tmp_path, Hub())
        trainings = [step for step in found.steps if isinstance(step.options, Train)]
        assert trainings
        for step in trainings:
            needed = memory.of_step(step, graph, device)
            if "tiny" in name:  # its models are only here once they are drawn or trained
                continue
            assert needed is not None
            assert needed.fits, f"{step.name}: {memory.said(needed)}"


@dataclass(frozen=True)
class World:
    """Miniatures of what recipes name, and a store that all of them share: equal trainings are done once."""

    store: Store
    pairs: Node
    edits: Node
    """What stands for the pairs of a second step."""
    known: dict[str, str]
    """Miniature by hub id."""

    def model(self, said: Any) -> Any:
        """A model as a recipe names it, by miniatures; steps and words stay."""
        if isinstance(said, str):
            return said
        replaced = {"base": self.known.get(said["base"], said["base"]), "layers": [self.known[each] for each in said["layers"]]}
        assert "/" not in said["base"] or said["base"] in self.known, f"{said['base']} has no miniature in this test"
        return {**said, **replaced}

    def trained(self, name: str) -> dict[str, Node]:
        """Two steps of every training of a recipe, on two samples; everything else is the recipe's own."""
        (found,) = recipe.load(name)
        nodes: dict[str, Node] = {}
        for step in found.steps:
            if not isinstance(step.options, Train):
                continue
            said = step.options.model_dump(mode="json")
            small = {"steps": 2, "batch": 2, "micro_batch": 2, "checkpoint_every": 2, "device": "cpu"}
            small |= {"ema_every": min(step.options.ema_every, 2)}
            swapped = {"start": self.model(said["start"]), "reference": self.model(said["reference"])}
            sets = {"pairs": self.pairs} | ({name: self.edits for name in step.options.mix if name != "pairs"})
            inputs = {**sets, **{each: nodes[each] for each in step.inputs if each in nodes}}
            options = Train.model_validate({**said, **small, **swapped})
            nodes[step.name] = train(options, Context(self.store, inputs))
        return nodes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("miniatures")
    known = {
        SD15: sd15.write_sd15(folder / "sd15"),
        SDXL: sdxl.write_sdxl(folder / "sdxl"),
        SD35: sd35.write_sd35(folder / "sd35"),
        # A published network is a repository with the network alone.
        "mhdang/dpo-sd1.5-text2image-v1": sd15.write_sd15(folder / "aligned15", seed=1) / "unet",
        "mhdang/dpo-sdxl-text2image-v1": sdxl.write_sdxl(folder / "alignedxl", seed=1) / "unet",
        "jieliu/SD3.5M-FlowGRPO-PickScore": write_peft(folder / "flowgrpo"),
    }
    known["tiny:base"] = known[SD15]
    store = Store(folder / "runs")
    return World(store, write_pairs(store, 4), write_pairs(store, 2, seed=1), {name: str(path) for name, path in known.items()})


def write_peft(folder: Path) -> Path:
    """A LoRA for the miniature of SD-3.5-M as peft writes it."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"base_model.model.transformer_blocks.{block}.attn.to_q.lora_{half}.weight": torch.randn(shape, generator=generator)
        for block in range(3)
        for half, shape in (("A", (FOREIGN_RANK, 32)), ("B", (32, FOREIGN_RANK)))
    }
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"r": FOREIGN_RANK, "lora_alpha": 2 * FOREIGN_RANK}))
    return folder


@pytest.mark.parametrize("name", SHIPPED)
def test_every_training_takes_two_steps_on_a_miniature_of_its_model(name: str, world: World) -> None:
    options, nodes = steps(name), world.trained(name)
    assert nodes
    for step, node in nodes.items():
        chosen, rows = options[step], log_rows(node)
        assert [row["step"] for row in rows] == [1, 2]
        assert not any(row["skipped"] for row in rows)
        assert rows[0]["grad_norm"] > 0
        assert rows[1]["grad_norm"] > 0 or (chosen.objective == "dro" and rows[1]["loss"] == 0), "no sample's gate is open"
        assert [row["lr"] for row in rows] == [optimisers.learning_rate(chosen.optimiser, number) for number in (0, 1)]
        if chosen.objective != "sft":
            assert rows[0]["rewards/chosen"] == 0, "training starts at what it is measured against"
            start = {"dro": chosen.margin, "dpo": math.log(2)}[chosen.objective]
            assert rows[0]["loss"] == pytest.approx(start, rel=1e-6)
        assert made(node, world) == expected(options, chosen)


def made(node: Node, world: World) -> tuple[list[str], set[int]]:
    """The kinds of layers of what a training made, and the ranks of its LoRA."""
    ref = models.of_node(node)
    assert ref.base in world.known.values()
    adapter = node.path / "adapter" / LORA_FILE
    tensors = load_file(adapter) if adapter.exists() else {}
    return [layer.kind for layer in ref.layers], {len(value) for key, value in tensors.items() if ".lora_A." in key}


def expected(options: Mapping[str, Any], chosen: Train) -> tuple[list[str], set[int]]:
    """The same, out of the recipe: the chain that a training goes on with, below it the weights that its start names."""
    start = chosen.start
    if chosen.method == "full":
        return ["weights"], set()
    if start.base in options:
        return expected(options, options[start.base])
    if any("FlowGRPO" in each for each in start.layers):
        return ["adapter"], {chosen.lora.rank, chosen.lora.rank + FOREIGN_RANK}
    return ["weights"] * len(start.layers) + ["adapter"], {chosen.lora.rank}
