import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pairwright.context import Context
from pairwright.diffusion import adapters, encodings, objectives, policy, training
from pairwright.diffusion.batches import Batches
from pairwright.diffusion.families import Condition
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.diffusion.losers import Gated
from pairwright.diffusion.objectives import Errors, dpo
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
        1 if options.micro_batch == "auto" else options.micro_batch,
        options.seed,
        flips=True,
        dropout=options.caption_dropout,
    )
    return Trainer(options, actors, batches)


def gradient(found: Trainer, step: int) -> tuple[torch.Tensor, Errors]:
    """The gradient of one batch's loss as one vector, and the errors that it came from."""
    ((errors, _),) = found.errors(step)
    loss = found.loss(errors)
    parts = torch.autograd.grad(loss, list(found.policy.trained.values()), allow_unused=True)
    zero = torch.zeros(1)
    return torch.cat([zero if part is None else part.flatten() for part in parts]), errors


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


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


def test_a_step_whose_gates_are_all_shut_goes_on_by_its_momentum(sd15: Sd15, store: Store) -> None:
    """As the published loop does, whose gradient is then 0 and not absent."""
    found = trainer(sd15, store, objective="dro", optimiser={"learning_rate": 1e-3, "weight_decay": 0.0})
    running = training.steps(found)
    next(running)
    before = {name: value.detach().clone() for name, value in found.policy.trained.items()}
    moments = [found.optimiser.state[value]["exp_avg"].clone() for value in found.policy.trained.values()]
    found.losers = Gated(ROLLOUT["steps"], -math.inf)  # everybody waits, and nobody's gate opens
    found.loss = lambda errors: objectives.dro(errors, margin=-1e3)  # type: ignore[method-assign]
    second = next(running)
    assert (second.grad_norm, second.losers, second.loss) == (0.0, 4, 0.0)
    for (name, value), moment in zip(found.policy.trained.items(), moments, strict=True):
        torch.testing.assert_close(found.optimiser.state[value]["exp_avg"], 0.9 * moment)
        assert torch.equal(value != before[name], moment != 0)


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
    ((errors, _),) = found.errors(0)
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
    """Trap 10: a margin that grows hides a winner's error that rises."""
    found = trainer(sd15, store, moved=0.1, objective="dpo", beta=100.0)
    with torch.no_grad():
        ((errors, _),) = found.errors(0)
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


def test_the_log_says_which_share_of_the_pairs_is_saturated(sd15: Sd15, store: Store) -> None:
    """Trap 10: with a beta that saturates half of the pairs, that half is reported."""
    found = trainer(sd15, store, moved=0.1, objective="dpo")
    with torch.no_grad():
        ((errors, _),) = found.errors(0)
    gains = errors.gain.abs().sort().values
    beta = 2 * 4 / float(gains[1:3].mean())
    found.settings = found.settings.model_copy(update={"beta": beta})
    assert next(training.steps(found)).saturated == 0.5


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
    """Trap 1: clipping over an iterator that is exhausted clips nothing.

    With plain SGD the step's length is the clipped norm, however large the gradient is.
    """
    found = trainer(load(), store, moved=0.05, objective="dpo", beta=1e6, optimiser={"clip": 0.5})
    found.optimiser = torch.optim.SGD(list(found.policy.trained.values()), lr=1.0)
    before = torch.cat([value.detach().clone().flatten() for value in found.policy.trained.values()])
    first = next(training.steps(found))
    after = torch.cat([value.detach().flatten() for value in found.policy.trained.values()])
    assert first.grad_norm > 1
    assert float((after - before).norm()) == pytest.approx(0.5 * first.lr, rel=1e-2)


@pytest.mark.usefixtures("every_format")
def test_all_but_the_network_is_float32_and_a_small_step_moves_every_weight(load: Callable[..., Sd15], store: Store) -> None:
    """Trap 3: at a learning rate of 2.56e-6 AdamW moves few bfloat16 weights at all."""
    settings = {"objective": "dpo", "dtype": "bfloat16", "optimiser": {"learning_rate": 2.56e-6}}
    found = trainer(load("bfloat16"), store, moved=0.05, **settings)
    assert next(found.policy.network.parameters()).dtype == torch.bfloat16
    (batch,) = found.batches.of_step(0)
    ((errors, _),) = found.errors(0)
    target = found.policy.family.process.target(batch.winner, batch.noise, batch.t)
    kinds = [batch.noise, target, *vars(errors).values(), found.loss(errors), *found.policy.trained.values()]
    assert {each.dtype for each in kinds} == {torch.float32}
    before = torch.cat([value.detach().clone().flatten() for value in found.policy.trained.values()])
    next(training.steps(found))
    after = torch.cat([value.detach().flatten() for value in found.policy.trained.values()])
    assert (after != before).float().mean() > 0.99


@pytest.mark.usefixtures("every_format")
@pytest.mark.parametrize("objective", ["dpo", "dro"])
@pytest.mark.parametrize("micro", [4, 3, 1])
def test_a_policy_that_equals_its_reference_has_a_gain_of_exactly_0_in_bfloat16(
    load: Callable[..., Sd15], store: Store, objective: str, micro: int
) -> None:
    """Trap 4: errors that differ by kernel, dtype or batch shape differ by more than the margin."""
    settings: dict[str, Any] = {
        "objective": objective,
        "dtype": "bfloat16",
        "micro_batch": micro,
        "rollout": {**ROLLOUT, "savings": False},
    }
    found = trainer(load("bfloat16"), store, **settings)
    for errors, _ in found.errors(0):
        nothing = torch.zeros(len(errors.policy_winner))
        assert torch.equal(errors.winner_gain, nothing)
        assert torch.equal(errors.loser_gain, nothing)


@pytest.mark.parametrize(("objective", "samples"), [("dpo", 8), ("dro", 4)])
def test_reference_and_policy_see_batches_of_the_same_shape_and_the_reference_comes_first(
    sd15: Sd15, store: Store, monkeypatch: pytest.MonkeyPatch, objective: str, samples: int
) -> None:
    """Trap 4: other shapes are other kernels. Four pairs, winners and losers together; of a fresh policy the winners alone."""
    found, rows, graded = trainer(sd15, store, objective=objective), list[int](), list[bool]()
    real = sd15.predict

    def predict(latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        rows.append(len(latents))
        graded.append(torch.is_grad_enabled())
        return real(latents, t, condition)

    monkeypatch.setattr(sd15, "predict", predict)
    next(training.steps(found))
    assert rows == [samples, samples]
    assert graded == [False, True]


def test_checkpointed_activations_give_the_same_gradient(load: Callable[..., Sd15], store: Store) -> None:
    """The recomputed forward runs in the backward pass: it must see the policy's adapters, not the reference's."""
    gradients = []
    for checkpointed in (False, True):
        found = trainer(load(), store, moved=0.1, objective="dpo", beta=10.0)
        if checkpointed:
            found.policy.network.enable_gradient_checkpointing()  # type: ignore[operator]
        gradients.append(gradient(found, 0)[0])
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


def poisoned(found: Trainer, steps: set[int], value: float = math.nan) -> None:
    """Make the loss of these steps (from 0) not finite, as a network that overflows would."""
    whole, now = found.batches, {"step": -1}

    def loss(errors: Errors) -> torch.Tensor:
        return objectives.of(found.settings)(errors) * (value if now["step"] in steps else 1.0)

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(whole, name)

        def of_step(self, step: int) -> Any:
            now["step"] = step
            return whole.of_step(step)

    found.batches = Counting()  # type: ignore[assignment]
    found.loss = loss  # type: ignore[method-assign]


def everything(found: Trainer) -> list[torch.Tensor]:
    """Every number that a step may change."""
    states = [value for each in found.optimiser.state_dict()["state"].values() for value in each.values()]
    averages = list(found.average.tensors.values()) if found.average else []
    return [value.detach().clone() for value in (*found.policy.trained.values(), *states, *averages)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_that_is_not_finite_is_skipped_and_changes_nothing(sd15: Sd15, store: Store, value: float) -> None:
    found = trainer(sd15, store, objective="sft", steps=4, ema=0.9)
    poisoned(found, {1, 2}, value)
    states = []
    done = []
    for step in training.steps(found):
        done.append(step)
        states.append(everything(found))
    assert [step.skipped for step in done] == [False, True, True, False]
    assert all(torch.equal(one, other) for one, other in zip(states[0], states[2], strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(states[2], states[3], strict=True))
    row = done[1].row()
    assert (row["loss"], row["grad_norm"], row["skipped"]) == (None, None, True), "JSON has no NaN"
    assert done[3].lr == done[0].lr


def test_too_many_steps_in_a_row_that_are_not_finite_stop_the_training(sd15: Sd15, store: Store) -> None:
    found = trainer(sd15, store, objective="sft", steps=9, max_skips=3, dtype="bfloat16")
    poisoned(found, {0, 1, 3, 4, 5})
    running = training.steps(found)
    assert [next(running).skipped for _ in range(6)] == [True, True, False, True, True, True]
    with pytest.raises(
        TrainingError, match=r"step 6: loss nan.*the 3th step in a row.*learning_rate, a warm-up, dtype = 'float32'"
    ):
        next(running)
    assert all(bool(value.isfinite().all()) for value in found.policy.trained.values())


def test_rollout_steps_that_leave_timesteps_out_are_said_at_once(sd15: Sd15, store: Store) -> None:
    with pytest.raises(RolloutError, match="must divide 1000"):
        trainer(sd15, store, objective="dro", rollout={"steps": 7})


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_a_step_lowers_its_own_loss(sd15: Sd15, store: Store, objective: str) -> None:
    found = trainer(sd15, store, moved=0.05, objective=objective, beta=100.0, optimiser={"learning_rate": 1e-4})

    def errors() -> Errors:
        with torch.no_grad():
            ((errors, _),) = found.errors(0)
            return errors

    before = errors()
    next(training.steps(found))
    after = errors()
    assert found.loss(after) < found.loss(before)
    if objective == "dpo":
        assert after.gain.mean() > before.gain.mean()
