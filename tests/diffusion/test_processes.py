import pytest
import torch
from diffusers import DDPMScheduler

from pairwright.diffusion.processes import Ddpm

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


def process(prediction: str = "epsilon") -> Ddpm:
    return Ddpm.from_config({**CONFIG, "prediction_type": prediction})


def random_batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn((2, 3, 4, 2, 2), generator=generator)
    return latents, noise, torch.tensor([0, 500, 999])


def test_the_noised_state_is_diffusers_own() -> None:
    latents, noise, t = random_batch()
    expected = DDPMScheduler(**CONFIG).add_noise(latents, noise, t)
    assert torch.equal(process().add_noise(latents, noise, t), expected)


def test_the_schedule_is_the_published_one() -> None:
    share = process().alphas_cumprod
    assert share[0].item() == pytest.approx(1 - 0.00085, abs=1e-6)
    assert share[999].item() == pytest.approx(0.00466, abs=1e-4)


def test_the_last_timestep_is_almost_noise_and_the_first_almost_the_picture() -> None:
    latents, noise, _ = random_batch()
    late = process().add_noise(latents, noise, torch.full((3,), 999))
    early = process().add_noise(latents, noise, torch.zeros(3, dtype=torch.long))
    assert (late - noise).abs().max() < 0.2
    assert (early - latents).abs().max() < 0.1


def test_epsilon_is_asked_for_the_noise_and_v_prediction_for_the_velocity() -> None:
    latents, noise, t = random_batch()
    assert process().target(latents, noise, t) is noise
    expected = DDPMScheduler(**CONFIG, prediction_type="v_prediction").get_velocity(latents, noise, t)
    assert torch.equal(process("v_prediction").target(latents, noise, t), expected)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_gives_the_picture_back(prediction: str) -> None:
    latents, noise, t = random_batch()
    each = process(prediction)
    clean = each.clean(each.add_noise(latents, noise, t), each.target(latents, noise, t), t)
    torch.testing.assert_close(clean, latents, atol=1e-4, rtol=0)


def test_timesteps_are_uniform_over_the_whole_schedule() -> None:
    uniform = torch.tensor([0.0, 0.0009999, 0.001, 0.5, 0.9999999999999999], dtype=torch.float64)
    assert process().draw(uniform).tolist() == [0, 0, 1, 500, 999]


def test_a_prediction_that_no_objective_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="prediction_type 'sample'"):
        process("sample")
