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

    measures: tuple[str, ...]
    """Rewards whose means it has."""
    records: tuple[Mapping[str, Any], ...]
    """In full precision; None where there is no number."""

    @property
    def head(self) -> tuple[str, ...]:
        """As it is read."""
        return (
            "",
            "critic",
            "instructor",
            "editor",
            "told",
            "pairs",
            "edit won",
            "original won",
            "ties",
            "share won",
            *self.measures,
        )

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """As they are read: rounded, with both means of a measure in one cell."""
        return tuple(
            (
                *(str(each[name]) for name in _FIELDS[:-1]),
                "-" if each["share_won"] is None else percent(each["share_won"]),
                *(_means(each[f"{name}_original"], each[f"{name}_edited"]) for name in self.measures),
            )
            for each in self.records
        )

    @property
    def csv(self) -> str:
        """For a program: plain numbers, one in a cell, in full precision."""
        means = [f"{name}_{side}" for name in self.measures for side in ("pictures", "original", "edited")]
        stream = io.StringIO()
        writer = csv.DictWriter(stream, [*_FIELDS, *means], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records)
        return stream.getvalue()


_FIELDS = ("step", "critic", "instructor", "editor", "told", "pairs", "edits_won", "originals_won", "ties", "share_won")


@dataclass(frozen=True)
class Contests:
    """What a judge said of the edits of several steps."""

    step: Step
    judge: str
    editors: tuple[tuple[str, ...], ...]
    """Step, editor, what it was told, won, lost, undecided, share with its interval."""
    left: tuple[str, ...]
    """Sentences about what was left out."""


def rich(steps: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> Rich | None:
    """Feedback steps as a table; None where none is finished.

    Args:
        steps: how each is called, its options as the recipe has them, and its summary.
    """
    found = [each for each in steps if "edited_won" in each[2]]
    if not found:
        return None
    measures = tuple(dict.fromkeys(name for _, _, summary in found for name in summary["means"]))
    return Rich(measures, tuple(_record(*each, measures) for each in found))


def _record(
    name: str, options: Mapping[str, Any], summary: Mapping[str, Any], measures: Sequence[str]
) -> dict[str, str | float | None]:
    none: dict[str, float | None] = {"pictures": 0, "original": None, "edited": None}
    return {
        "step": name,
        "critic": _plugin(options.get("critic"), summary["critic"] or "none (one step)"),
        "instructor": _plugin(options.get("instructor"), summary["instructor"]),
        "editor": _plugin(options.get("editor"), summary["editor"]),
        "told": _told(summary),
        "pairs": summary["kept"],
        "edits_won": summary["edited_won"],
        "originals_won": summary["flips"],
        "ties": summary["ties"],
        "share_won": summary["share_won"],
        **{f"{each}_{side}": summary["means"].get(each, none).get(side) for each in measures for side in none},
    }


def _plugin(chosen: Mapping[str, Any] | None, name: str) -> str:
    """The name, with the model and the template that were asked for: many models stand behind one plug-in."""
    options = chosen.get("options", {}) if chosen else {}
    said = [str(options[each]) for each in ("served_model", "model", "template") if options.get(each)]
    return f"{name} ({', '.join(said)})" if said else name


def _means(original: float | None, edited: float | None) -> str:
    return "-" if original is None or edited is None else f"{number(original)} → {number(edited)}"


def _told(said: Mapping[str, Any]) -> str:
    return "prompt, instruction" if said["with_prompt"] else "instruction"


def of_run(run: Run) -> Rich | None:
    """The table of a run's own feedback steps."""
    return rich([(step.name, step.options, step.summary) for step in run.of("feedback")])


def of_runs(folders: Sequence[Path], out: Path | None = None) -> str:
    """Feedback steps of several runs beside each other (the second paper's Figure 4), as files and as the text that is returned.

    Args:
        folders: of the runs; a sweep's are called by their row.
        out: where the files go; default: the sweep's folder beside the runs, or the first run's own.

    Raises:
        ReportError: one of them is no run, or none has a finished feedback step.
    """
    runs = [read_run(folder) for folder in folders]
    steps = [(_called(run, step), step.options, step.summary) for run in runs for step in run.of("feedback")]
    found = rich(steps)
    if found is None:
        raise ReportError(f"{', '.join(str(each) for each in folders)}: no feedback step is finished; 'pairwright run' goes on")
    row = runs[0].recipe.get("row") or {}
    place = out or (folders[0].parent / row["sweep"] if row.get("sweep") else folders[0])
    text = "\n".join([line(found.head), line(["---"] * len(found.head)), *(line(each) for each in found.rows)]) + "\n"
    write_text(place / f"{NAME}.md", text)
    write_text(place / f"{NAME}.csv", found.csv)
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
