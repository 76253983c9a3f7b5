"""What of a verb's options is part of a result's fingerprint, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from pairwright.options import Train


def train(**settings: Any) -> Train:
    return Train.model_validate({"start": "tiny:base", **settings})


@pytest.mark.parametrize(
    ("objective", "unread"),
    [
        ("sft", {"beta": 3.0, "margin": 0.5, "reference": "base", "rollout": {"steps": 3}}),
        ("dro", {"beta": 3.0}),
        ("dpo", {"margin": 0.5, "rollout": {"steps": 3}}),
        ("ipo", {"margin": 0.5}),
        ("hinge", {"margin": 0.5}),
    ],
)
def test_what_an_objective_does_not_read_changes_no_fingerprint(objective: str, unread: dict[str, Any]) -> None:
    assert train(objective=objective, **unread).meaning() == train(objective=objective).meaning()


@pytest.mark.parametrize(
    "read",
    [
        {"objective": "dpo", "beta": 3.0},
        {"objective": "ipo", "loser_weight": 0.5},
        {"objective": "hinge", "sft_weight": 0.5},
        {"objective": "dpo", "focus": {"on": "mask"}},
        {"objective": "dpo", "reference": "base"},
        {"objective": "dpo", "method": "full"},
        {"objective": "dpo", "lora": {"rank": 8}},
        {"objective": "dro", "margin": 0.5},
    ],
)
def test_what_an_objective_reads_changes_the_fingerprint(read: dict[str, Any]) -> None:
    assert train(**read).meaning() != train(objective=read["objective"]).meaning()


def test_full_fine_tuning_does_not_read_lora() -> None:
    assert train(objective="dpo", method="full", lora={"rank": 8}).meaning() == train(objective="dpo", method="full").meaning()


@pytest.mark.parametrize("field", [{"loser_weight": 0.5}, {"sft_weight": 1.0}, {"focus": {"on": "mask"}}])
@pytest.mark.parametrize("objective", ["sft", "dro"])
def test_what_only_pairs_have_is_refused_elsewhere(objective: str, field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=rf"{next(iter(field))} is read by the objectives dpo, ipo and hinge only"):
        train(objective=objective, **field)


def test_an_average_that_would_never_move_is_refused() -> None:
    said = {"objective": "sft", "start": "tiny:base", "ema": 0.9, "ema_every": 8}
    assert Train.model_validate({**said, "steps": 8}).ema_every == 8
    with pytest.raises(ValidationError, match="moves after every 8 steps and there are only 7, so the result would be the start"):
        Train.model_validate({**said, "steps": 7})
