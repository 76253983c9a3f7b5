"""The human studies of a run, as ``pairwright study report`` has analysed them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pairwright import wording
from pairwright.report.gather import ReportError, Run
from pairwright.report.metrics import Bar


@dataclass(frozen=True)
class Row:
    """Two models over all prompts, or within a category."""

    category: str
    majority: str
    """``11/15 won, 1 tied``."""
    won: str
    won_interval: str
    preferred: str
    interval: str
    bar: Bar | None
    """On an axis of shares, 0 to 100 %; its zero is one half."""
    p: str


@dataclass(frozen=True)
class Contest:
    """A model against another."""

    model: str
    against: str
    rows: tuple[Row, ...]
    p_holm: str
    alpha: str
    verdict: str
    sentence: str

    @property
    def tone(self) -> str:
        """``better``, ``worse`` or ``none``: what the page colours."""
        return self.verdict if self.verdict in {"better", "worse"} else "none"

    @property
    def line(self) -> Row:
        """Over all prompts."""
        return self.rows[0]


@dataclass(frozen=True)
class Part:
    """One analysis: everybody, or without those who are flagged."""

    title: str
    raters: int
    votes: int
    contests: tuple[Contest, ...]
    left: str
    strengths: tuple[tuple[str, str, str, str], ...]
    """Model, log odds, interval, chance against the first; with three or more models."""


@dataclass(frozen=True)
class Study:
    """One study."""

    name: str
    question: str
    models: tuple[str, ...]
    parts: tuple[Part, ...]
    flagged: tuple[str, ...]
    confidence: str
    resamples: int


def studies(run: Run) -> list[Study]:
    """The studies in the run's folder that have an analysis, by name.

    Raises:
        ReportError: an analysis cannot be read.
    """
    found = []
    for path in sorted((run.folder / "studies").glob("[!.]*/analysis.json")):
        try:
            found.append(_study(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReportError(f"{path} is damaged ({error}); write it again: pairwright study report {path.parent}") from error
    return found


def _study(found: Mapping[str, Any]) -> Study:
    flagged = tuple(f"rater {each['rater']}: {'; '.join(each['flags'])}" for each in found["flagged"])
    parts = [_part("all raters" if flagged else "", found["everybody"])]
    if found["unflagged"]:
        parts.append(_part("without flagged raters", found["unflagged"]))
    confidence = wording.percent(found["confidence"])
    return Study(found["study"], found["question"], tuple(found["models"]), tuple(parts), flagged, confidence, found["resamples"])


def _part(title: str, found: Mapping[str, Any]) -> Part:
    left = found["left"]
    return Part(
        title=title,
        raters=found["raters"],
        votes=found["votes"],
        contests=tuple(_contest(each) for each in found["contests"]),
        left=f"{wording.percent(left['value'], 1)} (interval {wording.shares(left['low'], left['high'])})",
        strengths=tuple(_strength(each) for each in (found["strengths"] or ())[1:]),
    )


def _contest(found: Mapping[str, Any]) -> Contest:
    alpha = found["alpha"]
    return Contest(
        model=found["model"],
        against=found["against"],
        rows=tuple(_row(each) for each in found["rows"]),
        p_holm=wording.probability(found["p_holm"]),
        alpha=f"{alpha['alpha']:.2f}" if alpha else "none",
        verdict=found["verdict"],
        sentence=_sentence(found),
    )


def _row(found: Mapping[str, Any]) -> Row:
    ends = (found["low"], found["high"], found["preferred"], 0.5)
    return Row(
        category=found["category"],
        majority=f"{found['wins']}/{found['prompts']} won" + (f", {found['ties']} tied" if found["ties"] else ""),
        won=wording.percent(found["won"]),
        won_interval=wording.shares(found["won_low"], found["won_high"]),
        preferred=wording.percent(found["preferred"]),
        interval=wording.shares(found["low"], found["high"]),
        bar=None if found["low"] is None else Bar(*(round(100 * end, 2) for end in ends)),
        p=wording.probability(found["p"]),
    )


def _strength(found: Mapping[str, Any]) -> tuple[str, str, str, str]:
    low, high = (None if found[end] is None else wording.number(found[end], sign=True) for end in ("low", "high"))
    interval = "none" if low is None else f"{low} to {high}"
    return found["model"], wording.number(found["log_odds"], sign=True), interval, wording.percent(found["chance"])


def _sentence(found: Mapping[str, Any]) -> str:
    row = found["rows"][0]
    if row["low"] is None:
        return f"No preference shown: {row['prompts']} prompts and {row['raters']} raters are too few for an interval."
    where = f"other raters on other prompts would prefer it in {wording.shares(row['low'], row['high'])} of votes"
    if found["verdict"] == "not shown":
        return f"No preference shown: {where}, which holds one half."
    if found["verdict"].endswith("before correction"):
        return f"Not settled: {where}, but of several models compared one may look so by chance."
    return f"{'Preferred' if found['verdict'] == 'better' else 'The other one is preferred'}: {where}."
