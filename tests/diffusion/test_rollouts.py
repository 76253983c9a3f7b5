from collections.abc import Callable

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from pairwright import seeds
from pairwright.diffusion import rollouts
from pairwright.diffusion.families import Condition
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.diffusion.processes import Ddpm, RectifiedFlow
from pairwright.diffusion.rollouts import RolloutError, States
from tests.miniatures.sd15 import write_sd15

# numpy 2 warns inside of diffusers' set_timesteps.
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

T = torch.tensor([999, 3, 512, 50])


def noise(count: int = len(T)) -> torch.Tensor:
    return seeds.noise((4, 8, 8), list(range(count)), 0, "test")


def alone(family: Sd15, start: torch.Tensor, t: int, condition: Condition, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One sample by diffusers' own scheduler, on its own grid."""
    stride = 1000 // steps
    scheduler = DPMSolverMultistepScheduler.from_config(family.scheduler().config, algorithm_type="dpmsolver++", solver_order=2)
    scheduler.set_timesteps(timesteps=[stride * index + t % stride for index in range(steps - 1, -1, -1)], device="cpu")
    state = start[None]
    with torch.no_grad():
        for here in scheduler.timesteps:
            prediction = family.predict(state, here[None], condition)
            if int(here) == t:
                return state[0], prediction[0]
            state = scheduler.step(prediction, here, state).prev_sample
    raise AssertionError(t)


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_every_sample_follows_its_own_grid(
    prediction: str, load: Callable[..., Sd15], tmp_path_factory: pytest.TempPathFactory, *, stop: bool
) -> None:
    """Trap 2: a batched solver that takes the first sample's sigmas for all."""
    family = load(folder=str(write_sd15(tmp_path_factory.mktemp("model"), prediction_type=prediction)))
    condition = family.condition(["rose", "tulip", "", "daisy"])
    found = rollouts.rollout(family.predict, family.process, noise(), T, condition, steps=20, stop=stop)
    for row, t in enumerate(T.tolist()):
        state, predicted = alone(family, noise()[row], t, condition[row : row + 1], 20)
        torch.testing.assert_close(found.latents[row], state, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.prediction[row], predicted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("at_once", [1, 2, 3, None])
def test_a_sample_does_not_depend_on_the_others_of_its_batch(sd15: Sd15, at_once: int | None) -> None:
    """Nor on when a place in the batch becomes free for it."""
    t = torch.tensor([999, 3, 512, 50, 640, 20, 777])
    condition = sd15.condition([f"flower {index % 3}" for index in range(7)])
    together = rollouts.rollout(sd15.predict, sd15.process, noise(7), t, condition, steps=10, at_once=at_once)
    for row in range(7):
        one = slice(row, row + 1)
        alone = rollouts.rollout(sd15.predict, sd15.process, noise(7)[one], t[one], condition[one], steps=10)
        torch.testing.assert_close(together.latents[row], alone.latents[0], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(together.prediction[row], alone.prediction[0], atol=2e-5, rtol=1e-4)
        assert together.forwards[row] == alone.forwards[0]


def test_samples_that_have_arrived_make_room_for_others(sd15: Sd15) -> None:
    """64 samples, 8 at once: the forwards stay full until the last few, and there are as many as the sum of all needs asks."""
    t = torch.tensor([seeds.integer(1000, 0, "t", index) for index in range(64)])
    found, rows = counted(sd15.process, noise(64), t, at_once=8)
    needed = rollouts.forwards(t, length=1000, steps=20)
    assert sum(rows) == int(needed.sum()) == int(found.forwards.sum())
    assert found.forwards.tolist() == needed.tolist()
    full = rows.count(8)
    assert full * 8 > 0.98 * sum(rows)
    assert len(rows) <= -(-sum(rows) // 8) + 2


def test_several_states_of_one_trajectory_cost_one_trajectory(sd15: Sd15) -> None:
    condition = sd15.condition(["rose", "tulip"])
    t = torch.tensor([[640, 140, 940], [77, 77, 577]])
    found = rollouts.rollout(sd15.predict, sd15.process, noise(2), t, condition, steps=20)
    assert found.latents.shape == (2, 3, *noise(2).shape[1:])
    assert found.forwards.tolist() == [18.0, 19.0]
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)):
        state, predicted = alone(sd15, noise(2)[row], int(t[row, column]), condition[row : row + 1], 20)
        torch.testing.assert_close(found.latents[row, column], state, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.prediction[row, column], predicted, atol=1e-4, rtol=1e-4)


def test_states_off_the_trajectorys_grid_are_refused(sd15: Sd15) -> None:
    with pytest.raises(RolloutError, match="multiple of 50 apart"):
        rollouts.rollout(sd15.predict, sd15.process, noise(1), torch.tensor([[100, 151]]), sd15.condition([""]), steps=20)


def test_a_schedule_that_ends_in_pure_noise_gives_numbers() -> None:
    """Zero terminal SNR, as v-prediction models have it: the first step is exact where lambda is minus infinity."""
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True}
    process = Ddpm.from_config({**config, "prediction_type": "v_prediction"})
    picture = torch.full((1, 4, 2, 2), 0.5)

    def perfect(latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        share = process.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        drawn = (latents - share.sqrt() * picture) / (1 - share).sqrt()
        return process.target(picture, drawn, t)

    start = seeds.noise((4, 2, 2), ["a"], 0, "test")
    condition = Condition({"states": torch.zeros(1, 1)})
    found = rollouts.rollout(perfect, process, start, torch.tensor([49]), condition, steps=20)
    share = process.alphas_cumprod[49]
    torch.testing.assert_close(found.latents, share.sqrt() * picture + (1 - share).sqrt() * start, atol=1e-4, rtol=1e-4)


def counted(process: Ddpm, start: torch.Tensor, t: torch.Tensor, **settings: int | None) -> tuple[States, list[int]]:
    """A rollout of a network that says nothing, and how many samples each of its forwards had."""
    rows: list[int] = []

    def predict(latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        assert len(latents) == len(t) == len(condition)
        rows.append(len(latents))
        return torch.zeros_like(latents)

    condition = Condition({"states": torch.zeros(len(t), 1)})
    return rollouts.rollout(predict, process, start, t, condition, steps=20, **settings), rows  # type: ignore[arg-type]


def test_the_first_state_is_the_noise_itself(sd15: Sd15) -> None:
    found = rollouts.rollout(sd15.predict, sd15.process, noise(1), torch.tensor([960]), sd15.condition(["rose"]), steps=20)
    assert torch.equal(found.latents, noise(1))


def test_stopping_saves_the_forwards_that_it_says(sd15: Sd15) -> None:
    stopped, rows = counted(sd15.process, noise(), T, stop=True)
    assert sum(rows) == int(rollouts.forwards(T, length=1000, steps=20).sum()) == 1 + 20 + 10 + 19
    assert stopped.forwards.tolist() == [1.0, 20.0, 10.0, 19.0]
    whole, rows = counted(sd15.process, noise(), T, stop=False)
    assert sum(rows) == 80
    assert whole.forwards.tolist() == [20.0] * 4


def test_over_all_timesteps_stopping_halves_the_forwards() -> None:
    assert rollouts.forwards(torch.arange(1000), length=1000, steps=20).float().mean().item() == 10.5


def test_steps_that_leave_timesteps_out_are_refused(sd15: Sd15) -> None:
    with pytest.raises(RolloutError, match="must divide 1000"):
        rollouts.rollout(sd15.predict, sd15.process, noise(1), torch.tensor([1]), sd15.condition([""]), steps=7)


FLOW = RectifiedFlow(shift=3.0)


def bent(latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
    """A velocity that depends on everything."""
    level = (t / 1000).reshape(-1, 1, 1, 1)
    return torch.sin(latents * 1.3 + level * 4) + condition.tensors["states"].reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("at_once", [None, 3])
def test_euler_samples_are_diffusers_own_each_alone(at_once: int | None) -> None:
    condition = Condition({"states": torch.tensor([0.1, -0.4, 0.9, 0.0])})
    found = rollouts.euler(bent, FLOW, noise(), condition, steps=10, at_once=at_once)
    for row in range(4):
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
        scheduler.set_timesteps(10)
        state = noise()[row : row + 1]
        for here in scheduler.timesteps:
            state = scheduler.step(bent(state, here[None], condition[row : row + 1]), here, state).prev_sample
        torch.testing.assert_close(found[row], state[0], atol=1e-5, rtol=1e-5)
