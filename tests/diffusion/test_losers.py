from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from pairwright.diffusion import adapters, families, losers
from pairwright.diffusion.batches import Batches
from pairwright.diffusion.families import Condition, Family
from pairwright.diffusion.losers import Gated, Losers, OnDisk, Replayed, Sampled
from pairwright.diffusion.objectives import Errors, dro
from pairwright.diffusion.own_states import Kept, own_states
from pairwright.diffusion.policy import Policy
from pairwright.diffusion.processes import Ddpm, RectifiedFlow
from pairwright.diffusion.replay import Replay
from pairwright.models import ModelRef
from pairwright.options import Train
from pairwright.store import Store
from tests.diffusion.actors import make_batches, make_policy, move
from tests.miniatures.sd35 import write_sd35

CPU = torch.device("cpu")
STEPS = 5
FLOW, DDPM = RectifiedFlow(3.0), Ddpm(torch.linspace(0.999, 0.005, 1000), "epsilon")


@pytest.fixture(scope="session")
def flow_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_sd35(tmp_path_factory.mktemp("sd35"), t5=False))


@pytest.fixture
def of(base: str, flow_base: str) -> Callable[[str], Family]:
    """A fresh family by name."""

    def build(name: str) -> Family:
        return families.load_base(ModelRef(base if name == "sd15" else flow_base, name), dtype="float32", device=CPU)

    return build


def gradient(policy: Policy, batches: Batches, source: Losers, step: int, margin: float) -> tuple[torch.Tensor, Errors]:
    """The gradient of one step's loss as one vector, and the errors of its samples."""
    total: torch.Tensor | float = 0.0
    found: list[Errors] = []
    for errors, _ in source.of_step(policy, step, batches):
        total = total + dro(errors, margin=margin) * len(errors.policy_winner) / batches.size
        found.append(errors)
    assert isinstance(total, torch.Tensor)
    parts = torch.autograd.grad(total, list(policy.trained.values()), allow_unused=True)
    names = ("policy_winner", "policy_loser", "reference_winner", "reference_loser")
    errors = Errors(*(torch.cat([getattr(each, name).detach() for each in found]) for name in names))
    return torch.cat([torch.zeros(1) if part is None else part.flatten() for part in parts]), errors


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


@contextmanager
def counted(family: Family, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many samples each forward of the network has."""
    rows: list[int] = []
    real = family.predict

    def predict(latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        rows.append(len(latents))
        return real(latents, t, condition)

    with monkeypatch.context() as patched:
        patched.setattr(family, "predict", predict)
        yield rows


@pytest.mark.parametrize(("name", "moved"), [("sd15", 0.15), ("sd35", 0.05)])
@pytest.mark.parametrize("states", [1, 2])
def test_every_saving_of_a_fresh_step_leaves_its_gradient(
    name: str, moved: float, states: int, of: Callable[[str], Family], store: Store
) -> None:
    """Gates open, gates closed, gates that only the rollout opens: all are met, on 20 seeds."""
    policy = make_policy(of(name), store, moved=moved)
    unasked, opened, closed = 0, 0, 0
    for seed in range(20):
        replay = Replay(4, states, 4 // states, STEPS, seed) if states > 1 else None
        batches = make_batches(policy.family, seed=seed, replay=replay)
        _, known = gradient(policy, batches, Gated(STEPS, 1e9), 0, 1e9)
        # Between the batch's gains, so that some samples need their loser and some do not.
        margin = float(known.winner_gain.sort().values[1:3].mean())
        expected, full = gradient(policy, batches, Sampled(STEPS, stop=False), 0, margin)
        saved, partial = gradient(policy, batches, Gated(STEPS, margin), 0, margin)
        assert relative(saved, expected) < 1e-5
        assert full.policy_loser is not None
        assert partial.reference_loser is not None
        assert full.policy_loser.max() < 1e-9, "a fresh policy has nothing to learn from what it says itself"
        asked = margin - known.winner_gain <= 0
        count = int((~asked).sum())
        assert partial.reference_loser[:count].tolist() == [0.0] * count, "those that need none come first"
        assert (partial.reference_loser[count:] > 0).all()
        unasked += int((~asked).sum())
        opened += int((asked & (margin - full.gain > 0)).sum())
        closed += int((asked & (margin - full.gain <= 0)).sum())
    assert unasked == 40
    assert min(opened, closed) > 0


@pytest.mark.parametrize("name", ["sd15", "sd35"])
def test_sampling_a_whole_step_at_once_is_exact_for_a_lagging_policy(name: str, of: Callable[[str], Family], store: Store) -> None:
    policy = make_policy(of(name), store, moved=0.2, lagging=True)
    move(policy, 0.2, seed=8)
    for seed in range(8):
        batches = make_batches(policy.family, size=6, micro=4, seed=seed)
        expected, full = gradient(policy, batches, Sampled(STEPS, stop=False), 0, 0.01)
        saved, _ = gradient(policy, batches, Sampled(STEPS, stop=True), 0, 0.01)
        three, _ = gradient(policy, batches, Sampled(STEPS, stop=True, at_once=3), 0, 0.01)
        gated, _ = gradient(policy, batches, Gated(STEPS, 0.01), 0, 0.01)
        assert max(relative(saved, expected), relative(three, expected)) < 1e-5
        assert full.policy_loser is not None
        assert full.policy_loser.min() > 1e-6
    assert relative(gated, expected) > 1e-3, "the other savings are not exact for a lagging policy"


def test_a_flows_own_state_is_its_sample_noised_again_as_the_real_picture(of: Callable[[str], Family], store: Store) -> None:
    policy = make_policy(of("sd35"), store, moved=0.2)
    (batch,) = make_batches(policy.family).of_step(0)
    found = own_states(policy, batch, steps=10)
    start, scheduler = batch.own_noise(torch.arange(4)), FlowMatchEulerDiscreteScheduler(shift=3.0)
    with torch.no_grad():
        for row in range(4):
            scheduler.set_timesteps(10)
            end, condition = start[row : row + 1], batch.condition[row : row + 1]
            for here in scheduler.timesteps:
                end = scheduler.step(policy.family.predict(end, here[None], condition), here, end).prev_sample
            sigma = batch.t[row] / 1000
            state = (1 - sigma) * end + sigma * batch.noise[row]
            torch.testing.assert_close(found.latents[row], state[0], atol=2e-5, rtol=1e-4)
            velocity = policy.family.predict(state, batch.t[row : row + 1], condition)
            torch.testing.assert_close(found.prediction[row], velocity[0], atol=2e-5, rtol=1e-4)
    assert found.forwards.tolist() == [11.0] * 4


@pytest.mark.parametrize("name", ["sd15", "sd35"])
def test_own_states_are_the_snapshots_and_leave_the_policy_active(name: str, of: Callable[[str], Family], store: Store) -> None:
    policy = make_policy(of(name), store, lagging=True)
    (batch,) = make_batches(policy.family).of_step(0)
    before = own_states(policy, batch, steps=STEPS)
    move(policy, 0.2)
    after = own_states(policy, batch, steps=STEPS)
    assert torch.equal(before.prediction, after.prediction)
    assert {tuple(layer.active_adapters) for layer in adapters.lora_layers(policy.network)} == {("policy",)}


def settings(**rollout: Any) -> Train:
    return Train.model_validate({"objective": "dro", "start": "tiny:base", "batch": 8, "rollout": {"steps": STEPS, **rollout}})


@pytest.mark.parametrize(
    ("rollout", "process", "expected"),
    [
        ({}, DDPM, Gated(STEPS, 0.001)),
        ({}, FLOW, Gated(STEPS, 0.001)),
        ({"states": 2}, DDPM, Gated(STEPS, 0.001)),
        ({"at_once": 3}, DDPM, Gated(STEPS, 0.001, at_once=3)),
        ({"refresh": 16}, DDPM, Sampled(STEPS, stop=True)),
        ({"refresh": 16}, FLOW, Sampled(STEPS, stop=True)),
        ({"savings": False}, DDPM, Sampled(STEPS, stop=False)),
        ({"savings": False, "refresh": 16}, DDPM, Sampled(STEPS, stop=False)),
        ({"states": 2, "buffer": 4}, DDPM, Gated(STEPS, 0.001)),
        ({"states": 2, "buffer": 8}, DDPM, Replayed(Kept(Replay(8, 2, 8, STEPS, 0)), stop=True, margin=None)),
        ({"states": 2, "buffer": 8}, FLOW, Replayed(Kept(Replay(8, 2, 8, STEPS, 0)), stop=True, margin=0.001)),
        ({"states": 2, "buffer": 8, "refresh": 2}, FLOW, Replayed(Kept(Replay(8, 2, 8, STEPS, 0)), stop=True, margin=None)),
        ({"states": 2, "buffer": 8, "savings": False}, FLOW, Replayed(Kept(Replay(8, 2, 8, STEPS, 0)), stop=False, margin=None)),
    ],
)
def test_savings_are_taken_where_they_are_exact(rollout: dict[str, Any], process: Ddpm | RectifiedFlow, expected: Losers) -> None:
    assert losers.source(settings(**rollout), process) == expected


@pytest.mark.parametrize(("objective", "expected"), [("sft", None), ("dpo", OnDisk())])
def test_other_objectives_sample_nothing(objective: str, expected: Losers | None) -> None:
    assert losers.source(settings().model_copy(update={"objective": objective}), DDPM) == expected
    assert losers.replay(settings(states=2).model_copy(update={"objective": objective})) is None


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        ({}, None),
        ({"states": 2}, None),
        ({"savings": False}, "rollout.savings is off"),
        ({"refresh": 16}, "lags .rollout.refresh = 16., so every loser is sampled"),
        ({"states": 2, "buffer": 8}, "buffer of 8 trajectories outlives a step"),
    ],
)
def test_savings_that_are_not_taken_are_said(rollout: dict[str, Any], said: str | None) -> None:
    found = losers.note(settings(**rollout))
    assert found is None if said is None else found is not None and __import__("re").search(said, found)


@pytest.mark.parametrize(
    ("source", "lagging"),
    [
        (Gated(STEPS, -1.0), False),
        (Gated(STEPS, 1e9), False),
        (Sampled(STEPS, stop=True), True),
        (Sampled(STEPS, stop=False), True),
    ],
)
@pytest.mark.parametrize("name", ["sd15", "sd35"])
def test_the_forwards_that_are_said_are_those_that_are_done(
    name: str, source: Losers, of: Callable[[str], Family], store: Store, monkeypatch: pytest.MonkeyPatch, *, lagging: bool
) -> None:
    policy = make_policy(of(name), store, moved=0.1, lagging=lagging)
    batches = make_batches(policy.family, size=6, micro=4)
    with counted(policy.family, monkeypatch) as rows:
        said = 0.0
        for _, answer in source.of_step(policy, 0, batches):
            said += 2 * len(answer.asked) + float(answer.forwards.sum())
    assert sum(rows) == said


def test_a_lagging_steps_forwards_are_full_and_half_as_many(
    of: Callable[[str], Family], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """realalign: 64 samples, 8 at once, 20 states. On average 10.5 forwards of 20 each, and nearly all with 8 samples."""
    policy = make_policy(of("sd15"), store, lagging=True)
    batches = make_batches(policy.family, size=64, micro=8, count=64)
    needed = sum(20 - int(t) // 50 for batch in batches.of_step(0) for t in batch.t)
    with counted(policy.family, monkeypatch) as all_rows, torch.no_grad():
        assert len(list(Sampled(20, stop=True).of_step(policy, 0, batches))) == 8
    rows = [each for each in all_rows if each <= 8]
    assert all_rows.count(16) == 16, "reference and policy, winners and losers together"
    assert sum(rows) == needed
    assert 9.5 < needed / 64 < 11.5
    assert rows.count(8) * 8 > 0.97 * needed
    with counted(policy.family, monkeypatch) as alone:
        for batch in batches.of_step(0):
            own_states(policy, batch, steps=20)
    assert sum(alone) == needed
    assert len(rows) < 0.6 * len(alone), "a micro-batch by itself runs to its farthest sample"


def test_those_that_need_their_rollout_wait_for_each_other(
    of: Callable[[str], Family], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of each micro-batch of four needs one: eight trajectories are run together, four at a time, and not one by one."""
    policy = make_policy(of("sd15"), store, moved=0.1)
    batches = make_batches(policy.family, size=32, micro=4, count=32)
    monkeypatch.setattr(losers, "closed", lambda winner, margin: torch.tensor([1]))
    with counted(policy.family, monkeypatch) as rows:
        found = list(Gated(20, 1e9).of_step(policy, 0, batches))
    decided, waited = found[:8], found[8:]
    assert [len(answer.asked) for _, answer in decided] == [3] * 8
    assert [len(answer.asked) for _, answer in waited] == [4, 4]
    assert rows[:16] == [4] * 16, "reference and policy of every micro-batch"
    forwards = sum(float(answer.forwards.sum()) for _, answer in waited) - 2 * 8
    sampling = rows[16:-4]
    assert sum(sampling) == forwards
    assert sampling.count(4) * 4 > 0.8 * forwards
    assert rows[-4:] == [4] * 4, "the reference on their own states, and the policy once more where a gate is open"


def test_whoever_waited_keeps_the_value_that_was_compared(of: Callable[[str], Family], store: Store) -> None:
    """The second forward gives the gradient; rounding must not shut a gate that was found open."""
    policy = make_policy(of("sd15"), store, moved=0.15)
    batches = make_batches(policy.family)
    ((winner, _),) = Gated(STEPS, 1e9).of_step(policy, 0, batches)
    margin = float(winner.winner_gain.detach().min())
    found = [errors for errors, _ in Gated(STEPS, margin).of_step(policy, 0, batches)]
    values = torch.cat([errors.policy_winner for errors in found]).sort().values
    assert torch.equal(values.detach(), winner.policy_winner.detach().sort().values)
    for errors in found:
        assert errors.policy_winner.requires_grad == bool((margin - errors.gain > 0).all())


@pytest.mark.parametrize("name", ["sd15", "sd35"])
def test_a_buffers_losers_are_of_the_policy_that_sampled_them(name: str, of: Callable[[str], Family], store: Store) -> None:
    """Half of each step's losers come from earlier steps' trajectories, with the states of the policy of that time."""
    policy = make_policy(of(name), store, moved=0.1)
    plan = Replay(4, 2, 4, STEPS, 0)
    batches, source = make_batches(policy.family, replay=plan), Replayed(Kept(plan), stop=True, margin=None)
    then: dict[tuple[int, int], torch.Tensor] = {}
    old = 0
    for step in range(4):
        with torch.no_grad():
            list(source.of_step(policy, step, batches))
        (batch,) = batches.of_step(step)
        new = torch.tensor([row for row, use in enumerate(batch.uses) if use.place // plan.new == step])
        now = own_states(policy, batch, steps=STEPS)
        kept = source.kept.states(policy, batch)
        torch.testing.assert_close(kept.latents[new], now.latents[new], atol=1e-5, rtol=1e-4)
        for row, use in enumerate(batch.uses):
            if use.place // plan.new < step:
                old += 1
                assert (kept.latents[row] - now.latents[row]).abs().max() > 1e-3
            then[use.place, use.number] = kept.latents[row]
        move(policy, 0.1, seed=step)
    assert old > 0
    assert len(then) == 16, "no state is used twice"


def test_a_flows_buffer_with_every_saving_leaves_the_gradient(of: Callable[[str], Family], store: Store) -> None:
    policy = make_policy(of("sd35"), store, moved=0.3)
    asked = opened = 0
    for seed in range(6):
        plan = Replay(4, 2, 6, STEPS, seed)
        batches = make_batches(policy.family, seed=seed, replay=plan)
        full, saved = Replayed(Kept(plan), stop=False, margin=None), Replayed(Kept(plan), stop=True, margin=None)
        for step in range(2):
            _, known = gradient(policy, batches, Gated(STEPS, 1e9), step, 1e9)
            margin = float(known.winner_gain.sort().values[1:3].mean())
            expected, errors = gradient(policy, batches, full, step, margin)
            found, _ = gradient(policy, batches, replace(saved, margin=margin), step, margin)
            assert relative(found, expected) < 1e-5
            move(policy, 0.02, seed=step)
        asked += int((margin - known.winner_gain <= 0).sum())
        opened += int(((margin - known.winner_gain <= 0) & (margin - errors.gain > 0)).sum())
    assert asked == 12
    assert opened > 0
