"""What a paper prints and what was measured, in the same form: two blocks, the paper's with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pairwright.evaluate.formats import aligned
from pairwright.evaluate.latex import Cell, escaped, gain_column, gain_columns, survivors
from pairwright.published import Published
from pairwright.wording import line

_DECIMALS = 4


@dataclass(frozen=True)
class Block:
    """A paper's table as it is shown: plain text cells."""

    heading: str
    metrics: list[str]
    rows: list[list[str]]
    """Name, then ``value (+gain)`` for each metric."""
    notes: list[str]


def block(paper: Published) -> Block:
    """The paper's table as text, with where it was read and what is missing."""
    rows = [[label, *map(_said, row)] for label, row in cells(paper).items()]
    notes = [f"{what}: {text}." for what, text in (("Read in", paper.source), ("Not here", paper.missing)) if text]
    return Block(f"{paper.heading}.", paper.metrics, rows, notes)


def measured(found: Mapping[str, Any]) -> Block:
    """What was measured, in the form of the paper's table."""
    columns, settled = gain_columns(found), survivors(found)
    names = [metric["name"] for metric in found["metrics"]]

    def cell(name: str, label: str, value: Cell | None) -> str:
        return f"{_said(value)}*" if (name, label) in settled else _said(value)

    rows = [
        [label, *(cell(name, label, column[label]) for name, column in zip(names, columns, strict=True))]
        for label in found["models"]
    ]
    note = f"Means (gain over {found['baseline']}, of the printed values); a star where the difference survives correction."
    return Block(f"Measured here: {found['sweep']}, {found['prompts']:,} prompts.", names, rows, [note])


def beside(shown: Block, suffix: str) -> str:
    """The block for a table of that form: ``.txt``, ``.md`` or ``.tex``."""
    return {".txt": _text, ".md": _markdown, ".tex": _latex}[suffix](shown)


def cells(paper: Published) -> dict[str, list[Cell | None]]:
    """By row, a cell per metric: the printed value and its gain over the paper's own baseline."""
    columns = []
    for name in paper.metrics:
        values = {label: row.get(name) for label, row in paper.rows.items()}
        places = max(_places(value) for value in values.values() if value is not None)
        columns.append(gain_column(values, paper.baseline or "", decimals=places))
    return {label: [column[label] for column in columns] for label in paper.rows}


def _places(value: float) -> int:
    """Decimals that a number needs, two at least: papers print two."""
    text = f"{value:.{_DECIMALS}f}".rstrip("0")
    return max(2, len(text.partition(".")[2]))


def _said(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    return str(cell.value) if cell.gain is None else f"{cell.value} ({cell.gain:+})"


def _text(shown: Block) -> str:
    table = ["", *aligned([["row", *shown.metrics], *shown.rows]), ""] if shown.rows else []
    return "\n".join([shown.heading, *table, *shown.notes]) + "\n"


def _markdown(shown: Block) -> str:
    table = [line(["row", *shown.metrics]), "|---|" + "---:|" * len(shown.metrics), *map(line, shown.rows)] if shown.rows else []
    return "\n".join([f"**{shown.heading}**", "", *table, "", " ".join(shown.notes)]) + "\n"


def _latex(shown: Block) -> str:
    lines = [f"% {each}" for each in (shown.heading, *shown.notes)]
    if shown.rows:
        rows = [" & ".join(map(escaped, row)) + r" \\" for row in (["Row (published)", *shown.metrics], *shown.rows)]
        lines += [rf"\begin{{tabular}}{{l{'c' * len(shown.metrics)}}}", r"\toprule", rows[0], r"\midrule", *rows[1:]]
        lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"
