"""The editors, critics and instructors of the catalogue, counted again; and what a plan says of an editor's work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn
from transformers import (
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    MllamaConfig,
    MllamaForConditionalGeneration,
)

from pairwright import hardware, options, places
from pairwright.catalogue import KNOWN
from pairwright.options import Plugin
from pairwright.plan import amounts, costs, memory, networks
from pairwright.plan.graph import Graph
from pairwright.plan.needs import needs
from pairwright.recipe.steps import Recipe, Step
from tests.miniatures.editors import write_controlnet, write_pix2pix
from tests.miniatures.sd15 import write_sd15
from tests.test_catalogue import sdxl

TILE = KNOWN["lllyasviel/control_v11f1e_sd15_tile"]
TILE_XL = KNOWN["xinsir/controlnet-tile-sdxl-1.0"]
BASE = KNOWN["stable-diffusion-v1-5/stable-diffusion-v1-5"]


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


@pytest.mark.parametrize(("xl", "known", "side"), [(False, TILE, 512), (True, TILE_XL, 1024)], ids=["sd15", "sdxl"])
def test_controlnets_are_as_listed(xl: bool, known: Any, side: int, tmp_path: Path) -> None:
    with torch.device("meta"):
        unet = sdxl() if xl else UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        network = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
    (tmp_path / "config.json").write_text(network.to_json_string())
    found = networks.controlnet(tmp_path, side)
    assert found is not None
    assert parameters(network) == found.total == known.total
    assert found.flop["controlnet"] == pytest.approx(known.flop["controlnet"], rel=1e-3)


def test_instruct_pix2pix_reads_eight_channels() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, in_channels=8)
    assert parameters(unet) == KNOWN["timbrooks/instruct-pix2pix"].parameters["unet"]


def test_critics_and_instructors_are_as_listed() -> None:
    qwen = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
    qwen_2 = {"model_type": "qwen2", "vocab_size": 152_064, "num_key_value_heads": 4, **qwen}
    sight = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    clip = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14, "projection_dim": 768, **sight}
    mistral = {"model_type": "mistral", "vocab_size": 32_064, "num_key_value_heads": 8}
    with torch.device("meta"):
        found = {
            "lmms-lab/llava-critic-7b": LlavaOnevisionForConditionalGeneration(LlavaOnevisionConfig(text_config=qwen_2)),
            "llava-hf/llava-v1.6-mistral-7b-hf": LlavaNextForConditionalGeneration(
                LlavaNextConfig(vision_config=clip, text_config=mistral)
            ),
            "meta-llama/Llama-3.2-11B-Vision-Instruct": MllamaForConditionalGeneration(
                MllamaConfig(vision_config={"image_size": 560})
            ),
        }
    assert {name: parameters(network) for name, network in found.items()} == {name: KNOWN[name].total for name in found}
    same = {KNOWN[name].total for name in ("Qwen/Qwen2.5-VL-7B-Instruct", "lmms-lab/LLaVA-Critic-R1-7B")}
    assert same == {KNOWN["CodeGoat24/UnifiedReward-qwen-7b"].total}


def test_a_controlnet_runs_at_every_step(tmp_path: Path) -> None:
    found = costs.controlled(BASE, "lllyasviel/control_v11f1e_sd15_tile", None, 512)
    assert found is not None
    assert found.flop["unet"] == BASE.flop["unet"] + TILE.flop["controlnet"]
    assert found.parameters == {**BASE.parameters, **TILE.parameters}
    assert costs.controlled(BASE, "somebody/unknown", None, 512) is None
    assert costs.controlled(None, "lllyasviel/control_v11f1e_sd15_tile", None, 512) is None
    assert networks.controlnet(tmp_path, 512) is None


def graph(tmp_path: Path, plugin: Plugin) -> tuple[Graph, Step]:
    source = {"name": "imagefolder", "path": str(tmp_path)}
    chosen = options.Curate.model_validate({"source": source, "saliency": False, "perturbation": plugin, "filters": []})
    step = Step(name="edits", verb="curate", inputs=(), options=chosen)
    return Graph(Recipe(name="r", steps=(step,)), tmp_path, places.Hub(silent="not asked")), step


def test_a_plan_reads_both_models_of_an_editor_and_counts_them_once(tmp_path: Path) -> None:
    model, control = write_sd15(tmp_path / "sd15"), write_controlnet(tmp_path / "control")
    plugin = Plugin(name="controlnet", options={"model": str(model), "controlnet": str(control), "dtype": "float32"})
    known, step = graph(tmp_path, plugin)
    assert [(place.role, place.state) for place in needs(step, known)] == [("pipeline", "disk"), ("weights", "disk")]
    stored = sum(
        sum(costs._numel(shape) for shape in costs.shapes(folder).values())
        for folder in (control, *(model / part for part in ("unet", "vae", "text_encoder")))
    )
    assert memory._inference(step, known, hardware.Device("cpu", "cpu", None, None)).weights == 4 * stored
    asked = amounts.Work()
    assert amounts.painted(asked, plugin, 10, 5, 32, known)
    alone, both = costs.pipeline(str(model), model, 32), known.perturbation(plugin, 32)
    assert alone is not None
    assert both is not None
    assert both.flop["unet"] > 1.2 * alone.flop["unet"]
    # 0.8 of 50 steps, with guidance.
    assert asked.flop == pytest.approx(10 * (2 * 40 * both.flop["unet"] + both.flop["encode"] + both.flop["decode"]))
    assert asked.dtype == "float32"


def test_pix2pix_takes_three_forwards_a_step(tmp_path: Path) -> None:
    plugin = Plugin(name="instruct_pix2pix", options={"model": str(write_pix2pix(tmp_path / "p")), "steps": 10})
    known, _ = graph(tmp_path, plugin)
    asked, found = amounts.Work(), known.perturbation(plugin, 32)
    assert amounts.painted(asked, plugin, 2, 1, 32, known)
    assert found is not None
    assert asked.flop == pytest.approx(2 * (3 * 10 * found.flop["unet"] + found.flop["encode"] + found.flop["decode"]))
    assert json.loads((tmp_path / "p" / "unet" / "config.json").read_text())["in_channels"] == 8
