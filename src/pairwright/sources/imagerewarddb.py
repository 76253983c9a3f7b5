"""ImageRewardDB: Parquet with one picture per row (``image``, ``prompt_id``, ``prompt``, ``rank``: 1 is the best) and ratings.

As pairs: of each prompt's pictures the best against the worst, or every two. As pictures: the winners, each once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from pairwright.records import Rejected
from pairwright.sources import _preferences, _ranked, _rows
from pairwright.sources._listings import Preferences
from pairwright.sources._records import Record, cell
from pairwright.sources._rows import ParquetRows

NEEDED = ("image", "prompt_id", "prompt", "rank")
RATINGS = ("overall_rating", "image_text_alignment_rating", "fidelity_rating", "rank")


def load(
    *, path: Path, split: str | None = "train", which: _ranked.Which = "extremes", limit: PositiveInt | None = None
) -> Preferences:
    """Preferences of ImageRewardDB.

    Args:
        path: a Parquet file, or a folder of them; pictures are in the column ``image``, or are paths below the folder.
        split: of a folder's files, those of this split.
        which: of each prompt's pictures, ``extremes`` (best against worst) or ``all`` (every two).
        limit: only the first so many pairs; rejected ones count.

    Raises:
        SourceError: no such file or split, or a column is missing.
    """
    rows = _rows.parquet(path.expanduser(), split, NEEDED)
    _preferences.require(rows.columns, NEEDED, str(path))
    return Preferences(Groups(rows, which), rows.folder, limit)


@dataclass(frozen=True)
class _Group:
    """The pictures of one prompt."""

    prompt: str
    places: list[int] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Ranks and ratings."""


@dataclass(frozen=True)
class Groups:
    """Pairs within each prompt, in the order in which prompts first come; see ``_listings.Listing``."""

    table: ParquetRows
    which: _ranked.Which

    def fingerprint(self) -> str:
        """Of the table's content and of the pairs that are made of it."""
        return hashlib.sha256(f"{self.table.fingerprint()} {self.which}".encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._pairs)

    @cached_property
    def _groups(self) -> dict[str, _Group]:
        found: dict[str, _Group] = {}
        for place, (_, row) in enumerate(self.table.read(("prompt_id", "prompt", *RATINGS))):
            group = found.setdefault(str(row["prompt_id"]), _Group(_preferences.text(row, ("prompt",))))
            group.places.append(place)
            group.rows.append(row)
        return found

    @cached_property
    def _pairs(self) -> list[tuple[str, str, int, int] | Rejected]:
        """Prompt's id, name, and places within the group."""
        found: list[tuple[str, str, int, int] | Rejected] = []
        for key, group in self._groups.items():
            ranks = [_preferences.number(row.get("rank")) for row in group.rows]
            name = f"prompt {key}"
            if None in ranks:
                found.append(Rejected(name, "label", "a picture of it has no rank"))
                continue
            known = [each for each in ranks if each is not None]
            found += [each if isinstance(each, Rejected) else (key, *each) for each in _ranked.pairs(name, known, self.which)]
        return found

    def records(self, start: int = 0) -> Iterator[Record | Rejected]:
        """See ``_listings.Listing``. Pictures of one prompt mostly lie together: a row group is read once for them."""
        pictures = _Pictures(self.table)
        for found in self._pairs[start:]:
            if isinstance(found, Rejected):
                yield found
                continue
            key, name, best, worst = found
            group = self._groups[key]
            winner, loser = (pictures.get(group.places[each]) for each in (best, worst))
            yield Record(name, group.prompt, cell(winner), cell(loser), dict(_lineage(group.rows, best, worst)))


def _lineage(rows: Sequence[dict[str, Any]], best: int, worst: int) -> Iterator[tuple[str, object]]:
    yield "source", "ImageRewardDB"
    for side, place in (("winner", best), ("loser", worst)):
        yield from ((f"{side}_{name}", rows[place][name]) for name in RATINGS if rows[place].get(name) is not None)


class _Pictures:
    """Cells of the column ``image`` by row, the row group that was read last kept."""

    def __init__(self, table: ParquetRows) -> None:
        self._table = table
        self._range, self._cells = range(0), []  # type: tuple[range, list[Any]]

    def get(self, place: int) -> Any:
        if place not in self._range:
            self._range, self._cells = self._group(place)
        return self._cells[place - self._range.start]

    def _group(self, place: int) -> tuple[range, list[Any]]:
        first = 0
        for path, count in zip(self._table.files, self._table.counts, strict=True):
            if place < first + count:
                with _rows.opened(path) as file:
                    for group in range(file.num_row_groups):
                        rows = file.metadata.row_group(group).num_rows
                        if place < first + rows:
                            cells = file.read_row_group(group, columns=["image"])["image"].to_pylist()
                            return range(first, first + rows), cells
                        first += rows
            first += count
        raise IndexError(place)
