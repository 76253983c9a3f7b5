from collections.abc import Callable

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from pairwright import seeds
from pairwright.diffusion import rollouts
from pairwright.diffusion.families import Condition
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.diffusion.rollouts import RolloutError
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
    family = load(folder=str(write_sd15(tmp_path_factory.mktemp("model"), prediction_type=prediction)))
    condition = family.condition(["rose", "tulip", "", "daisy"])
    found = rollouts.rollout(family.predict, family.process, noise(), T, condition, steps=20, stop=stop)
    for row, t in enumerate(T.tolist()):
        state, predicted = alone(family, noise()[row], t, condition[row : row + 1], 20)
        torch.testing.assert_close(found.latents[row], state, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.prediction[row], predicted, atol=1e-4, rtol=1e-4)


def test_a_batch_of_one_is_the_same_trajectory(sd15: Sd15) -> None:
    condition = sd15.condition(["rose", "tulip", "", "daisy"])
    together = rollouts.rollout(sd15.predict, sd15.process, noise(), T, condition, steps=10)
    one = rollouts.rollout(sd15.predict, sd15.process, noise()[1:2], T[1:2], condition[1:2], steps=10)
    torch.testing.assert_close(one.latents[0], together.latents[1], atol=1e-4, rtol=1e-4)


def test_the_first_state_is_the_noise_itself(sd15: Sd15) -> None:
    found = rollouts.rollout(sd15.predict, sd15.process, noise(1), torch.tensor([960]), sd15.condition(["rose"]), steps=20)
    assert torch.equal(found.latents, noise(1))


def test_stopping_saves_the_forwards_that_it_says(sd15: Sd15) -> None:
    rows: list[int] = []

    def counted(latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        assert len(latents) == len(t) == len(condition)
        rows.append(len(latents))
        return torch.zeros_like(latents)

    condition = sd15.condition(["rose"] * 4)
    rollouts.rollout(counted, sd15.process, noise(), T, condition, steps=20, stop=True)
    assert sum(rows) == int(rollouts.forwards(T, length=1000, steps=20).sum()) == 1 + 20 + 10 + 19
    rows.clear()
    rollouts.rollout(counted, sd15.process, noise(), T, condition, steps=20, stop=False)
    assert sum(rows) == 80


def test_over_all_timesteps_stopping_halves_the_forwards() -> None:
    assert rollouts.forwards(torch.arange(1000), length=1000, steps=20).float().mean().item() == 10.5


def test_steps_that_leave_timesteps_out_are_refused(sd15: Sd15) -> None:
    with pytest.raises(RolloutError, match="must divide 1000"):
        rollouts.rollout(sd15.predict, sd15.process, noise(1), torch.tensor([1]), sd15.condition([""]), steps=7)
