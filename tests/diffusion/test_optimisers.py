from typing import Any

import pytest
import torch
from torch import nn

from pairwright.diffusion import optimisers
from pairwright.diffusion.adapters import Average
from pairwright.options import Optimiser

NAMES = ["matrix", "vector"]


def weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(3, 4, generator=generator)), nn.Parameter(torch.randn(5, generator=generator))]


def step(optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for each in parameters:
        each.grad = torch.randn(each.shape, generator=generator)
    optimiser.step()


def settings(**given: Any) -> Optimiser:
    return Optimiser.model_validate({"learning_rate": 0.1, **given})


def test_warm_up_is_linear_and_then_constant() -> None:
    chosen = settings(learning_rate=1.0, warmup=4)
    assert [optimisers.learning_rate(chosen, number) for number in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert optimisers.learning_rate(settings(learning_rate=0.5), 0) == 0.5


def test_the_first_step_of_adamw_by_hand() -> None:
    """Corrected for their bias, both moments are the gradient itself: every weight moves by the learning rate."""
    parameters = weights()
    matrix = parameters[0]
    before = matrix.detach().clone()
    step(optimisers.build(parameters, settings(weight_decay=0.0)), parameters, 1)
    assert matrix.grad is not None
    torch.testing.assert_close(matrix.detach(), before - 0.1 * matrix.grad.sign(), atol=1e-6, rtol=1e-6)


def test_the_first_step_of_adafactor_by_hand() -> None:
    """Shazeer and Stern 2018, algorithm 4: the second moment is the outer product of row and column means over their mean;
    the learning rate is the given one, whatever the size of the weights."""
    parameters = weights()
    matrix = parameters[0]
    before = matrix.detach().clone()
    step(optimisers.build(parameters, settings(name="adafactor", weight_decay=0.0)), parameters, 1)
    assert matrix.grad is not None
    squares = matrix.grad.square()
    moment = squares.mean(1, keepdim=True) * squares.mean(0, keepdim=True) / squares.mean()
    update = matrix.grad / moment.sqrt()
    update /= max(1.0, float(update.square().mean().sqrt()))
    torch.testing.assert_close(matrix.detach(), before - 0.1 * update, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_state_that_went_through_tensors_goes_on_with_the_same_bits(name: str) -> None:
    whole, resumed = weights(), weights()
    one, other = (optimisers.build(each, settings(name=name)) for each in (whole, resumed))
    for seed in range(3):
        step(one, whole, seed)
    step(other, resumed, 0)
    kept = {key: value.clone() for key, value in optimisers.state(other, NAMES).items()}
    fresh = optimisers.build(resumed, settings(name=name))
    optimisers.put(fresh, NAMES, kept)
    for seed in (1, 2):
        step(fresh, resumed, seed)
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_adafactors_state_is_rows_and_columns() -> None:
    parameters = weights()
    optimiser = optimisers.build(parameters, settings(name="adafactor"))
    step(optimiser, parameters, 0)
    shapes = {key: tuple(value.shape) for key, value in optimisers.state(optimiser, NAMES).items() if "exp" in key}
    assert shapes == {"matrix|exp_avg_sq_row": (3,), "matrix|exp_avg_sq_col": (4,), "vector|exp_avg_sq": (5,)}
    assert optimisers.bytes_to_come(parameters, settings(name="adafactor")) == 0
    assert optimisers.bytes_to_come(parameters, settings()) == 17 * 8


def test_an_average_of_fixed_decay_moves_every_so_many_steps() -> None:
    """SD-3.5-M: 0.9 every 8; by hand 0 -> 0.1 -> 0.19 towards a weight of 1."""
    average = Average({"w": torch.zeros(1)}, 0.9, every=8, warmup=False)
    found = []
    for number in range(1, 17):
        average.update({"w": torch.ones(1)}, number)
        found.append(round(float(average.tensors["w"]), 6))
    assert found == [0.0] * 7 + [0.1] * 8 + [0.19]
