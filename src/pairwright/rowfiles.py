"""Files that hold one record per line: ``.jsonl``, ``.csv`` and ``.tsv`` (both with a header line), UTF-8.

What is wrong in them is said with file and line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pairwright.errors import Explained

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".jsonl", *_DELIMITERS)


class RowError(Explained, ValueError):
    """A line that is not what it must be; the message begins with ``file:line``."""


@dataclass(frozen=True)
class Row:
    """One record."""

    path: Path
    line: int
    """Counted from 1; the last one of a record that spans several."""
    values: dict[str, object]
    """By column, names in lower case."""

    def text(self, names: Sequence[str]) -> str:
        """The first of these columns that holds text, stripped; ``""`` where none does."""
        found = (self.values.get(name) for name in names)
        return next((value.strip() for value in found if isinstance(value, str) and value.strip()), "")

    def error(self, message: str) -> RowError:
        """An error about this row."""
        return RowError(f"{self.path}:{self.line}: {message}")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, stripped, with their numbers.

    Raises:
        RowError: the file is not UTF-8.
    """
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line.strip()
    except UnicodeDecodeError as error:
        raise RowError(f"{path}, after line {number}: not UTF-8 ({error.reason})") from error


def read(path: Path, *, quoted: bool = True) -> Iterator[Row]:
    """The records of a file, in order; blank lines are none.

    Args:
        path: the file.
        quoted: whether quotation marks of ``.csv`` and ``.tsv`` enclose fields; else they belong to the text.

    Raises:
        RowError: a malformed line, or a suffix that is not one of :data:`SUFFIXES`.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        yield from _json_rows(path)
    elif suffix in _DELIMITERS:
        yield from _separated_rows(path, _DELIMITERS[suffix], csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    else:
        raise RowError(f"{path}: expected one of {', '.join(SUFFIXES)}")


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in lines(path):
        try:
            values = json.loads(line)
        except ValueError as error:
            raise RowError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(values, dict):
            raise RowError(f"{path}:{number}: expected an object {{...}}, got {type(values).__name__}")
        yield Row(path, number, {name.lower(): value for name, value in values.items()})


def _separated_rows(path: Path, delimiter: str, quoting: Literal[0, 3]) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, strict=True, quoting=quoting)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
            for fields in reader:
                if len(fields) not in (0, len(header)):
                    raise RowError(f"{path}:{reader.line_num}: {len(fields)} fields under {len(header)} column names")
                if fields:
                    yield Row(path, reader.line_num, dict(zip(header, fields, strict=True)))
        except csv.Error as error:
            raise RowError(f"{path}:{reader.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise RowError(f"{path}, after line {reader.line_num}: not UTF-8 ({error.reason})") from error
