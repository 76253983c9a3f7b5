"""Pick-a-Pic, version 1 or 2: Parquet files as the hub had them, or any part of them.

Columns ``caption``, ``jpg_0``, ``jpg_1``, ``label_0``, ``label_1`` (0.5 each: a tie); models, uids and ``has_label`` are read
where they are there. As pairs: all that are no tie. As pictures: the preferred ones, each once.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import PositiveInt

from pairwright.sources import _preferences, _rows
from pairwright.sources._listings import Preferences, TableListing

NEEDED = ("caption", *_preferences.PICKAPIC.needed)


def load(*, path: Path, split: str | None = "train", limit: PositiveInt | None = None) -> Preferences:
    """Preferences of Pick-a-Pic.

    Args:
        path: a Parquet file, or a folder of them.
        split: of a folder's files, those of this one: ``train``, ``validation``, ``test``, ``validation_unique``, ``test_unique``.
        limit: only the first so many rows; rejected ones count.

    Raises:
        SourceError: no such file or split, or a column is missing.
    """
    rows = _rows.parquet(path.expanduser(), split, NEEDED)
    _preferences.require(rows.columns, NEEDED, str(path))
    return Preferences(TableListing(rows, _preferences.PICKAPIC), limit=limit)
