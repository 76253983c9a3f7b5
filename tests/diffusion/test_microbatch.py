from collections.abc import Callable
from typing import Any

import pytest
import torch

from pairwright.diffusion import microbatch, training
from pairwright.diffusion.families.sd15 import Sd15
from pairwright.diffusion.microbatch import Need, TooLargeError
from pairwright.diffusion.objectives import Errors
from pairwright.diffusion.training import Trainer
from pairwright.store import Store
from tests.diffusion.test_training import trainer

AUTO: dict[str, Any] = {"objective": "dpo", "batch": 6, "micro_batch": "auto"}


def prepared(family: Sd15, store: Store, **settings: Any) -> Trainer:
    """A trainer whose micro-batch has been chosen, and what it says."""
    found = trainer(family, store, **settings)
    found.said = []  # type: ignore[attr-defined]
    found.say = found.said.append  # type: ignore[attr-defined]
    said = microbatch.choose(found)
    assert said == ""
    return found


class Device:
    """Memory of which a sample takes ``each`` bytes and everything else ``fixed``; an eighth with activations checkpointed."""

    def __init__(self, found: Trainer, total: int, each: int, fixed: int) -> None:
        self.found, self.total, self.each, self.fixed = found, total, each, fixed
        self.measured: list[int] = []

    def measure(self, count: int) -> int:
        self.measured.append(count)
        need = self.fixed + count * self.each // (8 if self.found.checkpointed else 1)
        if need > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return need

    def fit(self) -> str:
        return microbatch.fit(self.found, self.measure, lambda: self.total)


def test_what_fits_is_counted_from_one_and_two_samples() -> None:
    need = Need(one=130, two=230)  # 30 fixed, 100 each
    assert [need.most(room) for room in (129, 130, 229, 230, 1030)] == [0, 1, 1, 2, 10]


def test_a_batch_is_cut_into_equal_parts() -> None:
    assert [microbatch.even(most, 256) for most in (1, 7, 100, 128, 255, 256, 999)] == [1, 7, 86, 128, 128, 256, 256]
    assert microbatch.even(4, 6) == 3


def test_the_largest_that_fits_is_taken(sd15: Sd15, store: Store) -> None:
    found = prepared(sd15, store, **AUTO)
    device = Device(found, total=520, each=100, fixed=30)
    assert "micro-batch 3: a sample takes" in device.fit()
    assert found.batches.micro == 3, "4 fit, and two parts of 3 are as many forwards as 4 and 2"
    assert device.measured == [1, 1, 2]
    assert not found.checkpointed


def test_activations_are_checkpointed_only_where_one_sample_does_not_fit(load: Callable[..., Sd15], store: Store) -> None:
    found = prepared(load(), store, **AUTO)
    assert "activations checkpointed" in Device(found, total=90, each=80, fixed=30).fit()
    assert (found.checkpointed, found.batches.micro) == (True, 6)
    refused = prepared(load(), store, **AUTO, checkpoint_activations=False)
    with pytest.raises(TooLargeError, match=r"not even one sample.*checkpoint_activations is false"):
        Device(refused, total=90, each=80, fixed=30).fit()
    hopeless = prepared(load(), store, **AUTO)
    with pytest.raises(TooLargeError, match=r"even with activations checkpointed.*smaller resolution"):
        Device(hopeless, total=20, each=80, fixed=30).fit()


def test_where_memory_cannot_be_measured_it_is_eight_and_never_more_than_the_batch(load: Callable[..., Sd15], store: Store) -> None:
    assert prepared(load(), store, **AUTO).batches.micro == 6
    found = trainer(load(), store, **{**AUTO, "batch": 32})
    microbatch.choose(found)
    assert found.batches.micro == 8


@pytest.mark.parametrize("objective", ["sft", "dpo", "dro"])
def test_measuring_changes_nothing(load: Callable[..., Sd15], store: Store, objective: str) -> None:
    settings: dict[str, Any] = {"objective": objective, "moved": 0.05, "micro_batch": 2, "rollout": {"steps": 2, "refresh": 2}}
    plain, measured = (trainer(load(), store, **settings) for _ in range(2))
    microbatch.forward_and_backward(measured, 2)
    assert any(value.grad is not None for value in measured.policy.trained.values())
    microbatch.forget(measured)
    for found in (plain, measured):
        list(training.steps(found))
    assert all(torch.equal(value, measured.policy.trained[name]) for name, value in plain.policy.trained.items())


def short_of_memory(found: Trainer, most: int) -> list[int]:
    """Let a backward of more than ``most`` samples run out of memory, after it has left a gradient; the sizes tried."""
    tried: list[int] = []
    real = found.backward

    def backward(errors: Errors) -> torch.Tensor:
        tried.append(len(errors.policy_winner))
        loss = real(errors)
        if tried[-1] > most and not found.checkpointed:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return loss

    found.backward = backward  # type: ignore[method-assign]
    return tried


def test_out_of_memory_halves_the_micro_batch_and_does_the_step_again(load: Callable[..., Sd15], store: Store) -> None:
    settings: dict[str, Any] = {"objective": "dpo", "steps": 2, "moved": 0.05, "batch": 4}
    plain, short = (prepared(load(), store, **settings, micro_batch=micro) for micro in (1, 4))
    tried = short_of_memory(short, 1)
    done, expected = list(training.steps(short)), list(training.steps(plain))
    assert tried == [4, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert [(step.loss, step.grad_norm) for step in done] == [(step.loss, step.grad_norm) for step in expected]
    assert all(torch.equal(value, short.policy.trained[name]) for name, value in plain.policy.trained.items())
    assert short.said == [  # type: ignore[attr-defined]
        "  step 1: out of memory with 4 per forward; goes on with 2 per forward. The step is done again: the batch stays the same",
        "  step 1: out of memory with 2 per forward; goes on with 1 per forward. The step is done again: the batch stays the same",
    ]


def test_with_one_sample_activations_are_checkpointed_and_then_there_is_no_less(load: Callable[..., Sd15], store: Store) -> None:
    found = prepared(load(), store, objective="sft", steps=1, micro_batch=1)
    short_of_memory(found, 0)
    assert len(list(training.steps(found))) == 1
    assert found.checkpointed
    assert "checkpoints activations from now on" in found.said[0]  # type: ignore[attr-defined]
    refused = prepared(load(), store, objective="sft", steps=1, micro_batch=1, checkpoint_activations=False)
    short_of_memory(refused, 0)
    with pytest.raises(TooLargeError, match="step 1: not even one sample"):
        next(training.steps(refused))
