"""Rich feedback on the page: what came of each critic, instructor and editor, and which editor a judge prefers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairwright.report.gather import ReportError, Run, Step, read_run
from pairwright.store import write_text
from pairwright.wording import line, number, percent, shares

NAME = "edits"
"""Of the files that are written: ``edits.md`` and ``edits.csv``."""


@dataclass(frozen=True)
class Rich:
    """A table, one row for each feedback step."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Contests:
    """What a judge said of the edits of several steps."""

    step: Step
    judge: str
    editors: tuple[tuple[str, ...], ...]
    """Step, editor, what it was told, won, lost, undecided, share with its interval."""
    left: tuple[str, ...]
    """Sentences about what was left out."""


def rich(steps: Sequence[tuple[str, Mapping[str, Any]]]) -> Rich | None:
    """The summaries of feedback steps as a table; None where none is finished.

    Args:
        steps: how each is called, and its summary.
    """
    found = [(name, summary) for name, summary in steps if "edited_won" in summary]
    if not found:
        return None
    measures = list(dict.fromkeys(name for _, summary in found for name in summary["means"]))
    head = ("", "critic", "instructor", "editor", "told", "pairs", "edit won", "original won", "ties", "share won", *measures)
    return Rich(head, tuple((name, *_row(summary, measures)) for name, summary in found))


def _row(summary: Mapping[str, Any], measures: Sequence[str]) -> list[str]:
    share = summary["share_won"]
    counts = [str(summary[name]) for name in ("kept", "edited_won", "flips", "ties")]
    means = [summary["means"].get(name) for name in measures]
    return [
        summary["critic"] or "none (one step)",
        summary["instructor"],
        summary["editor"],
        _told(summary),
        *counts,
        "-" if share is None else percent(share),
        *map(_means, means),
    ]


def _means(said: Mapping[str, Any] | None) -> str:
    return "-" if not said or said["edited"] is None else f"{number(said['original'])} → {number(said['edited'])}"


def _told(said: Mapping[str, Any]) -> str:
    return "prompt, instruction" if said["with_prompt"] else "instruction"


def of_run(run: Run) -> Rich | None:
    """The table of a run's own feedback steps."""
    return rich([(step.name, step.summary) for step in run.of("feedback")])


def of_runs(folders: Sequence[Path], out: Path | None = None) -> str:
    """Feedback steps of several runs beside each other (the second paper's Figure 4), as files and as the text that is returned.

    Args:
        folders: of the runs; a sweep's are called by their row.
        out: where the files go; default: the sweep's folder beside the runs, or the first run's own.

    Raises:
        ReportError: one of them is no run, or none has a finished feedback step.
    """
    runs = [read_run(folder) for folder in folders]
    steps = [(_called(run, step), step.summary) for run in runs for step in run.of("feedback")]
    found = rich(steps)
    if found is None:
        raise ReportError(f"{', '.join(str(each) for each in folders)}: no feedback step is finished; 'pairwright run' goes on")
    row = runs[0].recipe.get("row") or {}
    place = out or (folders[0].parent / row["sweep"] if row.get("sweep") else folders[0])
    text = "\n".join([line(found.head), line(["---"] * len(found.head)), *(line(each) for each in found.rows)]) + "\n"
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([found.head, *found.rows])
    write_text(place / f"{NAME}.md", text)
    write_text(place / f"{NAME}.csv", stream.getvalue())
    return text


def _called(run: Run, step: Step) -> str:
    label = (run.recipe.get("row") or {}).get("label") or run.name
    return label if len(run.of("feedback")) == 1 else f"{label}, {step.name}"


def contests(step: Step) -> Contests | None:
    """What an editors step found; None where it is not finished."""
    summary = step.summary
    if "contests" not in summary:
        return None
    rows = tuple((name, said["editor"], _told(said), *_counts(said)) for name, said in summary["editors"].items())
    left = tuple(
        f"{each['first']} and {each['second']}: {', '.join(f'{count} {why}' for why, count in each['left_out'].items() if count)}"
        for each in summary["contests"]
        if any(each["left_out"].values())
    )
    return Contests(step, str(step.options["judge"]["name"]), rows, left)


def _counts(said: Mapping[str, Any]) -> list[str]:
    share = f"{percent(said['share'])} ({shares(said['low'], said['high'])})"
    return [str(said["won"]), str(said["lost"]), str(said["undecided"]), share]
