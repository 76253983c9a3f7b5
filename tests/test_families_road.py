"""A user's road with each family: photographs, both stages by the shipped recipe, export, and diffusers' own loaders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from pairwright import models, recipe, run, runtime
from pairwright.context import Context
from pairwright.diffusion import families
from pairwright.export import export
from pairwright.options import Export, ExportFormat, Model
from pairwright.store import Store
from pairwright.train import log_rows
from tests.miniatures import pictures
from tests.miniatures.clip import write_clip
from tests.miniatures.sd15 import write_sd15
from tests.miniatures.sd35 import write_sd35
from tests.miniatures.sdxl import write_sdxl
from tests.miniatures.u2net import write_folder

WRITERS: dict[str, Callable[[Path], Path]] = {"sd15": write_sd15, "sdxl": write_sdxl, "sd35": write_sd35}
FORMATS: tuple[ExportFormat, ...] = ("diffusers", "kohya", "comfy", "merged", "pipeline")
RECIPE = """
name = "mine"
extends = "realalign-{family}"

[step.pairs]
source = {{ path = "{here}/photos" }}
resolution = 32
filters = [{{ reward = "colorfulness", rule = "above_mean" }}]
saliency = {{ name = "u2net", model = "{here}/u2net" }}
mask = {{ least_area = 0.0, most_area = 1.0 }}
perturbation = {{ model = "{here}/inpaint", steps = 2, dtype = "float32" }}
gap = {{ reward = {{ name = "pickscore", model = "{here}/pickscore" }}, at_least = -100.0 }}
keep = {{ reward = {{ name = "pickscore", model = "{here}/pickscore" }}, top = 3 }}

[step.stage1]
start = "{here}/base"
steps = 4
batch = 2
micro_batch = 2
checkpoint_every = 2
ema_every = 1
dtype = "float32"
optimiser = {{ learning_rate = 0.02 }}   # so large that pictures change in so few steps
rollout = {{ steps = 2 }}

[step.stage2]
steps = 4
batch = 2
micro_batch = 2
checkpoint_every = 2
ema_every = 1
dtype = "float32"
optimiser = {{ learning_rate = 0.02, warmup = 2 }}

[step.pictures]
models = {{ base = "{here}/base" }}
prompts = "{here}/prompts.txt"
per_prompt = 2
resolution = 32
steps = 2
dtype = "float32"

[step.scores]
rewards = ["texture", "colorfulness"]

[step.comparison]
primary = "texture"
resamples = 100
"""
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of diffusers' Euler scheduler under NumPy 2


def write_models(here: Path, family: str) -> None:
    WRITERS[family](here / "base")
    write_sd15(here / "inpaint", seed=1, inpaint=True)
    write_clip(here / "pickscore")
    write_folder(here / "u2net")
    (here / "photos").mkdir()
    for number in range(8):
        pictures.picture(number).image.save(here / "photos" / f"{number}.png")
        (here / "photos" / f"{number}.txt").write_text(f"disc number {number}")
    (here / "prompts.txt").write_text("a red rose\na daisy\n")
    Image.new("RGB", (300, 40), "red").save(here / "sample.png")


def loaded(base: Path, **parts: Any) -> Any:
    with runtime.quiet():
        pipeline = DiffusionPipeline.from_pretrained(base, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def painted(pipeline: Any) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    more = {"height": 32, "width": 32, "output_type": "latent", "num_inference_steps": 2, "guidance_scale": 3.0}
    found: Tensor = pipeline("a red rose", generator=generator, **more).images
    return found


def of_training(base: Path, store: Store, name: str, network: str) -> Tensor:
    """What the model that a step made paints, put together by us."""
    ref = models.resolve(Model(base=f"runs/mine/{name}"), Context(store))
    family = families.load(ref, store, dtype="float32", device=torch.device("cpu"))
    return painted(loaded(base, **{network: family.network}))


@pytest.mark.parametrize(
    "family", ["sd15", pytest.param("sdxl", marks=pytest.mark.slow), pytest.param("sd35", marks=pytest.mark.slow)]
)
def test_photographs_become_a_lora_that_diffusers_loads_on_the_public_base(family: str, tmp_path: Path) -> None:
    write_models(tmp_path, family)
    (tmp_path / "mine.toml").write_text(RECIPE.format(family=family, here=tmp_path.as_posix()))
    (found,) = recipe.load(tmp_path / "mine.toml")
    store = Store(tmp_path / "runs")
    page = run.run(found, store.root)
    assert page.is_file()
    folder, base = store.root / "mine", tmp_path / "base"
    network = "transformer" if family == "sd35" else "unet"

    rows = {step: log_rows(run.result(folder, step)) for step in ("stage1", "stage2")}
    assert [len(each) for each in rows.values()] == [4, 4]
    assert rows["stage1"][0]["rewards/chosen"] == rows["stage2"][0]["rewards/margins"] == 0, "each is measured against its start"
    wanted = {step: of_training(base, store, step, network) for step in ("stage1", "stage2")}
    bare = painted(loaded(base))
    assert (wanted["stage1"] - bare).abs().max() > 1e-3
    assert (wanted["stage2"] - wanted["stage1"]).abs().max() > 1e-3

    chosen = Export(comparison="runs/mine/comparison", thumbnail=str(tmp_path / "sample.png"))
    for step in ("stage1", "stage2"):
        out = tmp_path / "out" / step
        *_, card = export(Model(base=f"runs/mine/{step}"), FORMATS, out, store, chosen)
        pipeline = loaded(base)
        pipeline.load_lora_weights(out)
        close(painted(pipeline), wanted[step])
        if family != "sd35":  # diffusers does not read kohya's keys of SD-3.5
            pipeline = loaded(base)
            pipeline.load_lora_weights(out, weight_name=f"mine-{step}-kohya.safetensors")
            close(painted(pipeline), wanted[step])
        close(painted(loaded(out / "pipeline")), wanted[step])
        for name in (f"mine-{step}-kohya.safetensors", f"mine-{step}-comfy.safetensors"):
            ref = models.resolve(Model(base=str(base), layers=(str(out / name),)), Context(store))
            whole = families.load(ref, store, dtype="float32", device=torch.device("cpu"))
            close(painted(loaded(base, **{network: whole.network})), wanted[step])
        assert "texture" in card.read_text(), "the comparison's table"
    ranks = {len(value) for key, value in load_file(tmp_path / "out" / "stage2" / models.LORA_FILE).items() if "lora_A" in key}
    assert ranks == {{"sd15": 4, "sdxl": 8, "sd35": 32}[family]}, "stage 2 goes on with stage 1's adapter"
    record = json.loads((folder / "run.json").read_text())
    assert {entry["state"] for entry in record["steps"].values()} == {"complete"}


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
