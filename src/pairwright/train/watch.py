"""What goes wrong in trainings of this kind, said in words while it happens, each once.

Everything is read from the lines of ``steps.jsonl``: an interrupted training that goes on says the same at the same steps.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pairwright.options import Train

WINDOW = 50
"""Steps that a warning looks back on."""
RISEN = 0.005
"""Of the reference's error: so much worse on winners than the reference is no fluctuation any more."""
CERTAIN = 3.0
"""Standard errors that a mean must lie above 0."""
SATURATED = 0.25
"""Share of saturated pairs from which on beta is called too large."""
CLIPPED = 0.95
"""Share of steps with a clipped gradient from which on clipping sets the step's length."""
CONSTANT = 1e-7
"""Relative spread of a loss that does not change."""

Row = Mapping[str, Any]


@dataclass
class Watch:
    """Reads rows in order and tells what is new."""

    options: Train
    _rows: deque[Row] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _said: set[str] = field(default_factory=set)

    def see(self, row: Row) -> list[str]:
        """The warnings that this row gives rise to."""
        if row.get("skipped"):
            return self._once("skipped", _skipped(row))
        self._rows.append(row)
        if len(self._rows) < WINDOW:
            return []
        rows = list(self._rows)
        checks: dict[str, Callable[[Sequence[Row], Train], str]] = {
            "winner": _winner,
            "beta": _beta,
            "constant": _constant,
            "clipped": _clipped,
        }
        return [text for name, check in checks.items() for text in self._once(name, check(rows, self.options))]

    def _once(self, name: str, text: str) -> list[str]:
        if not text or name in self._said:
            return []
        self._said.add(name)
        return [text]


def _skipped(row: Row) -> str:
    return (
        f"step {row['step']}: loss or gradient is not finite; the step was skipped, and so are further ones like it. "
        "The column 'skipped' counts them"
    )


def _winner(rows: Sequence[Row], options: Train) -> str:
    known = [row for row in rows if row.get("reference_winner") is not None]
    if len(known) < WINDOW:
        return ""
    excess = [row["policy_winner"] - row["reference_winner"] for row in known]
    mean, error = statistics.fmean(excess), statistics.stdev(excess) / len(excess) ** 0.5
    reference = statistics.fmean(row["reference_winner"] for row in known)
    if mean <= RISEN * reference or mean <= CERTAIN * error:
        return ""
    advice = "a larger beta, a loser_weight below 1, a lower learning rate or fewer steps" if options.paired else (
        "a lower learning rate or fewer steps"
    )  # fmt: skip
    return (
        f"step {rows[-1]['step']}: the model is getting worse at the winners: over {len(known)} steps its error on them is "
        f"{mean / reference:.1%} above the reference's. Preference training then gains its margin by spoiling both sides, "
        f"and pictures fall apart. Take an earlier checkpoint, or try {advice}"
    )


def _beta(rows: Sequence[Row], options: Train) -> str:
    shares = [row["saturated"] for row in rows if row.get("saturated") is not None]
    if len(shares) < WINDOW or (share := statistics.fmean(shares)) <= SATURATED:
        return ""
    return (
        f"step {rows[-1]['step']}: beta = {options.beta:g} saturates: over {len(shares)} steps |0.5 * beta * gain| was above 4 "
        f"for {share:.0%} of the pairs, which hardly count any more or count in full whatever happens. Try a smaller beta "
        "('--calibrate' says what it means on these pairs) or a lower learning rate"
    )


def _constant(rows: Sequence[Row], options: Train) -> str:
    losses = [row["loss"] for row in rows]
    if max(losses) - min(losses) > CONSTANT * max(abs(each) for each in losses):
        return ""
    if options.objective == "dro" and max(losses) == 0:
        reason = "every sample is fitted better than the margin asks for, so nothing is left to learn; fewer steps do"
    else:
        reason = "the learning rate may be too low to move the weights, or the start cannot learn from these pairs"
    return f"step {rows[-1]['step']}: the loss has been {losses[-1]:.6g} for {len(rows)} steps without a change: {reason}"


def _clipped(rows: Sequence[Row], options: Train) -> str:
    clip = options.optimiser.clip
    share = statistics.fmean(row["grad_norm"] > clip for row in rows)
    if share < CLIPPED:
        return ""
    middle = statistics.median(row["grad_norm"] for row in rows)
    return (
        f"step {rows[-1]['step']}: the gradient was clipped in {share:.0%} of {len(rows)} steps (its norm is {middle:.3g} in the "
        f"median, optimiser.clip is {clip:g}): only its direction counts. That is harmless with AdamW as long as the norm is "
        "steady; where it grows, lower the learning rate"
    )
