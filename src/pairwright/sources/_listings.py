"""Preferences of a data set, as pairs and as the pictures that won."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Protocol

from pairwright.records import Pair, Picture, Rejected
from pairwright.sources import _names, _records
from pairwright.sources._preferences import Form
from pairwright.sources._records import Record
from pairwright.sources._rows import Rows

_OF_A_PICTURE = ("license", "author", "source")


class Listing(Protocol):
    """Records of preferences in a fixed order."""

    def fingerprint(self) -> str:
        """A digest of what would be read."""
        ...

    def __len__(self) -> int:
        """How many records there are, rejected ones included."""
        ...

    def records(self, start: int = 0) -> Iterator[Record | Rejected]:
        """Each from ``start`` on. No picture is read."""
        ...


@dataclass(frozen=True)
class TableListing:
    """One record in each row of a table that holds the pictures itself."""

    rows: Rows
    form: Form

    def fingerprint(self) -> str:
        """Of the table's content."""
        return self.rows.fingerprint()

    def __len__(self) -> int:
        return len(self.rows)

    def records(self, start: int = 0) -> Iterator[Record | Rejected]:
        """See :class:`Listing`."""
        return (self.form.record(name, row) for name, row in self.rows.read(self.form.columns, start))


@dataclass(frozen=True)
class FileListing:
    """Records that name files."""

    read: Callable[[], Iterator[Record | Rejected]]
    """Reads the table anew."""
    root: Path
    """Folder of the files."""

    @cached_property
    def _outline(self) -> tuple[int, str]:
        """How many, and a digest of every record and of its files' sizes: what is replaced or comes to be there is noticed."""
        digest, count = hashlib.sha256(), 0
        for record in self.read():
            cells = (record.winner, record.loser) if isinstance(record, Record) else ()
            said = [repr(record), *(self._size(each) for each in cells if isinstance(each, str))]
            digest.update(json.dumps(said).encode())
            count += 1
        return count, digest.hexdigest()[:16]

    def _size(self, name: str) -> int:
        if _names.refused(name):
            return -1
        try:
            return _names.inside(self.root, name).stat().st_size
        except OSError:
            return -1

    def fingerprint(self) -> str:
        """Of the records and of the sizes of their files."""
        return self._outline[1]

    def __len__(self) -> int:
        return self._outline[0]

    def records(self, start: int = 0) -> Iterator[Record | Rejected]:
        """See :class:`Listing`."""
        return islice(self.read(), start, None)


@dataclass(frozen=True)
class Preferences:
    """Pairs; and, as a source of pictures, those that won, each once.

    See :class:`pairwright.protocols.PairSource` and :class:`pairwright.protocols.Source`.
    """

    listing: Listing
    root: Path | None = None
    """Folder of the files that records name; None: they hold the pictures."""
    limit: int | None = None

    def fingerprint(self) -> str:
        """Of everything that is read."""
        return hashlib.sha256(f"{self.listing.fingerprint()} {self.limit}".encode()).hexdigest()[:16]

    def pair_count(self) -> int:
        """How many records, rejected ones included."""
        return len(self.listing) if self.limit is None else min(self.limit, len(self.listing))

    def pairs(self, start: int = 0) -> Iterator[Pair | Rejected]:
        """Each from ``start`` on."""
        for record in self._records(start):
            yield record if isinstance(record, Rejected) else _records.pair(record, self.root)

    def __len__(self) -> int:
        return self.pair_count()

    def __iter__(self) -> Iterator[Picture | Rejected]:
        first: dict[str, str] = {}
        for record in self._records(0):
            if isinstance(record, Rejected):
                yield record
                continue
            found = winner(record, self.root)
            if isinstance(found, Picture):
                if found.id in first:
                    yield Rejected(record.name, "duplicate", f"same content as {first[found.id]}")
                    continue
                first[found.id] = record.name
            yield found

    def _records(self, start: int) -> Iterator[Record | Rejected]:
        return islice(self.listing.records(start), max(0, self.pair_count() - start))


def winner(record: Record, root: Path | None) -> Picture | Rejected:
    """The picture that won, with its prompt as caption."""
    if not record.prompt:
        return Rejected(record.name, "caption", "it has no prompt")
    where = record.winner if isinstance(record.winner, str) else record.name
    said = {name: str(record.lineage[name]) for name in _OF_A_PICTURE if record.lineage.get(name)}
    model = record.lineage.get("winner_model")
    provenance = {"file": where, **said, **({"model": str(model)} if model else {})}
    return _records.picture(record.winner, root, record.name, record.prompt, provenance)
