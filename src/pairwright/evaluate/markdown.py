"""A comparison as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairwright.wording import concerns, findings, line, number, percent, probability

_NOTES = (
    "The difference is the model's mean minus the baseline's, paired by prompt and initial noise; all prompts weigh the same. "
    "Intervals and p-values: {resamples:,} bootstrap resamples of the prompts. Won: share of pictures, ties as half. "
    "Holm corrects the primary metric (**bold**) over the models, and the others over models and metrics. "
    "Detectable: the true difference that is found four times in five. Dropped: pictures without a score or a counterpart."
)


def markdown(found: Mapping[str, Any]) -> str:
    """The table of ``comparison.md``."""
    names, *rows = records(found)
    lines = [
        *(f"- {each}" for each in [*findings(found), *concerns(found)]),
        "",
        line(names),
        "|---|---|" + "---:|" * (len(names) - 2),
        *(line([f"**{row[0]}**" if row[0] == found["primary"] else row[0], *row[1:]]) for row in rows),
        "",
        _NOTES.format(resamples=found["resamples"]),
    ]
    return "\n".join(lines) + "\n"


def records(found: Mapping[str, Any]) -> list[list[str]]:
    """The table's header and rows, as text."""
    names = ["metric", "model", found["baseline"], "difference", f"{percent(found['confidence'])} interval", "won", "p"]
    names += ["p (Holm)", "detectable", "prompts", "pictures", "dropped"]
    return [names, *(_cells(row) for row in found["comparisons"])]


def _cells(row: Mapping[str, Any]) -> list[str]:
    bounds = "none" if row["low"] is None else f"{number(row['low'], sign=True)} .. {number(row['high'], sign=True)}"
    return [
        row["metric"],
        row["model"],
        number(row["baseline_mean"]),
        number(row["difference"], sign=True),
        bounds,
        percent(row["win_rate"], 1),
        probability(row["p"]),
        probability(row["p_holm"]),
        "none" if row["detectable"] is None else number(row["detectable"]),
        str(row["prompts"]),
        str(row["pictures"]),
        str(row["unscored"] + row["unmatched"]),
    ]
