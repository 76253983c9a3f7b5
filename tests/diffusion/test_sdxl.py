import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel

from pairwright import state_dicts
from pairwright.diffusion import adapters
from pairwright.diffusion.families import load_base
from pairwright.diffusion.families.sdxl import Sdxl
from pairwright.diffusion.processes import Ddpm
from pairwright.models import ModelRef
from pairwright.runtime import Dtype
from tests.miniatures.sdxl import write_sdxl

PROMPTS = ["a red tulip", "roses"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sdxl(tmp_path_factory.mktemp("sdxl"))


def load(folder: Path, dtype: Dtype = "float32") -> Sdxl:
    family = load_base(ModelRef(str(folder), "sdxl"), dtype=dtype, device=torch.device("cpu"))
    assert isinstance(family, Sdxl)
    return family


@pytest.fixture
def sdxl(folder: Path) -> Sdxl:
    return load(folder)


def pipeline(folder: Path) -> Any:
    with state_dicts.quietly():
        return StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)


def latents(side: int = 8, count: int = 2) -> torch.Tensor:
    return torch.randn((count, 4, side, side), generator=torch.Generator().manual_seed(2))


def predicted(family: Sdxl, state: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return family.predict(state, t, family.condition(PROMPTS))


def test_prompts_become_what_diffusers_pipeline_makes_of_them(sdxl: Sdxl, folder: Path) -> None:
    prompts = [*PROMPTS, "tulip " * 200]
    with torch.no_grad():
        states, empty, pooled, empty_pooled = pipeline(folder).encode_prompt(prompts, device="cpu")
    found = sdxl.condition(prompts).tensors
    assert found["states"].shape == (3, 77, 72)
    assert found["pooled"].shape == (3, 24)
    assert torch.equal(found["states"], states)
    assert torch.equal(found["pooled"], pooled)
    nothing = sdxl.condition(["", "roses"]).tensors
    assert torch.equal(nothing["states"][0], empty[0])
    assert torch.equal(nothing["pooled"][0], empty_pooled[0])
    assert not empty.any()
    assert nothing["states"][1].any()


def test_where_the_index_says_so_the_empty_prompt_is_encoded(tmp_path: Path, folder: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, "force_zeros_for_empty_prompt": False}))
    with torch.no_grad():
        _, empty, _, empty_pooled = pipeline(copy).encode_prompt(["roses"], device="cpu")
    found = load(copy).condition([""]).tensors
    assert found["states"].any()
    assert torch.equal(found["states"], empty)
    assert torch.equal(found["pooled"], empty_pooled)


def test_the_prediction_is_the_unets_told_the_pictures_own_size(sdxl: Sdxl, folder: Path) -> None:
    state, t = latents(), torch.tensor([10, 900])
    condition = sdxl.condition(PROMPTS)
    added = {"text_embeds": condition.tensors["pooled"], "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 2)}
    network = UNet2DConditionModel.from_pretrained(folder / "unet")
    with torch.no_grad():
        expected = network(state, t, condition.tensors["states"], added_cond_kwargs=added).sample
        larger = added | {"time_ids": 2 * added["time_ids"]}
        other = network(state, t, condition.tensors["states"], added_cond_kwargs=larger).sample
        alone = sdxl.predict(state[1:], t[1:], condition[1:])
    found = predicted(sdxl, state, t)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone, expected[1:], atol=1e-5, rtol=1e-4)
    assert (found - other).abs().max() > 1e-3


def test_heights_and_widths_are_told_in_the_order_of_the_paper(sdxl: Sdxl) -> None:
    assert sdxl._sizes(torch.zeros(3, 4, 8, 16)).tolist() == [[32, 64, 0, 0, 32, 64]] * 3


def test_latents_have_its_own_scale_and_come_back(sdxl: Sdxl, folder: Path) -> None:
    pixels = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    network = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        expected = network.encode(pixels * 2 - 1).latent_dist.mean * 0.13025
        picture = (network.decode(expected / 0.13025).sample / 2 + 0.5).clamp(0, 1)
    assert torch.equal(sdxl.encode(pixels), expected)
    torch.testing.assert_close(sdxl.decode(expected), picture)
    assert sdxl.latent_shape(64) == (4, 16, 16)


@pytest.mark.usefixtures("every_format")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_of_the_unet_alone(sdxl: Sdxl, folder: Path, dtype: Dtype) -> None:
    half, state, t = load(folder, dtype), latents(), torch.tensor([10, 900])
    found, exact = predicted(half, state, t), predicted(sdxl, state, t)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().max() < 0.05
    assert next(half.network.parameters()).dtype == getattr(torch, dtype)
    assert half.encode(torch.rand(1, 3, 32, 32)).dtype == torch.float32
    assert half._vae.network.dtype == torch.float32
    assert torch.equal(half.condition(PROMPTS).tensors["states"], sdxl.condition(PROMPTS).tensors["states"])


def test_training_on_cached_captions_loads_the_unet_alone(sdxl: Sdxl, folder: Path) -> None:
    condition = load(folder).condition(PROMPTS)
    with torch.no_grad():
        sdxl.predict(latents(), torch.tensor([10, 900]), condition)
    assert sdxl.latent_shape(32) == (4, 8, 8)
    assert "network" in vars(sdxl)
    assert not any("network" in vars(part) for part in (sdxl._vae, *sdxl._texts))


def test_adapters_sit_on_every_attention_and_learn(sdxl: Sdxl) -> None:
    adapters.add(sdxl, "policy", rank=2, alpha=2, targets=(), seed=0)
    # At the lower resolution 2 + 1 + 3 transformers (down, middle, up) of 2 blocks, with 2 attentions of 4 matrices each.
    assert len(adapters.lora_layers(sdxl.network)) == 6 * 2 * 2 * 4
    sdxl.predict(latents(), torch.tensor([10, 900]), sdxl.condition(PROMPTS)).square().mean().backward()
    gradients = [value.grad for key, value in adapters.parameters(sdxl.network, "policy").items() if ".lora_B." in key]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


def test_the_schedule_is_noise_or_v_prediction_as_the_scheduler_says(sdxl: Sdxl, tmp_path: Path) -> None:
    assert isinstance(sdxl.process, Ddpm)
    assert sdxl.process.prediction == "epsilon"
    assert sdxl.process.alphas_cumprod[-1] == pytest.approx(0.0047, abs=1e-4)
    assert load(write_sdxl(tmp_path / "v", prediction_type="v_prediction")).process.prediction == "v_prediction"
