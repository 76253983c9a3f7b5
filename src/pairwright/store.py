"""The store: every result under ``<root>/store/<verb>/<fingerprint>/``, written whole or not at all.

A result (:class:`Node`) is a folder of Parquet shards, or of any files for what is not a table (adapters). Its
fingerprint is a digest of the step's version, its resolved meaning and the fingerprints of its inputs: a changed
option is another folder, so old and new rows never mix, and two runs that agree on a step share it.

Durability: a file is written under a temporary name, flushed to the disk (fsync), renamed, and the folder is flushed.
A shard is therefore there or not there, whatever kills the process. Membership of shards is fixed before work starts,
so a shard that is missing is computed again with the same batches. ``node.json`` says ``"complete": true`` when all
is there.

Every folder opens with ``datasets.load_dataset(folder)``: pictures are ``datasets.Image`` columns, and the dataset
card (``README.md``) lists the tables.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright import __version__
from pairwright.errors import Explained

FORMAT = 1
"""Version of the layout on disk; part of every fingerprint."""

ROWS_PER_GROUP = 16
"""Small row groups: one picture can be read at random without reading its whole shard."""

Table = str
"""A node holds one or several named tables (``data``, ``rejected``): files ``<table>-<shard>.parquet``."""


class StoreError(Explained, RuntimeError):
    """Something in the store is not as it must be; the message names the file."""


class DiskFullError(Explained, OSError):
    """The disk takes no more; the message names the folder. Nothing was written half."""

    def __str__(self) -> str:
        """Without the number that OSError puts before it."""
        return str(self.strerror)


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_RUST = re.compile(r"\(os error (\d+)\)")
"""How safetensors says what the system said."""


def fingerprint(verb: str, meaning: Mapping[str, Any], inputs: Sequence[str] = ()) -> str:
    """16 hexadecimal digits that stand for a step: what it does, how exactly, and to what.

    Raises:
        TypeError, ValueError: ``meaning`` holds something that JSON has no form for.
    """
    record = {"format": FORMAT, "verb": verb, "meaning": meaning, "inputs": list(inputs)}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place durably and atomically.

    Raises:
        DiskFullError: there is no room; neither the file nor a part of it is there.
    """
    with _room(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            _flush(temporary)
            temporary.chmod(0o644)  # mkstemp's 0600 would keep colleagues out of a shared store
            temporary.replace(path)
            _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary folder beside ``path``, then put it in place durably and atomically.

    An existing ``path`` stays: whoever was first has written the same.

    Raises:
        DiskFullError: there is no room; nothing of the folder is there.
    """
    with _room(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=".tmp-"))
        try:
            write(temporary)
            for file in sorted(temporary.rglob("*")):
                _flush(file)
            _flush(temporary)
            temporary.chmod(0o755)
            if not path.exists():
                temporary.rename(path)
                _flush(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Turns what libraries say of a full disk, each in its own words, into one error that names the folder."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number is None and (said := _RUST.search(str(error))):
            number = int(said.group(1))
        if number not in _FULL:
            raise
        raise DiskFullError(
            number,
            f"{folder} takes no more ({os.strerror(number)}): nothing was written half, and what was finished is kept. "
            "Make room and run the same command again: it goes on where it was.",
        ) from error


def replace_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Write a folder whole; one that is there steps aside only when the new one is."""
    fresh, old = (path.with_name(f".{path.name}-{word}") for word in ("new", "old"))
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
    write_folder(fresh, write)
    if path.exists():
        path.rename(old)
    fresh.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle on folders; its rename is journalled
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Node:
    """One step's result, finished or not."""

    path: Path
    verb: str

    @property
    def fingerprint(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return bool(self.record().get("complete"))

    def record(self) -> dict[str, Any]:
        """``node.json``: verb, meaning, inputs, complete, summary.

        Raises:
            StoreError: the file is not readable.
        """
        path = self.path / "node.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read ({error}); remove the folder {self.path} to compute it again") from error
        return dict(value)

    @property
    def summary(self) -> dict[str, Any]:
        """What the step said of itself when it finished (counts, seconds)."""
        return dict(self.record().get("summary", {}))

    def shard(self, index: int, table: Table = "data") -> Path:
        """Where shard ``index`` of a table is or will be."""
        return self.path / f"{table}-{index:05d}.parquet"

    def shards(self, table: Table = "data") -> list[Path]:
        """The shards that are there, in order."""
        return sorted(self.path.glob(f"{table}-[0-9][0-9][0-9][0-9][0-9].parquet"))

    def write(self, index: int, rows: Sequence[Mapping[str, Any]] | pa.Table, schema: pa.Schema, table: Table = "data") -> None:
        """Write one shard whole. ``schema`` comes from :mod:`pairwright.tables`."""
        content = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        write_file(self.shard(index, table), lambda temporary: _write_shard(content, temporary))

    def rename(self, index: int, table: Table, to: Table = "data") -> None:
        """Make a shard one of another table, durably and at once."""
        self.shard(index, table).replace(self.shard(index, to))
        _flush(self.path)

    def remove(self, table: Table) -> None:
        """Remove a table that was needed only until all was there."""
        for path in self.shards(table):
            path.unlink()

    def read(self, table: Table = "data", columns: Sequence[str] | None = None) -> pa.Table:
        """All shards of a table as one, in order. An absent table has no rows and no columns.

        Raises:
            StoreError: a shard cannot be read.
        """
        parts = [self._read_shard(path, columns) for path in self.shards(table)]
        return pa.concat_tables(parts) if parts else pa.table({})

    def rows(self, table: Table = "data", columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """The rows of a table, one shard in memory at a time."""
        for path in self.shards(table):
            yield from self._read_shard(path, columns).to_pylist()

    def read_shard(self, index: int, table: Table = "data", columns: Sequence[str] | None = None) -> pa.Table:
        """One shard of a table.

        Raises:
            StoreError: it cannot be read.
        """
        return self._read_shard(self.shard(index, table), columns)

    def _read_shard(self, path: Path, columns: Sequence[str] | None) -> pa.Table:
        with open_shard(path) as file:
            return file.read(columns=list(columns) if columns is not None else None)

    def _files(self) -> dict[str, int]:
        """Every file but the record itself and hidden ones, by relative path, and its size in bytes."""
        found = sorted(path for path in self.path.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in found if path.name != "node.json"}

    def reopen(self) -> None:
        """Where files of a finished node are missing or have another size, take the damaged ones away and work goes on.

        Whoever made the node finds what is left as after an interruption, and computes only what is not there.
        """
        record = self.record()
        if not record.get("complete"):
            return
        there = self._files()
        broken = [name for name, size in record.get("files", {}).items() if there.get(name) != size]
        for name in broken:
            (self.path / name).unlink(missing_ok=True)
        if broken:
            write_json(self.path / "node.json", {**record, "complete": False})

    def finish(self, *, parts: Sequence[Node] = (), **summary: Any) -> None:
        """Mark the node complete. Nothing is written to it afterwards.

        Args:
            parts: other results that were made on the way and are kept as long as this one.
            summary: what the step says of itself, as plain JSON values.
        """
        tables = sorted({path.name.rsplit("-", 1)[0] for path in self.path.glob("*-[0-9][0-9][0-9][0-9][0-9].parquet")})
        if tables:
            write_text(self.path / "README.md", _card(self.verb, self.fingerprint, tables))
        write_json(
            self.path / "node.json",
            {
                **self.record(),
                "complete": True,
                "finished": time.time(),
                "files": self._files(),
                "parts": [part.fingerprint for part in parts],
                "summary": summary,
            },
        )


def _write_shard(content: pa.Table, path: Path) -> None:
    # With a checksum per page, so that a bit that flips on the disk is an error and not another picture or score.
    pq.write_table(content, path, row_group_size=ROWS_PER_GROUP, write_page_checksum=True)


@contextmanager
def open_shard(path: Path) -> Iterator[pq.ParquetFile]:
    """A shard, to be read in parts.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is damaged ({error}); remove it and run again: it is computed anew") from error


@dataclass(frozen=True)
class Store:
    """All results under one root."""

    root: Path

    def node(self, verb: str, meaning: Mapping[str, Any], inputs: Sequence[str] = ()) -> Node:
        """The node of that verb, meaning and inputs: begun where it is new, as it was left otherwise.

        A finished node that has lost files is unfinished again.
        """
        node = Node(self.root / "store" / verb / fingerprint(verb, meaning, inputs), verb)
        if (node.path / "node.json").exists():
            node.reopen()
        else:
            record = {
                "verb": verb,
                "fingerprint": node.fingerprint,
                "meaning": dict(meaning),
                "inputs": list(inputs),
                "pairwright": __version__,
                "complete": False,
            }
            write_json(node.path / "node.json", record)
        return node

    def open(self, verb: str, digest: str) -> Node:
        """An existing node.

        Raises:
            StoreError: there is none.
        """
        node = Node(self.root / "store" / verb / digest, verb)
        if not (node.path / "node.json").exists():
            raise StoreError(f"{node.path} is not in the store")
        return node

    def nodes(self) -> list[Node]:
        """Every node there is."""
        found = sorted((self.root / "store").glob("*/*/node.json"))
        return [Node(path.parent, path.parent.parent.name) for path in found]


def _card(verb: str, digest: str, tables: Sequence[str]) -> str:
    ordered = sorted(tables, key=lambda table: (table != "data", table))
    configs = "\n".join(
        f"- config_name: {'default' if table == 'data' else table}\n  data_files: '{table}-*.parquet'" for table in ordered
    )
    return f"---\nconfigs:\n{configs}\n---\n\nResult `{digest}` of `pairwright {verb}`; `node.json` says from what and how.\n"
