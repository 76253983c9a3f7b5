"""HPDv3: ``all.json`` (``prompt``, ``path1``, ``path2``, ``model1``, ``model2``) and its pictures; ``path1`` is the preferred one.

As pictures: the real photographs, which carry ``real_images`` as model, on whichever side they stand, each once; their caption is
the prompt. As pairs: all, or those that a real photograph wins. Drawings and anime among what is marked real are for a filter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from pairwright.records import Pair, Picture, Rejected
from pairwright.sources import _json, _preferences
from pairwright.sources._listings import FileListing, Preferences
from pairwright.sources._preferences import number, require, text
from pairwright.sources._records import Record

REAL = "real_images"
COLUMNS = ("prompt", "path1", "path2", "model1", "model2")


def load(
    *,
    path: Path,
    root: Path | None = None,
    real_winners: bool = False,
    least_confidence: float = 0.0,
    limit: PositiveInt | None = None,
) -> HPDv3:
    """Preferences or real photographs of HPDv3.

    Args:
        path: ``all.json``, another file of that form (also one object per line, ``.jsonl``), or the folder with ``all.json``.
        root: folder that its paths are relative to; default: the table's own.
        real_winners: of the pairs, only those that a real photograph wins.
        least_confidence: of the pairs, only those with this ``confidence`` at least; those that say none stay.
        limit: only the first so many pairs, or photographs; rejected ones count.

    Raises:
        SourceError: no such file, not JSON, or a column is missing.
    """
    table = path.expanduser() / "all.json" if path.expanduser().is_dir() else path.expanduser()
    first = next(_json.items(table), None)
    require(first[1] if first else (), COLUMNS, f"{table}, first object")
    folder = root.expanduser() if root else table.parent
    listing = FileListing(lambda: _pairs(table, real_winners=real_winners, least=least_confidence), folder)
    photographs = FileListing(lambda: _photographs(table), folder)
    return HPDv3(Preferences(listing, folder, limit), Preferences(photographs, folder, limit))


@dataclass(frozen=True)
class HPDv3:
    """See :class:`pairwright.protocols.PairSource` and :class:`pairwright.protocols.Source`."""

    preferences: Preferences
    photographs: Preferences

    @cached_property
    def _fingerprint(self) -> str:
        # Both: what the pairs leave out may be a photograph.
        both = f"{self.preferences.fingerprint()} {self.photographs.fingerprint()}"
        return hashlib.sha256(both.encode()).hexdigest()[:16]

    def fingerprint(self) -> str:
        """Of every object and of the sizes of its files."""
        return self._fingerprint

    def pair_count(self) -> int:
        """How many objects."""
        return self.preferences.pair_count()

    def pairs(self, start: int = 0) -> Iterator[Pair | Rejected]:
        """Each object from ``start`` on."""
        return self.preferences.pairs(start)

    def __len__(self) -> int:
        return len(self.photographs)

    def __iter__(self) -> Iterator[Picture | Rejected]:
        return iter(self.photographs)


def _pairs(table: Path, *, real_winners: bool, least: float) -> Iterator[Record | Rejected]:
    for name, row in _json.items(table):
        record = _record(name, row, ("1", "2"))
        confidence = number(row.get("confidence"))
        if isinstance(record, Record) and real_winners and row["model1"] != REAL:
            yield Rejected(name, "real", "no real photograph wins it")
        elif isinstance(record, Record) and confidence is not None and confidence < least:
            yield Rejected(name, "confidence", f"confidence below {least:g}")
        else:
            yield record


def _photographs(table: Path) -> Iterator[Record | Rejected]:
    """A real photograph as the winner of a record; one that stands in several objects comes once, with its first prompt."""
    seen: set[str] = set()
    for name, row in _json.items(table):
        for sides in (("1", "2"), ("2", "1")):
            if row.get(f"model{sides[0]}") != REAL or str(row.get(f"path{sides[0]}")) in seen:
                continue
            seen.add(str(row.get(f"path{sides[0]}")))
            yield _record(name, row, sides)


def _record(name: str, row: dict[str, Any], sides: tuple[str, str]) -> Record | Rejected:
    missing = [column for column in COLUMNS if not isinstance(row.get(column), str)]
    if missing:
        return Rejected(name, "missing", f"no {', '.join(missing)} in this object")
    lineage = {"winner_model": row[f"model{sides[0]}"], "loser_model": row[f"model{sides[1]}"], "source": "HPDv3"}
    kept = {each: row[each] for each in ("confidence", "choice_dist") if row.get(each) is not None}
    return Record(name, text(row, _preferences.PROMPTS), row[f"path{sides[0]}"], row[f"path{sides[1]}"], {**lineage, **kept})
