"""Captions that lie beside pictures: ``metadata.jsonl`` or ``metadata.csv`` in any folder, or a ``.txt`` per picture."""

from __future__ import annotations

import itertools
import os
import posixpath
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pairwright import rowfiles
from pairwright.sources import _remote
from pairwright.sources._errors import SourceError

METADATA = ("metadata.jsonl", "metadata.csv")
CAPTION_COLUMNS = ("text", "caption", "prompt")
PROVENANCE_COLUMNS = ("license", "author", "source")


@dataclass(frozen=True)
class Entry:
    """What metadata say of one picture."""

    name: str
    """The picture's path, relative to the source's folder."""
    where: str
    """``metadata.jsonl:3``"""
    caption: str
    provenance: Mapping[str, str] = field(default_factory=dict)


def walk(folder: Path) -> list[str]:
    """Every file below a folder that is not hidden: relative, with forward slashes, in the order of code points."""
    if _remote.is_remote(folder):
        return _remote.walk(folder)
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        paths = [Path(place) / file for file in files if not file.startswith(".")]
        # Only files: opening a pipe would wait for ever.
        found += [path.relative_to(folder).as_posix() for path in paths if path.is_file() or path.is_symlink()]
    return sorted(found)


def entries(folder: Path, names: list[str]) -> Iterator[Entry]:
    """The entries of all metadata files among ``names``.

    Raises:
        RowError: a malformed line; names file and line.
        SourceError: two metadata files in one folder.
    """
    files = [name for name in names if posixpath.basename(name) in METADATA]
    for first, second in itertools.pairwise(files):
        if posixpath.dirname(first) == posixpath.dirname(second):
            raise SourceError(f"{folder / first} and {folder / second}: which of them holds? Keep one.")
    for file in files:
        for row in rowfiles.read(folder / file):
            named = row.text(("file_name",))
            if not named:
                raise row.error(f"no 'file_name'; its columns: {', '.join(row.values) or 'none'}")
            provenance = {column: text for column in PROVENANCE_COLUMNS if (text := row.text((column,)))}
            name = posixpath.normpath(posixpath.join(posixpath.dirname(file), named))
            yield Entry(name, f"{file}:{row.line}", row.text(CAPTION_COLUMNS), provenance)


def same_name(name: str) -> str:
    """The form in which names are compared: macOS writes accents apart, editors write them composed."""
    return unicodedata.normalize("NFC", name)


def beside(folder: Path, name: str) -> str:
    """The text of the ``.txt`` beside a picture, as one line; ``""`` where there is none.

    Raises:
        RowError: it is not UTF-8.
    """
    path = (folder / name).with_suffix(".txt")
    return " ".join(line for _, line in rowfiles.lines(path)) if path.is_file() else ""
