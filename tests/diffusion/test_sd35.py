from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline

from pairwright import state_dicts
from pairwright.diffusion import adapters
from pairwright.diffusion.families import load_base
from pairwright.diffusion.families.sd35 import Sd35
from pairwright.models import ModelError, ModelRef
from pairwright.runtime import Dtype
from tests.miniatures.sd35 import write_sd35

PROMPTS = ["a red tulip", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd35(tmp_path_factory.mktemp("sd35"))


@pytest.fixture(scope="module")
def without_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd35(tmp_path_factory.mktemp("small"), t5=False)


def load(folder: Path, dtype: Dtype = "float32") -> Sd35:
    family = load_base(ModelRef(str(folder), "sd35"), dtype=dtype, device=torch.device("cpu"))
    assert isinstance(family, Sd35)
    return family


@pytest.fixture
def sd35(folder: Path) -> Sd35:
    return load(folder)


def pipeline(folder: Path, **parts: Any) -> Any:
    with state_dicts.quietly():
        return StableDiffusion3Pipeline.from_pretrained(folder, **parts)


def latents(count: int = 2) -> torch.Tensor:
    return torch.randn((count, 16, 8, 8), generator=torch.Generator().manual_seed(2))


T = torch.tensor([35.5, 900.0])


def test_prompts_become_what_diffusers_pipeline_makes_of_them(sd35: Sd35, folder: Path) -> None:
    prompts = [*PROMPTS, "tulip " * 200]
    with torch.no_grad():
        states, _, pooled, _ = pipeline(folder).encode_prompt(prompts, None, None, device="cpu", do_classifier_free_guidance=False)
    condition = sd35.condition(prompts)
    shapes = {name: tuple(value.shape) for name, value in condition.tensors.items()}
    assert shapes == {"clip": (3, 77, 40), "pooled": (3, 40), "t5": (3, 256, 48)}
    assert torch.equal(sd35._states(condition), states)
    assert torch.equal(condition.tensors["pooled"], pooled)
    assert states.shape == (3, 77 + 256, 48)
    assert (states[0] - states[1]).abs().max() > 0.1


def test_without_t5_its_states_are_zeros(without_t5: Path) -> None:
    small = load(without_t5)
    theirs = pipeline(without_t5, text_encoder_3=None, tokenizer_3=None)
    with torch.no_grad():
        states, _, pooled, _ = theirs.encode_prompt(PROMPTS, None, None, device="cpu", do_classifier_free_guidance=False)
    condition = small.condition(PROMPTS)
    assert set(condition.tensors) == {"clip", "pooled"}
    assert torch.equal(small._states(condition), states)
    assert torch.equal(condition.tensors["pooled"], pooled)
    assert not states[:, 77:].any()


def test_the_prediction_is_the_transformers_velocity(sd35: Sd35, folder: Path) -> None:
    condition = sd35.condition(PROMPTS)
    network = SD3Transformer2DModel.from_pretrained(folder / "transformer")
    with torch.no_grad():
        expected = network(latents(), sd35._states(condition), condition.tensors["pooled"], T).sample
        found = sd35.predict(latents(), T, condition)
        alone = sd35.predict(latents()[1:], T[1:], condition[1:])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone, expected[1:], atol=1e-5, rtol=1e-4)
    assert sd35.process.prediction == "flow_prediction"
    assert sd35.process.shift == 3.0


def test_latents_are_shifted_and_scaled_and_come_back(sd35: Sd35, folder: Path) -> None:
    pixels = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    network = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        expected = (network.encode(pixels * 2 - 1).latent_dist.mean - 0.0609) * 1.5305
        picture = (network.decode(expected / 1.5305 + 0.0609).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(sd35.encode(pixels), expected)
    torch.testing.assert_close(sd35.decode(expected), picture)


def test_sides_are_multiples_of_a_patch(sd35: Sd35) -> None:
    assert sd35.latent_shape(40) == (16, 10, 10)
    with pytest.raises(ModelError, match="multiple of 8"):
        sd35.latent_shape(36)  # the autoencoder could; nine latents are no whole number of patches


@pytest.mark.usefixtures("every_format")
def test_bfloat16_is_of_the_transformer_alone(sd35: Sd35, folder: Path) -> None:
    half = load(folder, "bfloat16")
    condition = half.condition(PROMPTS)
    with torch.no_grad():
        found, exact = half.predict(latents(), T, condition), sd35.predict(latents(), T, condition)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().max() < 0.05
    assert {value.dtype for value in condition.tensors.values()} == {torch.float32}
    assert half.encode(torch.rand(1, 3, 32, 32)).dtype == torch.float32


def test_t5_runs_as_it_is_stored(tmp_path: Path, sd35: Sd35) -> None:
    folder = write_sd35(tmp_path / "half")
    from transformers import T5EncoderModel

    with state_dicts.quietly():
        T5EncoderModel.from_pretrained(folder / "text_encoder_3", dtype=torch.float16).save_pretrained(folder / "text_encoder_3")
    half = load(folder)
    states = half.condition(PROMPTS).tensors["t5"]
    assert states.dtype == torch.float16
    torch.testing.assert_close(states.float(), sd35.condition(PROMPTS).tensors["t5"], atol=5e-3, rtol=5e-3)
    with torch.no_grad():
        assert half.predict(latents(), T, half.condition(PROMPTS)).isfinite().all()


def test_training_on_cached_captions_loads_the_transformer_alone(sd35: Sd35, folder: Path) -> None:
    condition = load(folder).condition(PROMPTS)
    with torch.no_grad():
        sd35.predict(latents(), T, condition)
    assert "network" in vars(sd35)
    assert "_t5" not in vars(sd35)
    assert not any("network" in vars(part) for part in (sd35._vae, *sd35._clips))


def test_adapters_sit_where_the_paper_puts_them(sd35: Sd35) -> None:
    adapters.add(sd35, "policy", rank=2, alpha=4, targets=(), seed=0)
    modules = {name.partition("transformer_blocks.")[2] for name in adapters.parameters(sd35.network, "policy")}
    inside = {name.split(".lora_")[0] for name in modules}
    joint = {"to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj"}
    expected = {f"{block}.attn.{name}" for block in (0, 1, 2) for name in joint}
    # The last block has no use for the text that it would make; the second attention has no adapters.
    assert inside == expected | {"0.attn.to_add_out", "1.attn.to_add_out"}
    sd35.predict(latents(), T, sd35.condition(PROMPTS)).square().mean().backward()
    # The last block's text queries reach nothing.
    for key, value in adapters.parameters(sd35.network, "policy").items():
        if ".lora_B." in key and not key.startswith("transformer_blocks.2.attn.add_q"):
            assert value.grad is not None, key
            assert value.grad.abs().max() > 0, key
