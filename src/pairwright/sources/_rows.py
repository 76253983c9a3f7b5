"""Rows of tables with pictures in them, read a few at a time and from any row on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright import digests
from pairwright.sources._captions import walk
from pairwright.sources._errors import SourceError

Row = dict[str, Any]
BATCH = 16
"""Rows in memory at a time."""
_PAGES = 2**20
"""Bytes that are read of a column at a time: row groups of pictures can have gigabytes."""
_OF_SPLIT = re.compile(r"(\w+?)-\d+-of-\d+")
_SPLITS = {"train", "training", "validation", "valid", "val", "dev", "test"}


class Rows(Protocol):
    """A table."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        ...

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def fingerprint(self) -> str:
        """A digest of the content."""
        ...

    def read(self, columns: Collection[str], start: int = 0) -> Iterator[tuple[str, Row]]:
        """Each row from ``start`` on, with a name that says where it is; only those of ``columns`` that are there."""
        ...


@dataclass(frozen=True)
class ParquetRows:
    """The rows of Parquet files, one after the other."""

    folder: Path
    files: tuple[Path, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Of the first file; :func:`parquet` sees to it that all have them."""
        return _names(self.files[0])

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Rows of each file."""
        return tuple(_count(file) for file in self.files)

    def __len__(self) -> int:
        return sum(self.counts)

    def fingerprint(self) -> str:
        """Names and content of the files."""
        listing = [f"{self._name(file)} {digests.of_file(file)}" for file in self.files]
        return hashlib.sha256("\n".join(listing).encode()).hexdigest()[:16]

    def read(self, columns: Collection[str], start: int = 0) -> Iterator[tuple[str, Row]]:
        """See :class:`Rows`.

        Raises:
            SourceError: a file is damaged.
        """
        wanted = [name for name in self.columns if name in set(columns)]
        for file, count in zip(self.files, self.counts, strict=True):
            if start < count:
                yield from self._file(file, wanted, start)
            start = max(0, start - count)

    def _file(self, file: Path, columns: list[str], start: int) -> Iterator[tuple[str, Row]]:
        with opened(file) as table:
            first = 0
            for group in range(table.num_row_groups):
                rows = table.metadata.row_group(group).num_rows
                if start < first + rows:
                    place = first
                    for batch in table.iter_batches(BATCH, row_groups=[group], columns=columns):
                        skipped = min(max(0, start - place), batch.num_rows)
                        for number, row in enumerate(batch.slice(skipped).to_pylist(), place + skipped):
                            yield f"{self._name(file)}:{number}", row
                        place += batch.num_rows
                first += rows

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()


def parquet(path: Path, split: str | None, columns: Sequence[str]) -> ParquetRows:
    """A Parquet file, or those below a folder that belong to a split, in the order of their names.

    Args:
        path: file or folder.
        split: ``train-00000-of-00010.parquet``, ``train.parquet`` and ``train/...`` belong to ``train``; files whose names say
            nothing belong to every split. None: all files.
        columns: files without any of these are passed over, as a result's other tables are.

    Raises:
        SourceError: there is no such file, none of that split, or they have different columns.
    """
    if not path.exists():
        raise SourceError(f"{path} is not there: expected a Parquet file or a folder of them")
    if path.is_file():
        return ParquetRows(path.parent, (path,))
    files = [path / name for name in walk(path) if name.lower().endswith(".parquet")]
    if not files:
        raise SourceError(f"{path} holds no Parquet files")
    chosen = _of_split(path, files, split)
    there = {file: _names(file) for file in chosen}
    kept = [file for file in chosen if set(columns) & set(there[file])] or chosen
    different = [file for file in kept if set(there[file]) != set(there[kept[0]])]
    if different:
        raise SourceError(
            f"{kept[0]} and {different[0]} have different columns ({', '.join(there[kept[0]])}; "
            f"{', '.join(there[different[0]])}); give one of them, or a folder of equal ones"
        )
    return ParquetRows(path, tuple(kept))


def _of_split(path: Path, files: Sequence[Path], split: str | None) -> list[Path]:
    if split is None:
        return list(files)
    labels = {file: _label(file, path) for file in files}
    chosen = [file for file in files if labels[file] == split] or [file for file in files if not labels[file]]
    if not chosen:
        raise SourceError(f"{path} has no split {split!r}; its files are of: {', '.join(sorted(set(labels.values())))}")
    return chosen


def _label(file: Path, root: Path) -> str:
    """The split that a file's name, or its folder's, speaks of."""
    match = _OF_SPLIT.fullmatch(file.stem)
    if match:
        return match[1]
    names = [file.stem, *reversed(file.relative_to(root).parent.parts)]
    return next((name for name in names if name in _SPLITS), "")


@contextmanager
def opened(file: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file, to be read in parts.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        with pq.ParquetFile(file, buffer_size=_PAGES, pre_buffer=False) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{file} cannot be read as Parquet: {error}") from error


def _names(file: Path) -> tuple[str, ...]:
    with opened(file) as table:
        return tuple(table.schema_arrow.names)


def _count(file: Path) -> int:
    with opened(file) as table:
        return int(table.metadata.num_rows)
