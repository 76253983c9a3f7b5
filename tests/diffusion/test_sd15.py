from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from pairwright import runtime, weights
from pairwright.diffusion.families import Condition, _encoders, load_base
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.models import ModelRef
from tests.miniatures.sd15 import write_sd15


def pixels(count: int = 2) -> torch.Tensor:
    return torch.rand((count, 3, 32, 32), generator=torch.Generator().manual_seed(1))


def test_latents_are_the_scaled_mean_of_the_posterior(sd15: Sd15, base: str) -> None:
    """Trap 6: a sampled posterior."""
    with runtime.quiet(), torch.no_grad():
        autoencoder = AutoencoderKL.from_pretrained(f"{base}/vae")
        expected = autoencoder.encode(pixels() * 2 - 1).latent_dist.mean * 0.18215
    assert torch.equal(sd15.encode(pixels()), expected)
    assert torch.equal(sd15.encode(pixels()), sd15.encode(pixels()))
    torch.testing.assert_close(sd15.encode(pixels()[:1]), expected[:1], atol=1e-6, rtol=1e-5)


def test_decoding_undoes_the_scale_and_stays_in_range(sd15: Sd15, base: str) -> None:
    latents = sd15.encode(pixels(1))
    with runtime.quiet(), torch.no_grad():
        expected = AutoencoderKL.from_pretrained(f"{base}/vae").decode(latents / 0.18215).sample / 2 + 0.5
    found = sd15.decode(latents)
    torch.testing.assert_close(found, expected.clamp(0, 1))
    assert found.shape == (1, 3, 32, 32)
    assert sd15.decode(latents * 100).max() <= 1


def test_prompts_become_the_text_encoders_last_states(sd15: Sd15, base: str) -> None:
    condition = sd15.condition(["a red tulip", ""])
    tokens = sd15._text.tokenizer(["a red tulip", ""], padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    with runtime.quiet(), torch.no_grad():
        expected = CLIPTextModel.from_pretrained(f"{base}/text_encoder").eval()(tokens.input_ids)[0]
    assert condition.tensors["states"].shape == (2, 77, 32)
    assert torch.equal(condition.tensors["states"], expected)
    torch.testing.assert_close(sd15.condition([""]).tensors["states"], expected[1:], atol=1e-5, rtol=1e-5)


def test_a_prompt_that_is_too_long_is_cut(sd15: Sd15) -> None:
    assert sd15.condition(["tulip " * 200]).tensors["states"].shape == (1, 77, 32)


def test_the_prediction_is_the_unets(sd15: Sd15, base: str) -> None:
    latents = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(2))
    condition, t = sd15.condition(["tulip", "rose"]), torch.tensor([10, 900])
    with runtime.quiet(), torch.no_grad():
        expected = UNet2DConditionModel.from_pretrained(f"{base}/unet")(latents, t, condition.tensors["states"]).sample
        found = sd15.predict(latents, t, condition)
        alone = sd15.predict(latents[1:], t[1:], condition[1:])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone, expected[1:], atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("every_format")
def test_bfloat16_predicts_the_same_to_its_precision_and_answers_in_float32(sd15: Sd15, load: Callable[..., Sd15]) -> None:
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(2))
    condition, t = sd15.condition(["tulip"]), torch.tensor([500])
    half = load("bfloat16")
    with torch.no_grad():
        exact, found = sd15.predict(latents, t, condition), half.predict(latents, t, condition)
    assert found.dtype == torch.float32
    assert next(half.network.parameters()).dtype == torch.bfloat16
    assert 0 < (found - exact).abs().max() < 0.05


def test_nothing_of_the_base_is_trainable(sd15: Sd15) -> None:
    assert not any(parameter.requires_grad for parameter in sd15.network.parameters())


def test_the_latents_follow_the_autoencoder(sd15: Sd15) -> None:
    assert sd15.latent_shape(64) == (4, 16, 16)
    with pytest.raises(ValueError, match="multiple of 4"):
        sd15.latent_shape(30)


def test_v_prediction_is_read_from_the_scheduler(tmp_path: Path, load: Callable[..., Sd15]) -> None:
    folder = write_sd15(tmp_path / "v", prediction_type="v_prediction")
    assert load(folder=str(folder)).process.prediction == "v_prediction"


def test_large_pictures_go_through_the_autoencoder_one_by_one(sd15: Sd15, monkeypatch: pytest.MonkeyPatch) -> None:
    together, whole = sd15.encode(pixels(3)), sd15._vae.network.encode
    counts: list[int] = []
    back = sd15.decode(together)
    monkeypatch.setattr(_encoders, "PIXELS_AT_ONCE", 2 * 32 * 32)

    def noted(part: torch.Tensor) -> Any:
        counts.append(len(part))
        return whole(part)

    monkeypatch.setattr(sd15._vae.network, "encode", noted)
    torch.testing.assert_close(sd15.encode(pixels(3)), together, atol=1e-5, rtol=1e-4)
    assert counts == [2, 1]
    torch.testing.assert_close(sd15.decode(together), back, atol=1e-5, rtol=1e-4)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(weights.WeightsError):
        load_base(ModelRef(str(tmp_path / "nothing"), "sd15"), dtype="float32", device=torch.device("cpu"))


def test_conditions_can_be_indexed_and_joined() -> None:
    states = torch.arange(12.0).reshape(3, 2, 2)
    condition = Condition({"states": states})
    assert len(condition) == 3
    assert torch.equal(condition[torch.tensor([2, 0])].tensors["states"], states[[2, 0]])
    assert torch.equal(Condition.cat([condition[2:], condition[:1]]).tensors["states"], states[[2, 0]])
