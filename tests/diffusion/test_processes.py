import math

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling

from pairwright.diffusion.processes import Ddpm, ProcessError, RectifiedFlow
from pairwright.errors import Explained

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
    with pytest.raises(ProcessError, match="prediction_type 'sample'") as error:
        process("sample")
    assert isinstance(error.value, Explained)


def flow(shift: float = 3.0) -> RectifiedFlow:
    return RectifiedFlow.from_config(FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift).config)


def test_a_flows_state_is_a_straight_line_to_the_noise() -> None:
    latents, noise = torch.tensor([[2.0, -1.0]]), torch.tensor([[-2.0, 3.0]])
    assert flow().add_noise(latents, noise, torch.tensor([0.0])).tolist() == [[2.0, -1.0]]
    assert flow().add_noise(latents, noise, torch.tensor([1000.0])).tolist() == [[-2.0, 3.0]]
    assert flow().add_noise(latents, noise, torch.tensor([250.0])).tolist() == [[1.0, 0.0]]
    assert flow().target(latents, noise, torch.tensor([250.0])).tolist() == [[-4.0, 4.0]]


def test_a_flows_states_are_diffusers_own() -> None:
    latents, noise, _ = random_batch()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    t = scheduler.timesteps[[0, 400, 999]]
    torch.testing.assert_close(flow().add_noise(latents, noise, t), scheduler.scale_noise(latents, t, noise), atol=1e-6, rtol=1e-6)


def test_a_perfect_velocity_gives_the_picture_back() -> None:
    latents, noise, _ = random_batch()
    t = torch.tensor([3.0, 500.0, 1000.0])
    clean = flow().clean(flow().add_noise(latents, noise, t), flow().target(latents, noise, t), t)
    torch.testing.assert_close(clean, latents, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flows_timesteps_are_diffusers_own(shift: float) -> None:
    torch.testing.assert_close(flow(shift).timesteps, FlowMatchEulerDiscreteScheduler(shift=shift).timesteps, atol=1e-4, rtol=0)
    assert flow(shift).timesteps.dtype == torch.float32


def test_the_shift_is_the_published_one() -> None:
    # Half way of an unshifted schedule: 3 * 0.5 / (1 + 2 * 0.5) = 0.75.
    assert flow().timesteps[500].item() == pytest.approx(750.0)
    assert flow().timesteps[[0, 999]].tolist() == pytest.approx([1000.0, 1000 * 0.003 / 1.002])


@pytest.mark.parametrize("steps", [1, 10, 28])
def test_a_flows_sampling_grid_is_diffusers_own(steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(flow().grid(steps).float(), scheduler.sigmas, atol=1e-6, rtol=1e-6)


def test_the_last_of_ten_steps_starts_almost_at_the_picture() -> None:
    assert flow().grid(10)[-2].item() == pytest.approx(0.00893, abs=1e-5)


def test_training_timesteps_are_logit_normal_over_the_shifted_schedule() -> None:
    # The normal quantiles of 0.5, 0.8413 and 0.1587 are 0, 1 and -1; sigmoid: 0.5, 0.731, 0.269; index from the noisy end.
    uniform = torch.tensor([0.5, 0.8413447460685429, 0.15865525393145707, 0.0, 1 - 2.0**-53], dtype=torch.float64)
    expected = FlowMatchEulerDiscreteScheduler(shift=3.0).timesteps[[500, 731, 268, 0, 999]]
    torch.testing.assert_close(flow().draw(uniform), expected, atol=1e-4, rtol=0)


def test_training_timesteps_have_the_density_of_diffusers_own_trainer() -> None:
    """As its SD3 example draws them: an index into the scheduler's timesteps. Quantiles of 200,000 draws are compared."""
    generator = torch.Generator().manual_seed(0)
    drawn = compute_density_for_timestep_sampling("logit_normal", 200_000, 0.0, 1.0, generator=generator)
    theirs = FlowMatchEulerDiscreteScheduler(shift=3.0).timesteps[(drawn * 1000).long()]
    ours = flow().draw((torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000)
    quantiles = torch.tensor([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
    torch.testing.assert_close(ours.quantile(quantiles), theirs.quantile(quantiles), atol=6.0, rtol=0)
    assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=1.0)
    assert ours.mean().item() > 700, "the shift puts most of the training near the noise"
    assert math.isclose(ours.median().item(), 750.0, abs_tol=1.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "DDIMScheduler", "num_train_timesteps": 1000}, "DDIMScheduler names no 'shift'"),
        ({"shift": 3.0, "use_dynamic_shifting": True}, "use_dynamic_shifting is on"),
        ({"shift": 3.0, "invert_sigmas": True}, "invert_sigmas is on"),
    ],
)
def test_a_schedule_that_is_no_plain_flow_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ProcessError, match=message):
        RectifiedFlow.from_config(config)
