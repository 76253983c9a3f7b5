"""Pictures in Parquet files as a set to score: data sets of the hub, exports, and the store's own tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright.evaluate.files import PROMPT_COLUMNS, SHARD, CollectionError, Described, checked
from pairwright.records import Unscored
from pairwright.scoring import Closed, Content
from pairwright.store import StoreError, open_shard

IMAGE_COLUMNS = ("image", "picture", "img", "jpg", "png")


@dataclass(frozen=True)
class Rows:
    """The rows of one shard: a part of one row group of one file."""

    file: Path
    group: int
    start: int
    """Within the row group."""
    count: int
    first: int
    """Number of the first one within its file."""


@dataclass
class _LastGroup:
    """The row group that was read last: several shards lie in a large one."""

    key: tuple[Path, int] | None = None
    table: pa.Table | None = None

    def __reduce__(self) -> tuple[type[_LastGroup], tuple[()]]:
        return _LastGroup, ()  # a worker process reads its own


@dataclass(frozen=True)
class Dataset:
    """Pictures in Parquet files; see :class:`pairwright.scoring.PictureSet`. Nothing is copied."""

    folder: Path
    files: tuple[Path, ...]
    parts: tuple[Rows, ...]
    image: str
    """Column of encoded pictures: ``datasets.Image`` (a struct with ``bytes``) or plain binary."""
    prompt: str | None
    """Column of texts."""
    own: bool
    """Whether the column ``id`` names each row, once."""
    _last: _LastGroup = field(default_factory=_LastGroup, compare=False, repr=False)

    @cached_property
    def digests(self) -> dict[Path, str]:
        """Of the content of each file."""
        found = {}
        for path in self.files:
            with path.open("rb") as stream:
                found[path] = hashlib.file_digest(stream, "sha256").hexdigest()
        return found

    @cached_property
    def fingerprint(self) -> str:
        """Content and names of the files, and which columns are read."""
        said = [f"{path.name} {digest}" for path, digest in self.digests.items()]
        return hashlib.sha256("\n".join([self.image, self.prompt or "", *said]).encode()).hexdigest()[:16]

    @property
    def choice(self) -> Mapping[str, str]:
        """All rows."""
        return {}

    @property
    def whole(self) -> bool:
        """Files are read as they are now."""
        return True

    def sizes(self) -> dict[int, int]:
        """At most 64 rows to a shard; a shard ends with its row group."""
        return {shard: each.count for shard, each in enumerate(self.parts)}

    def read(self, shard: int) -> list[tuple[str, Closed]]:
        """See :meth:`pairwright.scoring.PictureSet.read`."""
        part = self.parts[shard]
        rows = self._group(part).slice(part.start, part.count).to_pylist()
        return [(self._name(row, part, place), partial(self._content, row, part, place)) for place, row in enumerate(rows)]

    def described(self) -> Iterator[Described]:
        """Every row, in order; no picture is read."""
        columns = [*(["id"] if self.own else []), *([self.prompt] if self.prompt else [])]
        for part in self.parts:
            with open_shard(part.file) as file:
                table = file.read_row_group(part.group, columns=columns).slice(part.start, part.count)
            rows = table.to_pylist() if columns else [{}] * part.count
            for place, row in enumerate(rows):
                text = row.get(self.prompt) if self.prompt else ""
                yield Described(self._name(row, part, place), self._where(part, place), text if isinstance(text, str) else "")

    def _group(self, part: Rows) -> pa.Table:
        key = part.file, part.group
        if self._last.key != key:
            columns = [self.image, *(["id"] if self.own else []), *([self.prompt] if self.prompt else [])]
            with open_shard(part.file) as file:
                self._last.key, self._last.table = key, file.read_row_group(part.group, columns=columns)
        return self._last.table

    def _name(self, row: Mapping[str, Any], part: Rows, place: int) -> str:
        if self.own:
            return str(row["id"])
        return hashlib.sha256(f"{self.digests[part.file]}:{part.first + place}".encode()).hexdigest()[:16]

    def _where(self, part: Rows, place: int) -> str:
        return f"{part.file.relative_to(self.folder).as_posix()}:{part.first + place}"

    def _content(self, row: Mapping[str, Any], part: Rows, place: int) -> Content:
        cell = row[self.image]
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not data:
            return Unscored(f"no picture: the column {self.image!r} holds no bytes in this row")
        text = row.get(self.prompt) if self.prompt else None
        prompt = text.strip() if isinstance(text, str) else ""
        silent = "" if prompt else "the column is empty" if self.prompt else f"no column {', '.join(PROMPT_COLUMNS)}"
        return checked(data, self._name(row, part, place), prompt, silent)


def dataset(path: Path) -> Dataset:
    """The pictures of a Parquet file, or of all that lie below a folder, in the order of their names.

    Raises:
        CollectionError: no column of pictures, or files of different columns.
        StoreError: a file cannot be read.
    """
    files = (path,) if path.is_file() else tuple(sorted(path.rglob("*.parquet")))
    folder = path.parent if path.is_file() else path
    schemas = {file: _schema(file) for file in files}
    files = tuple(file for file, each in schemas.items() if _image(each) is not None)  # a node's other tables hold none
    if not files:
        columns = ", ".join(dict.fromkeys(name for each in schemas.values() for name in each.names))
        raise CollectionError(
            f"{path} has no column of pictures: looked for {', '.join(IMAGE_COLUMNS)} with encoded files (binary, or a struct "
            f"with 'bytes') among its columns: {columns or 'none'}"
        )
    said = {(_image(schemas[file]), _prompt(schemas[file]), "id" in schemas[file].names) for file in files}
    if len(said) > 1:
        raise CollectionError(f"the files in {path} have different columns; give one of them, or a folder of equal ones")
    image, prompt, named = said.pop()
    assert image is not None
    return Dataset(folder, files, tuple(_parts(files)), image, prompt, named and _distinct(files))


def _schema(file: Path) -> pa.Schema:
    with open_shard(file) as opened_file:
        return opened_file.schema_arrow


def _image(schema: pa.Schema) -> str | None:
    for name in IMAGE_COLUMNS:
        kind = schema.field(name).type if name in schema.names else None
        if kind is not None and pa.types.is_struct(kind):
            kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else None
        if kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            return name
    return None


def _prompt(schema: pa.Schema) -> str | None:
    def textual(name: str) -> bool:
        kind = schema.field(name).type
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    return next((name for name in PROMPT_COLUMNS if name in schema.names and textual(name)), None)


def _distinct(files: tuple[Path, ...]) -> bool:
    try:
        names = [name for file in files for name in pq.read_table(file, columns=["id"])["id"].to_pylist()]
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"the column 'id' of {files[0].parent} cannot be read: {error}") from error
    return all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)


def _parts(files: tuple[Path, ...]) -> Iterator[Rows]:
    for file in files:
        with open_shard(file) as opened_file:
            groups = [opened_file.metadata.row_group(group).num_rows for group in range(opened_file.num_row_groups)]
        first = 0
        for group, rows in enumerate(groups):
            for start in range(0, rows, SHARD):
                yield Rows(file, group, start, min(SHARD, rows - start), first + start)
            first += rows
