"""What each rater's votes say of the rater: attention, consistency, speed, sides. Flagged, never removed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from pairwright.study.database import Database
from pairwright.study.design import DAMAGED
from pairwright.study.longform import long, said_time

Rows = Sequence[Mapping[str, Any]]

_RARE = 0.05


@dataclass(frozen=True)
class Rules:
    """When a rater is flagged. Say them before the study, not after."""

    attention: float = 0.6
    """Least share of attention checks passed."""
    repeats: float = 0.75
    """Share of repeated pairs that a careful rater answers alike. Who answers so few alike that one careful rater in twenty
    would is flagged: 0 of 3, at most 2 of 6."""
    fast_seconds: float = 1.5
    """Least median time for a pair, from when both pictures are seen."""


@dataclass(frozen=True)
class Rater:
    """One rater."""

    rater: int
    votes: int
    """On the pairs of the study: repeats and checks not counted."""
    median_seconds: float | None
    checks: int
    passed: int
    repeats: int
    alike: int
    left: float | None
    """Share of all answers but ties that were "left"."""
    flags: tuple[str, ...]
    """Why the rater is flagged, in words; empty for nobody of note."""


def standing(rows: Rows) -> list[Mapping[str, Any]]:
    """The votes that were not taken back."""
    return [row for row in rows if row["undone"] is None]


def describe(rows: Rows, numbers: Sequence[int], rules: Rules | None = None) -> list[Rater]:
    """Every rater of ``numbers``, from the rows of :func:`pairwright.study.longform.long`."""
    by_rater: dict[int, list[Mapping[str, Any]]] = {number: [] for number in numbers}
    for row in standing(rows):
        by_rater[row["rater"]].append(row)
    return [_rater(number, by_rater[number], rules or Rules()) for number in numbers]


def overview(database: Database) -> list[dict[str, Any]]:
    """Every rater as the researcher's page shows them: progress, link and what is noted."""
    raters = database.overview()
    said = describe(long(database), [row["number"] for row in raters])
    return [
        {**asdict(each), **row, "finished": row["done"] == row["total"], "last": said_time(row["last"]) if row["last"] else ""}
        for row, each in zip(raters, said, strict=True)
    ]


def _at_most(successes: int, trials: int, chance: float) -> float:
    """The probability of no more successes than that."""
    return sum(math.comb(trials, each) * chance**each * (1 - chance) ** (trials - each) for each in range(successes + 1))


def _rater(number: int, rows: Rows, rules: Rules) -> Rater:
    main = {row["pair"]: row["preferred"] for row in rows if row["role"] == "main"}
    again = [(row["pair"], row["preferred"]) for row in rows if row["role"] == "repeat" and row["pair"] in main]
    checks = [row for row in rows if row["role"] == "check"]
    passed = sum(row["preferred"] not in {DAMAGED, ""} for row in checks)
    alike = sum(main[pair] == preferred for pair, preferred in again)
    times = [row["milliseconds"] / 1000 for row in rows if row["role"] == "main"]
    sides = [row["answer"] == "left" for row in rows if row["answer"] != "tie"]
    typical = median(times) if times else None
    flags = []
    if checks and passed < rules.attention * len(checks):
        flags.append(f"passed {passed} of {len(checks)} attention checks")
    if again and _at_most(alike, len(again), rules.repeats) < _RARE:
        flags.append(f"answered {alike} of {len(again)} repeats alike")
    if typical is not None and typical < rules.fast_seconds:
        flags.append(f"took {typical:.1f} s for a pair")
    left = sum(sides) / len(sides) if sides else None
    return Rater(number, len(main), typical, len(checks), passed, len(again), alike, left, tuple(flags))
