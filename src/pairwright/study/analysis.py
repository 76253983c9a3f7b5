"""From votes to what may be said: by category and over all, with everybody and without those who are flagged."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pairwright import bradley_terry, stats, votes
from pairwright.study.database import Database
from pairwright.study.design import StudyError
from pairwright.study.longform import long
from pairwright.study.raters import Rater, Rows, Rules, describe, standing
from pairwright.votes import Estimate, Panel


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made."""

    resamples: int = 10_000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what gives no interval."""
        if self.resamples < 100 or not 0.5 < self.confidence < 1:
            raise StudyError(f"resamples are at least 100 and confidence is between 0.5 and 1, got {self}")


def analyse(database: Database, rules: Rules, how: Bootstrap) -> dict[str, Any]:
    """Everything that is said of a study, as plain JSON values (infinite bounds are null).

    ``everybody`` and, where a rater is flagged, ``unflagged`` have the same form; see :func:`result`.

    Raises:
        StudyError: nobody has voted yet.
    """
    design = database.design()
    rows = long(database)
    raters = describe(rows, [row["number"] for row in database.overview()], rules)
    begun = [each for each in raters if each.votes]
    if not begun:
        raise StudyError("nobody has voted yet: give the raters their links, see `pairwright study serve`")
    main = [row for row in standing(rows) if row["role"] == "main"]
    clean = {each.rater for each in begun if not each.flags}
    flagged = len(clean) < len(begun)
    return {
        "study": design["name"],
        "question": design["question"],
        "models": design["models"],
        "ties_allowed": design["ties"],
        "confidence": how.confidence,
        "resamples": how.resamples,
        "seed": how.seed,
        "rules": asdict(rules),
        "pairs": sum(pair.kind == "main" for pair in database.pairs()),
        "undone": sum(row["undone"] is not None for row in rows),
        "raters": [asdict(each) for each in raters],
        "everybody": result(main, design["models"], how),
        "unflagged": result([row for row in main if row["rater"] in clean], design["models"], how) if flagged and clean else None,
        "flagged": [_name(each) for each in begun if each.flags],
    }


def _name(rater: Rater) -> dict[str, Any]:
    return {"rater": rater.rater, "flags": list(rater.flags)}


def result(main: Rows, models: Sequence[str], how: Bootstrap) -> dict[str, Any]:
    """One analysis of some raters' votes on the pairs of the study.

    Args:
        main: rows of :func:`pairwright.study.longform.long` with the role ``main``, none undone.
        models: labels; of two, the later one is the model and the earlier one what it is measured against.
        how: resamples.

    Returns:
        ``contests`` (two models each: rows over all and by category, p by Holm over contests, alpha), ``left`` (share of
        answers for the left side), ``strengths`` (three or more models) and counts.
    """
    contests = [_contest(main, other, model, how) for other, model in itertools.combinations(models, 2) if _of(main, other, model)]
    for contest, adjusted in zip(contests, stats.holm([each["rows"][0]["p"] for each in contests]), strict=True):
        contest["p_holm"] = adjusted
        contest["verdict"] = _verdict(contest["rows"][0], adjusted, 1 - how.confidence)
    left = votes.preference(_table(main, lambda row: {"left": 1, "tie": 0, "right": -1}[row["answer"]], "pair"), **asdict(how))
    return {
        "raters": len({row["rater"] for row in main}),
        "votes": len(main),
        "contests": contests,
        "left": _estimate(left),
        "strengths": _strengths(main, models, how) if len(models) > 2 else None,
    }


def _of(rows: Rows, one: str, other: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if {row["left_model"], row["right_model"]} == {one, other}]


def _table(rows: Rows, value: Callable[[Mapping[str, Any]], int], unit: str, raters: Sequence[int] | None = None) -> np.ndarray:
    """``float64 [units, raters]``, both in the order of their names."""
    columns = {rater: place for place, rater in enumerate(raters or sorted({row["rater"] for row in rows}))}
    lines = {name: place for place, name in enumerate(sorted({row[unit] for row in rows}))}
    table = np.full((len(lines), len(columns)), np.nan)
    for row in rows:
        table[lines[row[unit]], columns[row["rater"]]] = value(row)
    return table


def _prefers(model: str) -> Callable[[Mapping[str, Any]], int]:
    return lambda row: 0 if row["answer"] == "tie" else 1 if row["preferred"] == model else -1


def _contest(main: Rows, other: str, model: str, how: Bootstrap) -> dict[str, Any]:
    rows = _of(main, other, model)
    categories = sorted({row["category"] for row in rows})
    parts = [("", rows)]
    if len(categories) > 1:
        parts += [(name or "none", [row for row in rows if row["category"] == name]) for name in categories]
    tables = [(name, _table(part, _prefers(model), "prompt_id")) for name, part in parts]
    return {
        "model": model,
        "against": other,
        "rows": [{"category": name, **_panel(votes.panel(table, **asdict(how)))} for name, table in tables],
        "alpha": _alpha(tables[0][1], how),
    }


def _panel(found: Panel) -> dict[str, Any]:
    won, preferred = _estimate(found.won), _estimate(found.preferred)
    return {
        "prompts": found.prompts,
        "raters": found.raters,
        "votes": found.votes,
        "wins": found.wins,
        "ties": found.ties,
        "losses": found.losses,
        "win_share": found.wins / found.prompts,
        "won": won["value"],
        "won_low": won["low"],
        "won_high": won["high"],
        "preferred": preferred["value"],
        "low": preferred["low"],
        "high": preferred["high"],
        "p": preferred["p"],
    }


def _estimate(found: Estimate) -> dict[str, float | None]:
    return {"value": found.value, "low": _finite(found.interval.low), "high": _finite(found.interval.high), "p": found.p}


def _alpha(table: np.ndarray, how: Bootstrap) -> dict[str, Any] | None:
    try:
        found = votes.agreement(table, **asdict(how))
    except ValueError:
        return None  # every prompt was judged by one rater
    if math.isnan(found.alpha):
        return None  # only one answer was ever given: agreement and chance are the same
    return {"alpha": found.alpha, "low": _finite(found.interval.low), "high": _finite(found.interval.high), "units": found.units}


def _strengths(main: Rows, models: Sequence[str], how: Bootstrap) -> list[dict[str, Any]] | None:
    raters = sorted({row["rater"] for row in main})
    prompts = sorted({row["prompt_id"] for row in main})
    tables = {}
    for (one, first), (other, second) in itertools.combinations(enumerate(models), 2):
        rows = _of(main, first, second)
        if rows:
            table = np.full((len(prompts), len(raters)), np.nan)
            table[np.searchsorted(prompts, sorted({row["prompt_id"] for row in rows}))] = _table(
                rows, _prefers(first), "prompt_id", raters
            )
            tables[one, other] = table
    try:
        found = bradley_terry.strengths(models, tables, **{**asdict(how), "resamples": min(how.resamples, 2000)})
    except ValueError:
        return None  # not yet every model has been compared
    return [
        {
            "model": each.model,
            "log_odds": round(each.log_odds, 9),
            "low": _finite(each.interval.low),
            "high": _finite(each.interval.high),
            "chance": bradley_terry.odds(each.log_odds),
            "tie": found.tie,
        }
        for each in found.models
    ]


def _verdict(row: Mapping[str, Any], p_holm: float, level: float) -> str:
    """``better``, ``worse`` or ``not shown``; ``... before correction`` where only Holm takes it back."""
    if row["low"] is None or row["low"] <= 0.5 <= row["high"] or row["p"] >= level:
        return "not shown"
    word = "better" if row["preferred"] > 0.5 else "worse"
    return word if p_holm < level else f"{word} before correction"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
