"""RichHF-18K's pictures: those of Pick-a-Pic v1 on which there is rich feedback, with their prompts.

Its TFRecord files hold neither pictures nor prompts; both come from Pick-a-Pic's Parquet files, by the uid in the file's name. Rows
without a picture there are rejected as unmatched. The critic ``richhf`` reads the feedback itself, by the uid that a picture keeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from pairwright import digests, richhf
from pairwright.records import Picture, Rejected
from pairwright.sources import _preferences, _records, _rows

UIDS = ("image_0_uid", "image_1_uid")
NEEDED = ("caption", "jpg_0", "jpg_1", *UIDS)
AHEAD = 500
"""Rows without a picture that is wanted from which on reading begins anew further on."""


def load(*, path: Path, pickapic: Path, split: str | None = None, limit: PositiveInt | None = None) -> RichHF:
    """Pictures with rich feedback.

    Args:
        path: RichHF-18K's ``.tfrecord`` file, or the folder of all three.
        pickapic: Pick-a-Pic v1, a Parquet file or a folder of them.
        split: of Pick-a-Pic's files, those of this one; default: all, since RichHF-18K's splits are others.
        limit: only the first so many rows of RichHF-18K.

    Raises:
        RichHFError: RichHF-18K's files are not there or are others.
        TFRecordError: one of them is damaged.
        SourceError: Pick-a-Pic's files are not there, or a column is missing.
    """
    rows = _rows.parquet(pickapic.expanduser(), split, NEEDED)
    _preferences.require(rows.columns, NEEDED, str(pickapic))
    return RichHF(path.expanduser(), rows, limit)


@dataclass(frozen=True)
class RichHF:
    """See :class:`pairwright.protocols.Source`."""

    path: Path
    rows: _rows.ParquetRows
    limit: int | None = None

    def fingerprint(self) -> str:
        """Of the content of all files."""
        labels = [f"{file.name} {digests.of_file(file)}" for file in richhf.files(self.path)]
        return hashlib.sha256("\n".join([*labels, self.rows.fingerprint(), str(self.limit)]).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._filenames)

    @cached_property
    def _filenames(self) -> list[str]:
        return list(islice(richhf.index(self.path), self.limit))

    def __iter__(self) -> Iterator[Picture | Rejected]:
        """In Pick-a-Pic's order, each once; then what was not found there, in RichHF-18K's."""
        places = self._places()
        names = {richhf.uid(each): each for each in self._filenames}
        seen: dict[str, str] = {}
        for place, row in self._read(sorted({number for number, _ in places.values()})):
            for side in (0, 1):
                uid = row[UIDS[side]]
                if places.get(uid) == (place, side):
                    yield _once(_picture(row, side, names[uid]), names[uid], seen)
        for uid, name in names.items():
            if uid not in places:
                yield Rejected(name, "unmatched", f"Pick-a-Pic's files have no picture {uid}")

    def _places(self) -> dict[str, tuple[int, int]]:
        """Row and side of each uid that is wanted, where it comes first."""
        wanted = {richhf.uid(each) for each in self._filenames}
        found: dict[str, tuple[int, int]] = {}
        for number, (_, row) in enumerate(self.rows.read(UIDS)):
            for side, name in enumerate(UIDS):
                if row[name] in wanted:
                    found.setdefault(row[name], (number, side))
        return found

    def _read(self, numbers: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows by number, in order; long stretches between them are not read."""
        place, rows = 0, iter(())  # type: tuple[int, Iterator[tuple[str, dict[str, Any]]]]
        for number in numbers:
            if number - place > AHEAD or place == 0:
                place, rows = number, self.rows.read(NEEDED, number)
            _, row = next(islice(rows, number - place, None))
            place = number + 1
            yield number, row


def _picture(row: dict[str, Any], side: int, name: str) -> Picture | Rejected:
    caption = _preferences.text(row, ("caption",))
    if not caption:
        return Rejected(name, "caption", "it has no prompt")
    return _records.picture(_records.cell(row[f"jpg_{side}"]), None, name, caption, {"file": name, "uid": richhf.uid(name)})


def _once(found: Picture | Rejected, name: str, seen: dict[str, str]) -> Picture | Rejected:
    if isinstance(found, Rejected):
        return found
    if found.id in seen:
        return Rejected(name, "duplicate", f"same content as {seen[found.id]}")
    seen[found.id] = name
    return found
