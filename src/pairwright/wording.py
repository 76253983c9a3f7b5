"""Numbers and comparisons in words: the same in the terminal, in Markdown and in the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def number(value: float, *, sign: bool = False, digits: int = 3) -> str:
    """So many significant digits, zeros at the end included (``5.00``). An exponent only below 1e-4."""
    if not math.isfinite(value):
        return "none"
    if value == 0:
        return "0"
    if abs(value) >= 10.0**digits:
        return f"{value:+,.0f}" if sign else f"{value:,.0f}"
    text = f"{value:+#.{digits}g}" if sign else f"{value:#.{digits}g}"
    return text.removesuffix(".")


def percent(share: float, digits: int = 0) -> str:
    """``0.953`` -> ``95 %``."""
    return f"{100 * share:.{digits}f} %"


def either(names: Sequence[str]) -> str:
    """``a, b or c``."""
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def shares(low: float | None, high: float | None) -> str:
    """An interval of shares: ``31 to 64 %``; ``none`` where it has no bounds."""
    return "none" if low is None or high is None else f"{100 * low:.0f} to {percent(high)}"


def line(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def probability(value: float) -> str:
    """A p-value as journals print it."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 10 else f"{seconds:.2g} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s"


def difference(row: Mapping[str, Any], confidence: float) -> str:
    """A row of a comparison: ``+0.42 (95 % interval +0.21 to +0.63)``."""
    mean = number(row["difference"], sign=True)
    if row["low"] is None:
        return f"{mean} (too few prompts for an interval: {row['prompts']})"
    return f"{mean} ({percent(confidence)} interval {number(row['low'], sign=True)} to {number(row['high'], sign=True)})"


def finding(row: Mapping[str, Any], baseline: str, confidence: float) -> str:
    """A row of a comparison as a sentence.

    Where the interval holds 0, no difference was shown, and the sentence says which one would have been.
    """
    head = f"{row['model']} against {baseline}, {row['metric']}: {difference(row, confidence)}"
    if row["verdict"] != "not shown":
        return f"{head}: {row['verdict']}; wins {percent(row['win_rate'])} of pictures."
    if identical(row):
        return f"{head}: no difference at all; every picture scores as the baseline's."
    if row["low"] is None or row["detectable"] is None:
        return f"{head}: no difference shown; so few prompts cannot show any."
    return f"{head}: no difference shown; {row['prompts']} prompts show one of {number(row['detectable'])} four times in five."


def identical(row: Mapping[str, Any]) -> bool:
    """Whether no prompt differs at all: models that make the same pictures, or a metric that gives all one number."""
    return bool(row["difference"] == 0 and row["standard_error"] == 0)


def findings(comparison: Mapping[str, Any]) -> list[str]:
    """What the primary metric says of each model."""
    rows = [row for row in comparison["comparisons"] if row["metric"] == comparison["primary"]]
    return [finding(row, comparison["baseline"], comparison["confidence"]) for row in rows]


def concerns(comparison: Mapping[str, Any]) -> list[str]:
    """What must be said beside a comparison's numbers, most serious first, and which model is best where that was asked."""
    said = [f"ALARM {each['said']}" for each in comparison.get("alarms", ())]
    said += [f"Warning: {each}" for each in comparison.get("warnings", ())]
    return said + ([ranking(comparison)] if "best" in comparison else [])


def ranking(comparison: Mapping[str, Any]) -> str:
    """Which model is best by the primary metric, and from which ones it cannot be told."""
    best = comparison["best"]
    head = f"Best by {comparison['primary']}: {best['model']} ({number(best['mean'], digits=4)})"
    if not best["alike"]:
        return f"{head}; every other model is worse, with all pairs of models corrected for."
    rows = {row["model"]: row for row in best["rows"]}
    shown = ", ".join(_behind(rows[label]) for label in best["alike"])
    if len(best["alike"]) == len(rows):
        return f"{head}, but it cannot be told from any other: {shown}. More prompts would tell."
    return f"{head}; it cannot be told from {shown}. The others are worse."


def _behind(row: Mapping[str, Any]) -> str:
    ends = "no interval" if row["low"] is None else f"{number(row['low'], sign=True)} to {number(row['high'], sign=True)}"
    return f"{row['model']} ({number(row['difference'], sign=True)}, {ends})"
