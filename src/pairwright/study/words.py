"""An analysis as Markdown, which is also what the terminal shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairwright.wording import number, percent, probability, shares

_NOTES = (
    "Won: share of prompts whose majority prefers the model, ties as half. Preferred: share of votes for it, ties as half; this "
    "one decides. Intervals ({confidence}) and p: {resamples:,} resamples of prompts and of raters. Alpha: Krippendorff's, "
    "nominal; 1 is full agreement, 0 what chance gives. "
    "Categories are not corrected for their number: they describe, they do not decide."
)
_HEAD = [
    *("model", "against", "category", "prompts", "votes", "won", "tied", "lost", "prompts won", "interval"),
    *("preferred", "interval", "p", "p (Holm)", "alpha"),
]


def markdown(found: Mapping[str, Any]) -> str:
    """The whole analysis."""
    lines = [f"## {found['study']}: {found['question']}", ""]
    flagged = found["flagged"]
    lines += list(_part(found["everybody"], found, "All raters" if flagged else ""))
    for each in flagged:
        lines.append(f"- rater {each['rater']} is flagged: {'; '.join(each['flags'])}")
    if found["unflagged"]:
        lines += ["", *_part(found["unflagged"], found, "Without flagged raters")]
    elif flagged:
        lines += ["", "Every rater is flagged: there is no analysis without them."]
    else:
        lines.append("No rater is flagged.")
    lines += ["", _NOTES.format(confidence=percent(found["confidence"]), resamples=found["resamples"])]
    return "\n".join(lines) + "\n"


def sentence(contest: Mapping[str, Any], confidence: float) -> str:
    """What was found of two models, in words."""
    row = contest["rows"][0]
    head = f"{contest['model']} against {contest['against']}: preferred in {percent(row['preferred'])} of votes"
    if row["low"] is None:
        return f"{head}; too few prompts or raters for an interval ({row['prompts']} and {row['raters']})."
    return f"{head} ({percent(confidence)} interval {percent(row['low'])} to {percent(row['high'])}): {contest['verdict']}."


def _part(result: Mapping[str, Any], found: Mapping[str, Any], title: str) -> Iterator[str]:
    if title:
        yield from (f"### {title}", "")
    for contest in result["contests"]:
        yield f"- {sentence(contest, found['confidence'])}"
    yield ""
    yield _line(_HEAD)
    yield "|---|---|---|" + "---:|" * (len(_HEAD) - 3)
    for contest in result["contests"]:
        for place, row in enumerate(contest["rows"]):
            yield _line(_cells(contest, row, first=place == 0))
    yield ""
    if result["strengths"]:
        yield from _strengths(result["strengths"])
    left = result["left"]
    yield f"The left side was preferred in {percent(left['value'], 1)} of answers (interval {shares(left['low'], left['high'])})."
    yield ""


def _cells(contest: Mapping[str, Any], row: Mapping[str, Any], *, first: bool) -> list[str]:
    alpha = contest["alpha"]
    return [
        contest["model"],
        contest["against"],
        row["category"] or "all",
        str(row["prompts"]),
        str(row["votes"]),
        f"{row['wins']}/{row['prompts']}",
        str(row["ties"]),
        str(row["losses"]),
        percent(row["won"], 1),
        shares(row["won_low"], row["won_high"]),
        percent(row["preferred"], 1),
        shares(row["low"], row["high"]),
        probability(row["p"]),
        probability(contest["p_holm"]) if first else "",
        (f"{alpha['alpha']:.2f}" if alpha else "none") if first else "",
    ]


def _strengths(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"Bradley-Terry strengths with ties (Davidson), log odds against {rows[0]['model']}:"
    yield ""
    for row in rows[1:]:
        bounds = "none" if row["low"] is None else f"{number(row['low'], sign=True)} to {number(row['high'], sign=True)}"
        yield f"- {row['model']}: {number(row['log_odds'], sign=True)} (interval {bounds}), preferred {percent(row['chance'])}"
    yield ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
