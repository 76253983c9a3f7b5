"""The analysis of a study, written beside its votes: ``report.html`` of the run shows it from there."""

from __future__ import annotations

from pathlib import Path

from pairwright.store import write_json, write_text
from pairwright.study.analysis import Bootstrap, analyse
from pairwright.study.database import FILE, Database
from pairwright.study.raters import Rules
from pairwright.study.words import markdown

ANALYSIS = "analysis.json"


def report(folder: Path, rules: Rules | None = None, how: Bootstrap | None = None) -> str:
    """Analyse the votes that are there, write ``analysis.json`` and ``analysis.md`` into the study's folder.

    Returns:
        the tables, as Markdown.

    Raises:
        StudyError: no study, or no vote yet.
    """
    with Database(folder / FILE) as database:
        found = analyse(database, rules or Rules(), how or Bootstrap())
    text = markdown(found)
    write_json(folder / ANALYSIS, found)
    write_text(folder / "analysis.md", text)
    return text
