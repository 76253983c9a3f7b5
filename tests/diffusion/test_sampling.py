import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, DPMSolverMultistepScheduler, StableDiffusionPipeline

from pairwright import runtime, state_dicts
from pairwright.diffusion import sampling
from pairwright.diffusion.families import Family, load_base
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.diffusion.sampling import SamplingError, Settings
from pairwright.models import ModelRef
from tests.miniatures.sd15 import write_sd15
from tests.miniatures.sd35 import write_sd35
from tests.miniatures.sdxl import write_sdxl

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

KEYS = ["a#0", "a#1", "b#0"]
PROMPTS = ["a red rose", "a red rose", "tulip"]


def ours(family: Family, settings: Settings, rows: slice = slice(None), negative: str = "") -> torch.Tensor:
    noise = sampling.initial_noise(family, 32, KEYS[rows], settings.seed)
    return sampling.sample(family, family.condition(PROMPTS[rows]), family.condition([negative]), noise, KEYS[rows], settings)


def pipeline(base: str) -> Any:
    with runtime.quiet():
        found = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    found.set_progress_bar_config(disable=True)
    return found


SCHEDULERS = {
    "model": lambda config: None,
    "ddim": DDIMScheduler.from_config,
    "dpmsolver++": lambda config: DPMSolverMultistepScheduler.from_config(config, algorithm_type="dpmsolver++", solver_order=2),
}


@pytest.mark.parametrize("sampler", ["model", "ddim", "dpmsolver++"])
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_the_latents_are_those_of_diffusers_own_pipeline(sd15: Sd15, base: str, sampler: sampling.Sampler, guidance: float) -> None:
    settings = Settings(steps=6, guidance=guidance, sampler=sampler)
    theirs = pipeline(base)
    theirs.scheduler = SCHEDULERS[sampler](theirs.scheduler.config) or theirs.scheduler
    noise = sampling.initial_noise(sd15, 32, KEYS, 0)
    options = {"num_inference_steps": 6, "guidance_scale": guidance, "height": 32, "width": 32, "output_type": "latent"}
    expected = theirs(PROMPTS, negative_prompt=["blurry"] * 3, latents=noise.clone(), **options).images
    found = ours(sd15, settings, negative="blurry")
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert found.std() > 0.5


WRITERS: dict[str, Callable[[Path], Path]] = {"sdxl": write_sdxl, "sd35": write_sd35}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


def family_of(folders: dict[str, Path], name: str) -> Family:
    return load_base(ModelRef(str(folders[name]), name), dtype="float32", device=torch.device("cpu"))


def theirs_of(folder: Path) -> Any:
    with state_dicts.quietly():
        found = DiffusionPipeline.from_pretrained(folder)
    found.set_progress_bar_config(disable=True)
    return found


@pytest.mark.parametrize(("name", "sampler"), [("sdxl", "model"), ("sdxl", "ddim"), ("sdxl", "dpmsolver++"), ("sd35", "model")])
@pytest.mark.parametrize(("guidance", "negative"), [(1.0, ""), (4.5, ""), (4.5, "blurry")])
def test_the_other_families_latents_are_those_of_diffusers_own_pipelines(
    folders: dict[str, Path], name: str, sampler: sampling.Sampler, guidance: float, negative: str
) -> None:
    family, theirs = family_of(folders, name), theirs_of(folders[name])
    theirs.scheduler = SCHEDULERS[sampler](theirs.scheduler.config) or theirs.scheduler
    noise = sampling.initial_noise(family, 32, KEYS, 0)
    options = {"num_inference_steps": 6, "guidance_scale": guidance, "height": 32, "width": 32, "output_type": "latent"}
    negatives = [negative] * 3 if negative else None  # none at all, which SDXL's pipeline does not take for an empty text
    expected = theirs(PROMPTS, negative_prompt=negatives, latents=noise.clone(), **options).images
    found = ours(family, Settings(steps=6, guidance=guidance, sampler=sampler), negative=negative)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert found.std() > 0.5


@pytest.mark.parametrize("name", WRITERS)
def test_decoded_pictures_are_those_of_diffusers_own_pipelines(folders: dict[str, Path], name: str) -> None:
    family, theirs = family_of(folders, name), theirs_of(folders[name])
    noise = sampling.initial_noise(family, 32, KEYS, 0)
    options = {"num_inference_steps": 3, "guidance_scale": 4.5, "height": 32, "width": 32, "output_type": "pt"}
    expected = theirs(PROMPTS, latents=noise.clone(), **options).images
    torch.testing.assert_close(family.decode(ours(family, Settings(steps=3, guidance=4.5))), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("sampler", ["ddim", "dpmsolver++"])
def test_samplers_of_noise_schedules_are_not_for_a_flow(folders: dict[str, Path], sampler: sampling.Sampler) -> None:
    with pytest.raises(SamplingError, match="sd35 is a rectified flow; use 'model'"):
        sampling.scheduler(family_of(folders, "sd35"), sampler)


def test_families_with_equal_latents_start_from_equal_noise(sd15: Sd15, folders: dict[str, Path]) -> None:
    xl = sampling.initial_noise(family_of(folders, "sdxl"), 32, KEYS, 0)
    assert torch.equal(xl, sampling.initial_noise(sd15, 32, KEYS, 0))
    assert sampling.initial_noise(family_of(folders, "sd35"), 32, KEYS, 0).shape == (3, 16, 8, 8)


def test_a_picture_does_not_depend_on_its_neighbours(sd15: Sd15) -> None:
    settings = Settings(steps=4)
    torch.testing.assert_close(ours(sd15, settings, slice(2, 3)), ours(sd15, settings)[2:], atol=1e-3, rtol=1e-3)


def test_noise_is_keyed_by_the_picture(sd15: Sd15) -> None:
    noise = sampling.initial_noise(sd15, 32, KEYS, 0)
    assert torch.equal(noise[1:2], sampling.initial_noise(sd15, 32, KEYS[1:2], 0))
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise, sampling.initial_noise(sd15, 32, KEYS, 1))


def with_scheduler(folder: Path, name: str) -> str:
    write_sd15(folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": name}))
    return str(folder)


def test_noise_that_is_drawn_on_the_way_is_keyed_too(tmp_path: Path, load: Callable[..., Sd15]) -> None:
    family = load(folder=with_scheduler(tmp_path, "EulerAncestralDiscreteScheduler"))
    settings = Settings(steps=4, guidance=1)
    together = ours(family, settings)
    torch.testing.assert_close(ours(family, settings, slice(1, 2)), together[1:2], atol=1e-3, rtol=1e-3)
    assert torch.equal(together, ours(family, settings))


def test_a_sampler_whose_noise_cannot_be_keyed_is_refused(
    sd15: Sd15, load: Callable[..., Sd15], monkeypatch: pytest.MonkeyPatch
) -> None:
    class DPMSolverSDEScheduler: ...  # the real one needs torchsde

    monkeypatch.setattr(sd15, "scheduler", DPMSolverSDEScheduler)
    with pytest.raises(SamplingError, match="depends on the batch"):
        ours(sd15, Settings(steps=2))
