"""HPDv2: ``train.json`` (``prompt``, ``file_path``, ``human_preference``) and ``test.json`` (``prompt``, ``image_path``, ``rank``).

As pairs: the preferred picture of two; of a ranked set the best against the worst, or every two. As pictures: the winners.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import PositiveInt

from pairwright.records import Rejected
from pairwright.sources import _json, _preferences, _ranked
from pairwright.sources._listings import FileListing, Preferences
from pairwright.sources._preferences import number, require
from pairwright.sources._records import Record, cell


def load(
    *,
    path: Path,
    split: str = "train",
    root: Path | None = None,
    which: _ranked.Which = "extremes",
    limit: PositiveInt | None = None,
) -> Preferences:
    """Preferences of HPDv2.

    Args:
        path: the folder with ``train.json`` and ``test.json``, or one such file.
        split: which of the folder's files.
        root: folder that its paths are relative to; default: the folder named after the split, else the table's own.
        which: of more than two pictures, ``extremes`` (best against worst) or ``all`` (every two).
        limit: only the first so many pairs; rejected ones count.

    Raises:
        SourceError: no such file, not JSON, or a column is missing.
    """
    given = path.expanduser()
    table = given / f"{split}.json" if given.is_dir() else given
    first = next(_json.items(table), None)
    row = first[1] if first else {}
    ranked = "image_path" in row or "rank" in row
    require(
        row, ("prompt", "image_path", "rank") if ranked else ("prompt", "file_path", "human_preference"), f"{table}, first object"
    )
    beside = table.parent / table.stem
    folder = root.expanduser() if root else beside if beside.is_dir() else table.parent
    return Preferences(FileListing(lambda: _records(table, which, ranked=ranked), folder), folder, limit)


def _records(table: Path, which: _ranked.Which, *, ranked: bool) -> Iterator[Record | Rejected]:
    files, told = ("image_path", "rank") if ranked else ("file_path", "human_preference")
    for name, row in _json.items(table):
        paths, said = row.get(files), row.get(told)
        if not (isinstance(paths, list) and isinstance(said, list) and len(said) == len(paths)):
            yield Rejected(name, "missing", f"{files} and {told} are not lists of the same length in this object")
            continue
        numbers = [number(each) for each in said]
        if None in numbers:
            yield Rejected(name, "label", f"{told} is not made of numbers")
            continue
        # A preference of 1 is a rank of 1, everything else comes behind it.
        ranks = [each if ranked else -each for each in numbers if each is not None]
        for found in _ranked.pairs(name, ranks, which):
            if isinstance(found, Rejected):
                yield found
                continue
            called, best, worst = found
            yield Record(called, _preferences.text(row, ("prompt",)), cell(paths[best]), cell(paths[worst]), {"source": "HPDv2"})
