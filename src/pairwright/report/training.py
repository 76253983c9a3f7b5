"""The curves of a training, as far as its log goes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairwright.report.charts import Chart, Series, chart
from pairwright.report.gather import Step

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Training:
    """One train step."""

    step: Step
    charts: tuple[Chart, ...]
    done: int
    wanted: int
    seconds: float | None
    """Median, per optimiser step."""
    images: int
    """Samples per optimiser step."""


def training(step: Step) -> Training:
    """What the log of a train step shows; without charts before it has begun."""
    rows = log(step)
    times = [row["seconds"] for row in rows if _number(row.get("seconds")) is not None]
    return Training(
        step=step,
        charts=tuple(each for each in _charts(rows, str(step.options.get("objective", ""))) if each is not None),
        done=int(rows[-1].get("step", len(rows))) if rows else 0,
        wanted=int(step.options.get("steps") or step.summary.get("steps") or 0),
        seconds=statistics.median(times) if times else None,
        images=int(step.options.get("batch") or 0),
    )


def log(step: Step) -> list[dict[str, Any]]:
    """The lines of ``steps.jsonl``; one that a kill cut short is left out."""
    path = step.node.path / "steps.jsonl" if step.node else None
    if path is None or not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _charts(rows: Sequence[Row], objective: str) -> list[Chart | None]:
    winner, loser = _excess(rows, "winner"), _excess(rows, "loser")
    return [
        chart("Loss", [_series(rows, "loss", "plain", lambda row: row.get("loss"))]),
        chart(
            "Implicit accuracy",
            [_series(rows, "accuracy", "plain", lambda row: row.get("rewards/accuracies"))],
            note="Share of samples on which the model moved towards the winner, relative to the reference, more than "
            "towards the loser. One half is chance.",
            least=0.0,
            most=1.0,
        ),
        chart(
            "Error against the reference",
            [winner, loser],
            note="Denoising error, model minus reference. Below 0 the model fits better than it did. "
            "A winner line that rises says that the model forgets what it should learn.",
            least=0.0,
        )
        if winner.values
        else chart(
            "Denoising error", [_series(rows, "winner", "winner", lambda row: row.get("policy_winner"))], note="On the winners."
        ),
        chart(
            "Margin", [_series(rows, "margin", "plain", lambda row: row.get("rewards/margins"))], note=_MARGIN.get(objective, "")
        ),
        chart(
            "Rollouts needed",
            [_series(rows, "share", "plain", lambda row: row.get("rollouts"))],
            note="Share of samples whose loss could not be told without sampling from the model.",
            least=0.0,
            most=1.0,
        ),
    ]


_MARGIN = {
    "dpo": "Reward of winners minus reward of losers, in units of beta / 2.",
    "dro": "Gain on real pictures minus gain on the model's own.",
}


def _excess(rows: Sequence[Row], side: str) -> Series:
    def excess(row: Row) -> float | None:
        policy, reference = _number(row.get(f"policy_{side}")), _number(row.get(f"reference_{side}"))
        return None if policy is None or reference is None else policy - reference

    return _series(rows, side, side, excess)


def _series(rows: Sequence[Row], name: str, style: str, read: Any) -> Series:
    found = [(row.get("step", index + 1), value) for index, row in enumerate(rows) if (value := _number(read(row))) is not None]
    return Series(name, style, [step for step, _ in found], [value for _, value in found])


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
