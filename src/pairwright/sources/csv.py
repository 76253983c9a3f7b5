"""Pairs of files in a table: the first paper's CSV, and any ``.csv``, ``.tsv`` or ``.jsonl`` whose columns say who won.

Columns of paths: ``win_image_path``/``lose_image_path``, ``real_image_path``/``fake_image_path``, ``chosen``/``rejected``,
``winner``/``loser``, ``image1``/``image2`` with ``votes_image1``/``votes_image2``, ``img_win``/``img_lose`` with or without
``win_score``/``lose_score``; and one of ``prompt``, ``caption`` or ``text``. As pictures: the winners, each once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import PositiveInt

from pairwright import rowfiles
from pairwright.records import Rejected
from pairwright.sources import _preferences
from pairwright.sources._errors import SourceError
from pairwright.sources._listings import FileListing, Preferences
from pairwright.sources._preferences import Form
from pairwright.sources._records import Record


def load(*, path: Path, root: Path | None = None, limit: PositiveInt | None = None) -> Preferences:
    """Preferences between files.

    Args:
        path: the table.
        root: folder that its paths are relative to; default: the table's own.
        limit: only the first so many rows; rejected ones count.

    Raises:
        SourceError: no such table, or a column is missing.
        RowError: a malformed line; names file and line.
    """
    table = path.expanduser()
    if not table.is_file():
        raise SourceError(f"{table} is not there: expected a table of pairs ({', '.join(rowfiles.SUFFIXES)})")
    first = next(rowfiles.read(table), None)
    if first is None:
        raise SourceError(f"{table} has no rows")
    form = _preferences.form(list(first.values), str(table))
    folder = root.expanduser() if root else table.parent
    return Preferences(FileListing(lambda: _records(table, form), folder), folder, limit)


def _records(table: Path, form: Form) -> Iterator[Record | Rejected]:
    for row in rowfiles.read(table):
        name = f"{table.name}:{row.line}"
        missing = [column for column in form.needed if column not in row.values]  # lines of .jsonl differ
        yield Rejected(name, "missing", f"no {', '.join(missing)} in this row") if missing else form.record(name, row.values)
