import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pairwright.context import Context
from pairwright.diffusion import adapters, encodings, losers, policy, training
from pairwright.diffusion.batches import Batches
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.diffusion.losers import Gated, Losers, OnDisk, Sampled
from pairwright.diffusion.objectives import Errors, dpo, dro
from pairwright.diffusion.rollouts import RolloutError
from pairwright.diffusion.training import Trainer, TrainingError
from pairwright.models import ModelRef
from pairwright.options import Train
from pairwright.store import Store
from tests.miniatures.pairs import write_pairs

ROLLOUT = {"steps": 5}


def trainer(family: Sd15, store: Store, *, moved: float = 0.0, **settings: Any) -> Trainer:
    """A trainer on six pairs; ``moved``: how far the policy is from its reference already."""
    options = Train.model_validate(
        {"start": family.base, "steps": 3, "batch": 4, "micro_batch": 4, "dtype": "float32", "rollout": ROLLOUT, **settings}
    )
    start = ModelRef(family.base, "sd15")
    encoded = encodings.encode(
        write_pairs(store),
        start,
        Context(store),
        sides=("winner", "loser") if options.objective == "dpo" else ("winner",),
        resolution=None,
        flips=True,
        device=family.device,
    )
    actors = policy.build(family, start, None, store, options.lora, seed=options.seed, lagging=training.lagging(options))
    generator = torch.Generator().manual_seed(7)
    for value in actors.trained.values():
        value.data.add_(torch.randn(value.shape, generator=generator) * moved)
    batches = Batches(
        encoded,
        family.process,
        family.device,
        options.batch,
        options.micro_batch,
        options.seed,
        flips=True,
        dropout=options.caption_dropout,
    )
    return Trainer(options, actors, batches)


def gradient(found: Trainer, source: Losers | None, step: int, margin: float | None = None) -> tuple[torch.Tensor, Errors]:
    """The gradient of one batch's loss as one vector, and the errors that it came from."""
    (batch,) = found.batches.of_step(step)
    errors, _ = training.batch_errors(found.policy, batch, source)
    loss = found.loss(errors) if margin is None else dro(errors, margin=margin)
    parts = torch.autograd.grad(loss, list(found.policy.trained.values()), allow_unused=True)
    zero = torch.zeros(1)
    return torch.cat([zero if part is None else part.flatten() for part in parts]), errors


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


def winner_gains(found: Trainer, step: int) -> torch.Tensor:
    (batch,) = found.batches.of_step(step)
    with torch.no_grad():
        errors, asked = training.batch_errors(found.policy, batch, Gated(5, margin=1e9))
    assert asked is not None
    assert not asked.any()
    return errors.winner_gain


def test_every_saving_of_a_fresh_dro_step_leaves_its_gradient(sd15: Sd15, store: Store) -> None:
    """Gates open, gates closed, gates that only the rollout opens: all are met, on 20 seeds."""
    found = trainer(sd15, store, moved=0.15, objective="dro", rollout={"steps": 4})
    unasked, opened, closed = 0, 0, 0
    for step in range(20):
        # A margin between the batch's gains, so that some samples need their loser and some do not.
        gains = winner_gains(found, step)
        margin = float(gains.median().clamp_min(0)) + 1e-4
        expected, full = gradient(found, Sampled(4, stop=False), step, margin)
        saved, partial = gradient(found, Gated(4, margin), step, margin)
        assert relative(saved, expected) < 1e-5
        asked = margin - gains <= 0
        assert partial.reference_loser is not None
        assert partial.reference_loser[~asked].tolist() == [0.0] * int((~asked).sum())
        unasked += int((~asked).sum())
        opened += int((asked & (margin - full.gain > 0)).sum())
        closed += int((asked & (margin - full.gain <= 0)).sum())
    assert min(unasked, opened, closed) > 0


def test_stopping_at_the_state_is_exact_for_a_lagging_policy_too(sd15: Sd15, store: Store) -> None:
    found = trainer(sd15, store, moved=0.1, objective="dro", rollout={**ROLLOUT, "refresh": 2})
    assert found.policy.snapshot != found.policy.chain
    for value in found.policy.trained.values():
        value.data.mul_(1.3)
    for step in range(4):
        expected, _ = gradient(found, Sampled(5, stop=False), step, 0.01)
        saved, _ = gradient(found, Sampled(5, stop=True), step, 0.01)
        gated, _ = gradient(found, Gated(5, 0.01), step, 0.01)
        assert relative(saved, expected) < 1e-5
    assert relative(gated, expected) > 1e-3, "the other savings are not exact for a lagging policy"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"objective": "sft"}, None),
        ({"objective": "dpo"}, OnDisk()),
        ({"objective": "dro"}, Gated(5, 0.001)),
        ({"objective": "dro", "rollout": {"steps": 5, "refresh": 16}}, Sampled(5, stop=True)),
        ({"objective": "dro", "rollout": {"steps": 5, "savings": False}}, Sampled(5, stop=False)),
        ({"objective": "dro", "rollout": {"steps": 5, "savings": False, "refresh": 16}}, Sampled(5, stop=False)),
    ],
)
def test_savings_are_taken_where_they_are_exact(settings: dict[str, Any], expected: Losers | None) -> None:
    assert training.losers(Train.model_validate({"start": "tiny:base", "rollout": ROLLOUT, **settings})) == expected


def test_savings_give_the_published_loops_weights(load: Callable[..., Sd15], store: Store) -> None:
    weights = []
    for savings in (False, True):
        # The margin is small enough for some samples to need their rollout after the first step.
        found = trainer(
            load(),
            store,
            objective="dro",
            margin=1e-5,
            rollout={**ROLLOUT, "savings": savings},
            micro_batch=2,
            optimiser={"learning_rate": 1e-3, "epsilon": 1e-4},
        )
        done = list(training.steps(found))
        weights.append(torch.cat([value.detach().flatten() for value in found.policy.trained.values()]))
    assert 0 < sum(step.losers for step in done) < 12
    torch.testing.assert_close(weights[1], weights[0], atol=1e-6, rtol=1e-4)


def test_at_the_start_no_rollout_is_needed_and_the_loss_is_the_margin(sd15: Sd15, store: Store) -> None:
    first = next(training.steps(trainer(sd15, store, objective="dro")))
    assert (first.losers, first.rollouts) == (0, 0.0)
    assert first.loss == pytest.approx(0.001)
    assert first.policy_winner == first.reference_winner
    assert first.policy_loser is None


def test_dpo_starts_at_log_2_and_shares_timestep_and_noise(sd15: Sd15, store: Store) -> None:
    found = trainer(sd15, store, objective="dpo")
    (batch,) = found.batches.of_step(0)
    assert batch.loser is not None
    errors, _ = training.batch_errors(found.policy, batch, OnDisk())
    process = sd15.process
    with torch.no_grad():
        for latents, error in ((batch.winner, errors.policy_winner), (batch.loser, errors.policy_loser)):
            state = process.add_noise(latents, batch.noise, batch.t)
            by_hand = (sd15.predict(state, batch.t, batch.condition) - batch.noise).square().mean((1, 2, 3))
            assert error is not None
            torch.testing.assert_close(error.detach(), by_hand)
    first = next(training.steps(found))
    assert first.loss == pytest.approx(math.log(2))
    assert (first.rewards_margins, first.rewards_accuracies, first.losers) == (0.0, 0.0, 4)


def test_the_log_reports_winner_and_loser_apart(sd15: Sd15, store: Store) -> None:
    found = trainer(sd15, store, moved=0.1, objective="dpo", beta=100.0)
    (batch,) = found.batches.of_step(0)
    with torch.no_grad():
        errors, _ = training.batch_errors(found.policy, batch, OnDisk())
    first = next(training.steps(found))
    assert first.rewards_chosen == pytest.approx(50 * float(errors.winner_gain.mean()), rel=1e-4)
    assert first.rewards_rejected == pytest.approx(50 * float(errors.loser_gain.mean()), rel=1e-4)
    assert first.rewards_margins == pytest.approx(50 * float(errors.gain.mean()), rel=1e-4)
    assert first.rewards_accuracies == float(errors.accuracy.mean())
    assert first.loss == pytest.approx(float(dpo(errors, beta=100.0)), rel=1e-5)
    names = first.row()
    assert {
        "loss",
        "lr",
        "grad_norm",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
    } <= names.keys()
    assert {"policy_winner", "policy_loser", "reference_winner", "reference_loser"} <= names.keys()


@pytest.mark.parametrize("objective", ["sft", "dpo", "dro"])
def test_the_micro_batch_changes_the_step_by_rounding_only(load: Callable[..., Sd15], store: Store, objective: str) -> None:
    weights = []
    for micro in (4, 3, 1):
        found = trainer(load(), store, moved=0.05, objective=objective, micro_batch=micro, steps=1, optimiser={"epsilon": 1e-4})
        list(training.steps(found))
        weights.append(torch.cat([value.detach().flatten() for value in found.policy.trained.values()]))
    torch.testing.assert_close(weights[1], weights[0], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(weights[2], weights[0], atol=1e-6, rtol=1e-4)


def test_sft_asks_neither_reference_nor_loser(sd15: Sd15, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found = trainer(sd15, store, objective="sft")
    monkeypatch.setattr(policy.Policy, "reference_error", None)
    first = next(training.steps(found))
    assert (first.reference_winner, first.policy_loser, first.rewards_margins) == (None, None, None)
    assert first.loss == pytest.approx(first.policy_winner)


def test_gradients_are_clipped(load: Callable[..., Sd15], store: Store) -> None:
    """With plain SGD the step's length is the clipped norm, however large the gradient is."""
    found = trainer(load(), store, moved=0.05, objective="dpo", beta=1e6, optimiser={"clip": 0.5})
    found.optimiser = torch.optim.SGD(list(found.policy.trained.values()), lr=1.0)
    before = torch.cat([value.detach().clone().flatten() for value in found.policy.trained.values()])
    first = next(training.steps(found))
    after = torch.cat([value.detach().flatten() for value in found.policy.trained.values()])
    assert first.grad_norm > 1
    assert float((after - before).norm()) == pytest.approx(0.5 * first.lr, rel=1e-2)


def test_checkpointed_activations_give_the_same_gradient(load: Callable[..., Sd15], store: Store) -> None:
    """The recomputed forward runs in the backward pass: it must see the policy's adapters, not the reference's."""
    gradients = []
    for checkpointed in (False, True):
        found = trainer(load(), store, moved=0.1, objective="dpo", beta=10.0)
        if checkpointed:
            found.policy.network.enable_gradient_checkpointing()  # type: ignore[operator]
        gradients.append(gradient(found, OnDisk(), 0)[0])
    assert relative(gradients[1], gradients[0]) < 1e-5


def test_a_lagging_policy_is_refreshed_every_so_many_steps(sd15: Sd15, store: Store) -> None:
    found = trainer(
        sd15, store, objective="dro", steps=5, rollout={"steps": 1, "refresh": 2}, optimiser={"learning_rate": 1e-3}, batch=1
    )
    fresh = []
    for _ in training.steps(found):
        snapshot = adapters.parameters(sd15.network, policy.SNAPSHOT)
        fresh.append(sum(float((value - snapshot[key]).detach().abs().max()) for key, value in found.policy.trained.items()))
    # Right after a refresh the policy is one step ahead, one step later two.
    assert fresh[1] > fresh[0] > 0
    assert fresh[3] > fresh[2] > 0
    assert fresh[2] < fresh[1]


def test_a_loss_that_is_not_a_number_stops_with_the_steps_number(sd15: Sd15, store: Store) -> None:
    found = trainer(sd15, store, objective="sft", steps=4)
    running = training.steps(found)
    next(running)
    value = next(iter(found.policy.trained.values()))
    value.data.fill_(torch.nan)
    with pytest.raises(TrainingError, match="step 2: loss nan"):
        next(running)


def test_rollout_steps_that_leave_timesteps_out_are_said_at_once(sd15: Sd15, store: Store) -> None:
    with pytest.raises(RolloutError, match="must divide 1000"):
        trainer(sd15, store, objective="dro", rollout={"steps": 7})


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_a_step_lowers_its_own_loss(sd15: Sd15, store: Store, objective: str) -> None:
    found = trainer(sd15, store, moved=0.05, objective=objective, beta=100.0, optimiser={"learning_rate": 1e-4})
    (batch,) = found.batches.of_step(0)

    def errors() -> Errors:
        with torch.no_grad():
            return training.batch_errors(found.policy, batch, found.losers)[0]

    before = errors()
    next(training.steps(found))
    after = errors()
    assert found.loss(after) < found.loss(before)
    if objective == "dpo":
        assert after.gain.mean() > before.gain.mean()


def test_warm_up_is_linear_and_then_constant() -> None:
    settings = Train.model_validate(
        {"objective": "sft", "start": "tiny:base", "optimiser": {"learning_rate": 1.0, "warmup": 4}}
    ).optimiser
    assert [training.learning_rate(settings, step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_own_states_are_the_snapshots_and_leave_the_policy_active(sd15: Sd15, store: Store) -> None:
    found = trainer(sd15, store, objective="dro", rollout={**ROLLOUT, "refresh": 4})
    (batch,) = found.batches.of_step(0)
    before = losers.own_states(found.policy, batch, torch.arange(4), steps=5, stop=True)
    for value in found.policy.trained.values():
        value.data.add_(0.2)
    after = losers.own_states(found.policy, batch, torch.arange(4), steps=5, stop=True)
    assert torch.equal(before.prediction, after.prediction)
    active = {tuple(layer.active_adapters) for layer in adapters.lora_layers(sd15.network)}
    assert active == {("policy",)}
