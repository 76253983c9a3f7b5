"""A comparison as tables (Markdown, plain text, CSV, LaTeX in the form of the field's papers) and as a figure (SVG)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pairwright.evaluate.latex import latex
from pairwright.evaluate.markdown import markdown, records
from pairwright.evaluate.radar import radar
from pairwright.wording import concerns, findings

_FIELDS = (
    "metric", "unit", "model", "category", "baseline", "baseline_mean", "difference", "low", "high", "confidence", "win_rate",
    "win_low", "win_high", "wins", "ties", "losses", "p", "p_holm", "verdict", "detectable", "prompts", "pictures", "unscored",
    "unmatched",
)  # fmt: skip


def text(found: Mapping[str, Any]) -> str:
    """Sentences and an aligned table, for a terminal."""
    header, *rows = records(found)
    return "\n".join([*findings(found), *concerns(found), "", *aligned([header, *rows], left=2)]) + "\n"


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a table: the first ``left`` columns flush left, the others flush right; a rule below the first row."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return [line(rows[0]), "  ".join("-" * width for width in widths), *(line(row) for row in rows[1:])]


def table(found: Mapping[str, Any]) -> str:
    """CSV in full precision: a row per metric and model, and one per category (not corrected, so without ``p_holm``)."""
    units = {metric["name"]: metric["unit"] for metric in found["metrics"]}
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in found["comparisons"]:
        shared = {"metric": row["metric"], "unit": units[row["metric"]], "model": row["model"]}
        shared |= {"baseline": found["baseline"], "confidence": found["confidence"]}
        writer.writerows({**each, **shared} for each in (row, *row["categories"]))
    return stream.getvalue()


FORMATS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    ".md": markdown,
    ".txt": text,
    ".csv": table,
    ".tex": latex,
    ".svg": radar,
}
"""How a comparison is written, by the file's suffix."""
