import math
from typing import Any

import pytest
import torch

from pairwright.diffusion import objectives
from pairwright.diffusion.objectives import Errors, denoising_error, dpo, dro, focus_weight, hinge, ipo, sft, with_sft
from pairwright.options import Focus, Train


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
    """Trap 7."""
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


def test_a_gain_below_bfloat16s_spacing_is_seen() -> None:
    """Trap 4: near 0.12 bfloat16 knows no number between 0.1196 and 0.1201, and the margin is 0.001."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3, 4, 64, 64, generator=generator)
    predictions = [(target + scale * torch.randn(target.shape, generator=generator)).bfloat16() for scale in (0.3464, 0.3468)]
    exact = [(each.double() - target.double()).square().mean((1, 2, 3)) for each in predictions]
    assert all(((each - 0.12).abs() < 0.005).all() for each in exact)
    same = torch.zeros(3)
    found = Errors(denoising_error(predictions[0], target), same, denoising_error(predictions[1], target), same).gain
    torch.testing.assert_close(found.double(), exact[1] - exact[0], rtol=0, atol=2e-7)
    assert found.abs().max() > 1e-5


def test_a_mask_weighs_the_mean() -> None:
    target = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.5]]]])
    # Channel 1: 1 * 1 + 0.5 * 16 = 9, channel 2: 1.5; weights 1.5 per channel.
    assert denoising_error(torch.zeros_like(target), target, mask).item() == pytest.approx(10.5 / 3)


def test_ipo_by_hand() -> None:
    # beta 100: 0.5 * 100 * gain = 1.5 and -1; less 0.5, squared: 1 and 2.25.
    assert ipo(errors(), beta=100).item() == pytest.approx(1.625, abs=1e-5)


def test_ipo_is_the_papers_loss_times_beta_squared() -> None:
    beta, gain = 100.0, errors().gain
    printed = ((0.5 * gain - 1 / (2 * beta)) ** 2).mean()  # h = 0.5 * gain, tau = beta
    assert ipo(errors(), beta=beta).item() == pytest.approx(beta**2 * printed.item(), rel=1e-5)


def test_ipo_wants_a_gain_of_one_over_beta_and_pulls_back_beyond_it() -> None:
    winner = torch.tensor([0.10, 0.10, 0.10], requires_grad=True)
    reference = torch.tensor([0.105, 0.11, 0.12])  # gains 0.005, 0.01, 0.02
    same = torch.zeros(3)
    ipo(Errors(winner, same, reference, same), beta=100).backward()
    assert winner.grad is not None
    # d/d winner = -(0.5 * beta) * 2 * (0.5 * beta * gain - 0.5) / 3 = 8.333, 0, -16.667
    torch.testing.assert_close(winner.grad, torch.tensor([25 / 3, 0.0, -50 / 3]), rtol=1e-4, atol=1e-4)


def test_hinge_by_hand() -> None:
    # beta 100: relu(1 - 1.5) = 0 and relu(1 + 1) = 2.
    assert hinge(errors(), beta=100).item() == pytest.approx(1.0, abs=1e-5)


def test_hinge_is_dro_with_another_margin_and_scale() -> None:
    assert hinge(errors(), beta=100).item() == pytest.approx(0.5 * 100 * dro(errors(), margin=2 / 100).item(), rel=1e-5)


def test_a_light_loser_counts_less_by_hand() -> None:
    # Winner gains 0.02 and 0.01, loser gains -0.01 and 0.03, weight 0.5: 0.025 and -0.005; beta 100: 1.25 and -0.25.
    light = {"beta": 100, "loser_weight": 0.5}
    assert dpo(errors(), **light).item() == pytest.approx((0.2519286 + 0.8259394) / 2, abs=1e-5)
    assert ipo(errors(), **light).item() == pytest.approx((0.75**2 + 0.75**2) / 2, abs=1e-5)
    assert hinge(errors(), **light).item() == pytest.approx((0 + 1.25) / 2, abs=1e-5)


@pytest.mark.parametrize("objective", [dpo, ipo, hinge])
def test_a_loser_without_weight_has_no_gradient(objective: Any) -> None:
    loser = torch.tensor([0.31, 0.37], requires_grad=True)
    found = Errors(errors().policy_winner, loser, errors().reference_winner, errors().reference_loser)
    assert torch.autograd.grad(objective(found, beta=10, loser_weight=0.0), loser)[0].tolist() == [0.0, 0.0]
    assert (torch.autograd.grad(objective(found, beta=10), loser)[0] < 0).all(), "a loser's error should rise"


def test_sft_beside_a_preference_by_hand() -> None:
    # dpo at beta 100 is 0.7573375; the winners' mean error is 0.15, of which 2 parts are added.
    loss = with_sft(lambda each: dpo(each, beta=100), 2.0)
    assert loss(errors()).item() == pytest.approx(0.7573375 + 0.3, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"objective": "sft"}, 0.15),
        ({"objective": "dro", "margin": 0.04}, 0.035),
        ({"objective": "dpo", "beta": 100}, 0.7573375),
        ({"objective": "dpo", "beta": 100, "sft_weight": 2.0}, 1.0573375),
        ({"objective": "dpo", "beta": 100, "loser_weight": 0.5}, 0.538934),
        ({"objective": "ipo", "beta": 100}, 1.625),
        ({"objective": "hinge", "beta": 100, "sft_weight": 1.0}, 1.15),
    ],
)
def test_the_settings_choose_the_loss(settings: dict[str, Any], expected: float) -> None:
    chosen = Train.model_validate({"start": "tiny:base", **settings})
    assert objectives.of(chosen)(errors()).item() == pytest.approx(expected, abs=1e-5)


def test_a_gain_that_bfloat16_cannot_hold_is_seen() -> None:
    """Near 0.12 bfloat16 counts in steps of 4.9e-4, half of DRO's margin."""
    policy, reference = torch.full((1, 4, 8, 8), 0.3464), torch.full((1, 4, 8, 8), 0.3468)  # errors 0.11999 and 0.12027
    target, same = torch.zeros(1, 4, 8, 8), torch.tensor([0.2])
    found = Errors(denoising_error(policy, target), same, denoising_error(reference, target), same)
    gain = 0.3468**2 - 0.3464**2
    assert found.gain.item() == pytest.approx(gain, rel=1e-3)
    assert dro(found, margin=0.001).item() == pytest.approx(0.001 - gain, rel=1e-3)
    rounded = (found.reference_winner.bfloat16() - found.policy_winner.bfloat16()).item()  # type: ignore[union-attr]
    assert abs(rounded - gain) > 0.3 * gain, "the numbers were chosen so that bfloat16 would be wrong"


def test_predictions_in_bfloat16_have_errors_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(2, 4, 16, 16, generator=generator).bfloat16()
    target = torch.randn(2, 4, 16, 16, generator=generator)
    exact = ((prediction.double() - target.double()) ** 2).flatten(1).mean(1)
    found = denoising_error(prediction, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("objective", [dpo, ipo])
def test_every_pair_has_a_loss_of_its_own(objective: Any) -> None:
    """The mean of the losses, which is not the loss of the mean gain."""
    alone = [objective(Errors(*(part[row : row + 1] for part in vars(errors()).values())), beta=100).item() for row in range(2)]
    assert objective(errors(), beta=100).item() == pytest.approx(sum(alone) / 2, abs=1e-5)


def test_a_gain_that_spoils_both_sides_is_told_from_one_that_does_not() -> None:
    """The same gain of 0.02: once winners got better, once they got worse and losers more so (the known collapse)."""
    ones = torch.tensor([0.2])
    healthy = Errors(ones - 0.02, ones, ones, ones)
    collapsing = Errors(ones + 0.03, ones + 0.05, ones, ones)
    torch.testing.assert_close(healthy.gain, collapsing.gain)
    assert dpo(healthy, beta=2000).item() == pytest.approx(dpo(collapsing, beta=2000).item(), abs=1e-6)
    assert healthy.winner_gain.item() == pytest.approx(0.02, abs=1e-6)
    assert collapsing.winner_gain.item() == pytest.approx(-0.03, abs=1e-6)
    assert with_sft(lambda each: dpo(each, beta=2000), 1.0)(collapsing) > with_sft(lambda each: dpo(each, beta=2000), 1.0)(healthy)


def test_beta_2000_saturates_at_a_gain_of_a_hundredth() -> None:
    """Trap 10: what saturates must be seen, so the log says which share does."""
    winner = torch.tensor([0.2], requires_grad=True)
    steep, flat = (
        torch.autograd.grad(dpo(Errors(winner, torch.zeros(1), torch.tensor([0.2 + gain]), torch.zeros(1)), beta=2000), winner)[0]
        for gain in (0.0, 0.01)
    )
    # The gradient is 1000 * sigmoid(-1000 * gain): 500, and 1000 / (1 + exp(10)) = 0.0454.
    assert steep.item() == pytest.approx(500, rel=1e-5)
    assert flat.item() == pytest.approx(0.0454, rel=1e-2)


def test_focus_on_the_mask_leaves_the_rest_its_weight() -> None:
    mask = torch.tensor([[[[1.0, 0.0], [0.5, 0.0]]]])
    assert focus_weight(Focus(), {"mask": mask}) is None
    found = focus_weight(Focus(on="mask", rest=0.2), {"mask": mask})
    assert found is not None
    torch.testing.assert_close(found, torch.tensor([[[[1.0, 0.2], [0.6, 0.2]]]]))


def test_focus_on_the_difference_is_1_where_it_is_largest() -> None:
    winner = torch.zeros(1, 2, 1, 3)
    loser = torch.tensor([[[[0.0, 1.0, 4.0]], [[0.0, -3.0, -4.0]]]])  # means of the channels' differences: 0, 2, 4
    found = focus_weight(Focus(on="difference"), {"winner": winner, "loser": loser})
    assert found is not None
    assert found.tolist() == [[[[0.0, 0.5, 1.0]]]]
    other = focus_weight(Focus(on="difference"), {"winner": loser, "loser": winner})
    assert other is not None
    assert torch.equal(found, other), "it has no direction"


def test_a_pair_with_nothing_to_look_at_is_measured_everywhere() -> None:
    same = torch.ones(1, 4, 2, 2)
    for focus, sides in (
        (Focus(on="difference"), {"winner": same, "loser": same}),
        (Focus(on="mask"), {"mask": torch.zeros(1, 1, 2, 2)}),
    ):
        weight = focus_weight(focus, sides)
        assert denoising_error(same, 3 * same, weight).tolist() == [4.0]
