"""Who stays: rules over scores, and the funnel that says who left where and why.

A filter is a reward plus a rule. The reward gives one number per picture (or a reason why not); the rules here turn
numbers into kept and rejected. Pure functions: no pictures, no files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pairwright.errors import Explained
from pairwright.records import Rejected, Unscored

Number = float | Unscored


class SelectionError(Explained, ValueError):
    """A rule that cannot be applied; the message says what there is."""


@dataclass
class Funnel:
    """What happened to everything that entered, in order."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    """``{"step", "entered", "left", "reasons": {reason: count}}`` each."""
    rejected: list[Rejected] = field(default_factory=list)

    def add(self, step: str, entered: int, rejected: Sequence[Rejected], *, by: str = "reason") -> None:
        """Record one step.

        Args:
            step: its name.
            entered: how many came in.
            rejected: who left.
            by: attribute of :class:`Rejected` that classes the reasons (``step`` where reasons are individual).
        """
        reasons = Counter(str(getattr(each, by)) for each in rejected)
        self.steps.append({"step": step, "entered": entered, "left": len(rejected), "reasons": dict(reasons.most_common())})
        self.rejected += rejected

    def losses(self) -> str:
        """How many were dropped where, the commonest reasons, and one example of each step."""
        return "; ".join(self._loss(each) for each in self.steps if each["left"])

    def _loss(self, step: Mapping[str, Any]) -> str:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in list(step["reasons"].items())[:3])
        example = next((each for each in self.rejected if each.step in {step["step"], *step["reasons"]}), None)
        shown = f", e.g. {example.id}: {example.reason}" if example else ""
        return f"{step['left']} of {step['entered']} were dropped at {step['step']} ({reasons}{shown})"


def apply(rule: str, value: float | None, scores: Mapping[str, Number], step: str) -> tuple[list[str], list[Rejected]]:
    """Kept ids and rejected pictures under a rule of :class:`~pairwright.options.Filter`."""
    if rule == "above_mean":
        return above_mean(scores, step)
    if value is None:
        raise ValueError(f"rule {rule!r} needs a value")
    return at_least(scores, value, step) if rule == "at_least" else top(scores, int(value), step)


def above_mean(scores: Mapping[str, Number], step: str) -> tuple[list[str], list[Rejected]]:
    """Keep what scores strictly above the mean of those that could be scored (method: Hasler & Suesstrunk's filter)."""
    numbers = [score for score in scores.values() if not isinstance(score, Unscored)]
    return _split(scores, float(np.mean(numbers)) if numbers else 0.0, step, "not above the mean of the set", strict=True)


def at_least(scores: Mapping[str, Number], threshold: float, step: str) -> tuple[list[str], list[Rejected]]:
    """Keep what scores ``threshold`` or more."""
    return _split(scores, threshold, step, f"below {threshold:g}", strict=False)


def top(scores: Mapping[str, Number], count: int, step: str) -> tuple[list[str], list[Rejected]]:
    """Keep the ``count`` highest, in descending order; ties by id, so that the order of the input does not matter."""
    ordered, unscored = ranked(scores, step)
    return ordered[:count], unscored + [Rejected(each, step, f"not among the top {count}") for each in ordered[count:]]


def ranked(scores: Mapping[str, Number], step: str) -> tuple[list[str], list[Rejected]]:
    """All that could be scored, highest first, ties by id; and those that could not."""
    numbers = {name: score for name, score in scores.items() if not isinstance(score, Unscored)}
    ordered = sorted(numbers, key=lambda name: (-numbers[name], name))
    return ordered, [_unscored(name, step, score) for name, score in scores.items() if isinstance(score, Unscored)]


def number(scores: Mapping[str, float] | Unscored, column: str | None) -> Number:
    """The named column of a row, or its first.

    Raises:
        SelectionError: the reward reports no such column.
    """
    if isinstance(scores, Unscored):
        return scores
    if column is None:
        return next(iter(scores.values()))
    if column not in scores:
        raise SelectionError(f"there is no column {column!r}; the reward reports {', '.join(scores)}")
    return scores[column]


def quantile(values: Sequence[float], share: float) -> float:
    """The linear-interpolation quantile.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a quantile of no values: no picture of the pilot could be scored")
    return float(np.quantile(np.asarray(values, dtype=np.float64), share))


def _split(
    scores: Mapping[str, Number], threshold: float, step: str, reason: str, *, strict: bool
) -> tuple[list[str], list[Rejected]]:
    kept: list[str] = []
    rejected: list[Rejected] = []
    for name, score in scores.items():
        if isinstance(score, Unscored):
            rejected.append(_unscored(name, step, score))
        elif score > threshold or (not strict and score == threshold):
            kept.append(name)
        else:
            rejected.append(Rejected(name, step, reason))
    return kept, rejected


def _unscored(name: str, step: str, score: Unscored) -> Rejected:
    return Rejected(name, step, f"could not be scored: {score.reason}")
