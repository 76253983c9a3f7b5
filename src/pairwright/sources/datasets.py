"""Data sets in Hugging Face's form: Parquet files here, a folder of ``save_to_disk``, or a data set of the hub by its name.

Columns that say who won (Pick-a-Pic's, TRL's ``chosen``/``rejected``, ``image1``/``image2`` with votes, ``img_win``/``img_lose``,
pairwright's own export) make pairs; as pictures, such a table gives its winners. Any other table gives its column of pictures
with ``text``, ``caption`` or ``prompt``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from pairwright import digests
from pairwright.records import Picture, Rejected
from pairwright.sources import _preferences, _records, _rows
from pairwright.sources._captions import PROVENANCE_COLUMNS
from pairwright.sources._errors import SourceError
from pairwright.sources._listings import Preferences, TableListing
from pairwright.sources._rows import Row, Rows

IMAGES = ("image", "picture", "img", "jpg", "png")
_KNOWN = (*IMAGES, *dict.fromkeys(each for form in _preferences.FORMS for each in (form.first, form.second)))


def load(
    *,
    path: str,
    split: str | None = "train",
    config: str | None = None,
    revision: str | None = None,
    limit: PositiveInt | None = None,
) -> Preferences | Table:
    """Pairs or pictures of a data set.

    Args:
        path: a Parquet file, a folder of them, a folder of ``save_to_disk``, or ``owner/name`` on the hub.
        split: which part.
        config: of a data set on the hub that has several.
        revision: of a data set on the hub.
        limit: only the first so many rows; rejected ones count.

    Raises:
        SourceError: no such data set or split, no columns that are known, or the package ``datasets`` is needed and not there.
    """
    rows = _open(path, split, config, revision)
    if _preferences.find(rows.columns):
        form = _preferences.form(rows.columns, path)
        return Preferences(TableListing(rows, form), limit=limit)
    image = next((name for name in IMAGES if name in rows.columns), None)
    if image is None:
        pairs = ", ".join(f"{form.first}/{form.second}" for form in _preferences.FORMS)
        raise SourceError(
            f"{path} has no column of pictures ({', '.join(IMAGES)}) and no pair of them ({pairs}); "
            f"it has: {', '.join(rows.columns) or 'none'}"
        )
    if not set(_preferences.PROMPTS) & set(rows.columns):
        raise SourceError(
            f"{path} has no column of captions ({', '.join(_preferences.PROMPTS)}); it has: {', '.join(rows.columns)}"
        )
    return Table(rows, image, limit)


def _open(path: str, split: str | None, config: str | None, revision: str | None) -> Rows:
    here = Path(path).expanduser()
    if here.is_file():
        return _rows.parquet(here, split, _KNOWN)
    if here.is_dir() and not any((here / name).is_file() for name in ("dataset_info.json", "dataset_dict.json")):
        return _rows.parquet(here, split, _KNOWN)
    return ArrowRows(_from_disk(here, split) if here.is_dir() else _from_hub(path, split, config, revision))


def _from_disk(folder: Path, split: str | None) -> Any:
    found = _library().load_from_disk(str(folder))
    if not isinstance(found, dict):
        return found
    if split not in found:
        raise SourceError(f"{folder} has no split {split!r}; it has: {', '.join(found)}")
    return found[split]


def _from_hub(path: str, split: str | None, config: str | None, revision: str | None) -> Any:
    if path.count("/") != 1 or path.startswith((".", "/", "~")):
        raise SourceError(f"{path} is not there, and is no data set's name on the hub (owner/name)")
    try:
        return _library().load_dataset(path, config, split=split or "train", revision=revision)
    except (OSError, ValueError) as error:  # what the library raises of data sets, splits and configs that are not there
        raise SourceError(
            f"{path} is not on this disk and could not be had from the hub: {error}. Download it where there is a network "
            f"(hf download --repo-type dataset {path} --local-dir DIR) and give that folder."
        ) from error


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise SourceError(
            "data sets of the hub or of save_to_disk need the package datasets: pip install 'pairwright[datasets]'"
        ) from error
    return datasets


@dataclass(frozen=True)
class ArrowRows:
    """A ``datasets.Dataset``; see ``_rows.Rows``."""

    dataset: Any

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.dataset.column_names)

    def __len__(self) -> int:
        return int(self.dataset.num_rows)

    def fingerprint(self) -> str:
        """Content of the Arrow files behind it."""
        listing = [digests.of_file(Path(each["filename"])) for each in self.dataset.cache_files]
        return hashlib.sha256("\n".join([str(len(self)), *listing]).encode()).hexdigest()[:16]

    def read(self, columns: Collection[str], start: int = 0) -> Iterator[tuple[str, Row]]:
        """See ``_rows.Rows``. Pictures stay encoded: they are decoded by us, safely."""
        chosen = self.dataset.with_format(None).select_columns([name for name in self.columns if name in set(columns)])
        for name, feature in list(chosen.features.items()):
            if isinstance(feature, _library().Image):
                chosen = chosen.cast_column(name, _library().Image(decode=False))
        for number in range(start, len(self)):
            yield f"row {number}", chosen[number]


@dataclass(frozen=True)
class Table:
    """Pictures with captions in a table; see :class:`pairwright.protocols.Source`."""

    rows: Rows
    image: str
    limit: int | None

    def fingerprint(self) -> str:
        """Of the table's content."""
        return hashlib.sha256(f"{self.rows.fingerprint()} {self.image} {self.limit}".encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.rows) if self.limit is None else min(self.limit, len(self.rows))

    def __iter__(self) -> Iterator[Picture | Rejected]:
        first: dict[str, str] = {}
        columns = (self.image, *_preferences.PROMPTS, *PROVENANCE_COLUMNS)
        for (name, row), _ in zip(self.rows.read(columns), range(len(self)), strict=False):
            found = self._picture(name, row)
            if isinstance(found, Picture):
                if found.id in first:
                    yield Rejected(name, "duplicate", f"same content as {first[found.id]}")
                    continue
                first[found.id] = name
            yield found

    def _picture(self, name: str, row: Row) -> Picture | Rejected:
        caption = _preferences.text(row, _preferences.PROMPTS)
        if not caption:
            return Rejected(name, "caption", "its caption is empty")
        known = {each: str(row[each]) for each in PROVENANCE_COLUMNS if row.get(each)}
        return _records.picture(_records.cell(row[self.image]), None, name, caption, {"file": name, **known})
