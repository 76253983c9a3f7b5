import math

import pytest
import torch

from pairwright.diffusion.objectives import Errors, denoising_error, dpo, dro, sft


def errors() -> Errors:
    """Winner gains 0.02 and 0.01, loser gains -0.01 and 0.03, so gains 0.03 and -0.02."""
    return Errors(
        policy_winner=torch.tensor([0.10, 0.20]),
        policy_loser=torch.tensor([0.31, 0.37]),
        reference_winner=torch.tensor([0.12, 0.21]),
        reference_loser=torch.tensor([0.30, 0.40]),
    )


def test_the_gain_is_the_winners_less_the_losers() -> None:
    torch.testing.assert_close(errors().winner_gain, torch.tensor([0.02, 0.01]))
    torch.testing.assert_close(errors().loser_gain, torch.tensor([-0.01, 0.03]))
    torch.testing.assert_close(errors().gain, torch.tensor([0.03, -0.02]))
    assert errors().accuracy.tolist() == [1.0, 0.0]


def test_dpo_by_hand() -> None:
    # beta 100: 0.5 * 100 * gain = 1.5 and -1; -logsigmoid = log(1 + exp(-x)) = 0.201413 and 1.313262.
    assert dpo(errors(), beta=100).item() == pytest.approx((0.201413 + 1.313262) / 2, abs=1e-5)


def test_dpo_is_the_mean_of_the_losses_and_not_the_loss_of_the_mean() -> None:
    of_the_mean = math.log(1 + math.exp(-0.5 * 100 * 0.005))
    assert abs(dpo(errors(), beta=100).item() - of_the_mean) > 0.1


def test_dpo_of_a_policy_that_equals_its_reference_is_log_2() -> None:
    same = torch.tensor([0.5, 0.7])
    assert dpo(Errors(same, same, same, same), beta=2000).item() == pytest.approx(math.log(2))


def test_dro_by_hand() -> None:
    # margin 0.04: relu(0.04 - 0.03) = 0.01 and relu(0.04 + 0.02) = 0.06; margin 0.001: 0 and 0.021.
    assert dro(errors(), margin=0.04).item() == pytest.approx(0.035, abs=1e-6)
    assert dro(errors(), margin=0.001).item() == pytest.approx(0.0105, abs=1e-6)


def test_dro_has_the_gradient_of_the_printed_form() -> None:
    gradients = []
    for printed in (False, True):
        winner = torch.tensor([0.10, 0.20], requires_grad=True)
        found = Errors(winner, errors().policy_loser, errors().reference_winner, errors().reference_loser)
        loss = torch.maximum(torch.tensor(-0.001), -found.gain).mean() if printed else dro(found, margin=0.001)
        gradients.append(torch.autograd.grad(loss, winner)[0])
    assert torch.equal(*gradients)


def test_sft_reads_the_policys_winner_only() -> None:
    assert sft(Errors(torch.tensor([0.1, 0.3]))).item() == pytest.approx(0.2)


def test_what_is_absent_is_said_and_not_taken_for_zero() -> None:
    only = Errors(torch.tensor([0.1]))
    with pytest.raises(ValueError, match="no reference"):
        dpo(only, beta=1)
    with pytest.raises(ValueError, match="no loser"):
        dro(Errors(torch.tensor([0.1]), reference_winner=torch.tensor([0.1])), margin=0)


def test_the_error_is_a_mean_per_sample_in_float32() -> None:
    prediction = torch.zeros(2, 1, 2, 2, dtype=torch.bfloat16)
    target = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 0.0], [0.0, 0.5]]]])
    found = denoising_error(prediction, target)
    assert found.dtype == torch.float32
    assert found.tolist() == [7.5, 0.0625]
    assert denoising_error(prediction[:1], target[:1]).tolist() == [7.5]


def test_a_mask_weighs_the_mean() -> None:
    target = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.5]]]])
    # Channel 1: 1 * 1 + 0.5 * 16 = 9, channel 2: 1.5; weights 1.5 per channel.
    assert denoising_error(torch.zeros_like(target), target, mask).item() == pytest.approx(10.5 / 3)
