from typing import Any

import pytest

from pairwright.options import Train
from pairwright.train.watch import WINDOW, Watch


def options(objective: str = "dpo", **given: Any) -> Train:
    return Train.model_validate({"objective": objective, "start": "tiny:base", **given})


def rows(count: int = 2 * WINDOW, **columns: Any) -> list[dict[str, Any]]:
    """Lines of a log in which nothing is wrong, but for the given columns (a value, or a function of the step)."""
    fine: dict[str, Any] = {
        "loss": lambda step: 0.69 - 0.001 * step,
        "grad_norm": lambda step: 0.5 + step % 2,
        "policy_winner": lambda step: 0.1 - 1e-5 * step,
        "reference_winner": 0.1,
        "saturated": 0.0,
        "skipped": False,
    }
    return [
        {"step": step} | {name: value(step) if callable(value) else value for name, value in {**fine, **columns}.items()}
        for step in range(1, count + 1)
    ]


def said(found: list[dict[str, Any]], chosen: Train | None = None) -> list[str]:
    watch = Watch(chosen or options())
    return [text for row in found for text in watch.see(row)]


def test_nothing_is_said_of_a_training_that_goes_well() -> None:
    assert said(rows()) == []


def test_a_rising_winners_error_is_said_once_with_how_much() -> None:
    """Trap 10: the collapse that users report."""
    texts = said(rows(policy_winner=lambda step: 0.1021 + 2e-5 * (step % 2)))
    assert len(texts) == 1
    assert texts[0].startswith("step 50: the model is getting worse at the winners")
    assert "2.1% above the reference's" in texts[0]
    assert "a larger beta" in texts[0]


def test_a_winners_error_that_only_fluctuates_is_not_called_a_rise() -> None:
    assert said(rows(policy_winner=lambda step: 0.1 + (0.03 if step % 2 else -0.028))) == []
    assert said(rows(policy_winner=0.1004)) == [], "0.4 % is less than what counts"


def test_dro_is_not_told_to_change_beta() -> None:
    (text,) = said(rows(policy_winner=0.12), options("dro"))
    assert "beta" not in text
    assert "a lower learning rate or fewer steps" in text


@pytest.mark.parametrize(("share", "count"), [(0.24, 0), (0.26, 1)])
def test_beta_saturates_where_more_than_a_quarter_of_the_pairs_are_beyond_4(share: float, count: int) -> None:
    texts = said(rows(saturated=share), options(beta=5000.0))
    assert len(texts) == count
    assert all("beta = 5000 saturates" in text and "26% of the pairs" in text for text in texts)


def test_a_loss_that_does_not_move_is_said() -> None:
    (text,) = said(rows(loss=0.6931472))
    assert "the loss has been 0.693147 for 50 steps without a change: the learning rate may be too low" in text
    (text,) = said(rows(loss=0.0), options("dro"))
    assert "nothing is left to learn" in text


def test_a_gradient_that_is_always_clipped_is_said() -> None:
    (text,) = said(rows(grad_norm=3.0))
    assert "clipped in 100% of 50 steps (its norm is 3 in the median, optimiser.clip is 1)" in text
    assert said(rows(grad_norm=3.0), options(optimiser={"clip": 4.0})) == []


def test_a_skipped_step_is_said_at_once_and_counts_for_nothing_else() -> None:
    found = rows()
    for row in (found[2], found[70]):
        row.update(skipped=True, loss=None, grad_norm=None)
    (text,) = said(found)
    assert text.startswith("step 3: loss or gradient is not finite")
