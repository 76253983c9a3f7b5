"""Pairs that are there already, to be looked at or examined: of a run, of one of its steps, of the store, or in Parquet files.

Only what is asked for is read: texts first, pictures one row group at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright import images, tables, vetoes, weights
from pairwright.errors import Explained
from pairwright.records import Pair, Picture
from pairwright.store import Node, Store, open_shard
from pairwright.suggestions import hint

NEEDED = ("prompt", "winner", "loser")
"""Columns that make a table of pairs; ``id``, ``mask`` and ``lineage`` are read where they are there."""
MAKERS = ("curate", "import", "feedback")
"""Verbs whose results are pairs."""


class PairSetError(Explained, ValueError):
    """A path that leads to no pairs; the message says what was looked for."""


@dataclass(frozen=True)
class Outline:
    """What is known of a pair without its pictures."""

    id: str
    prompt: str
    lineage: Mapping[str, Any]
    place: tuple[Path, int, int]
    """File, row group and row within it."""


@dataclass(frozen=True)
class PairSet:
    """Pairs of one origin."""

    name: str
    """As a user named it."""
    step: str
    """Of a run; ``""`` elsewhere."""
    files: tuple[Path, ...]
    vetoes: Path
    """Where vetoes of these pairs are kept."""
    run: Path | None = None
    """The run's folder."""
    node: Node | None = None
    """The result in a store that these are; its pictures are trusted."""

    @cached_property
    def outlines(self) -> tuple[Outline, ...]:
        """All of them, in order."""
        return tuple(outline for path in self.files for outline in _outlines(path))

    def get(self, outline: Outline) -> Pair:
        """A pair with its pictures.

        Raises:
            ImageError: a picture in a foreign file that is damaged or none.
        """
        path, group, row = outline.place
        return self._pair(outline, _group(path, group).slice(row, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[tuple[Outline, Pair | images.ImageError]]:
        """Every pair with its pictures, or why it has none, one row group in memory at a time."""
        last: tuple[Path, int] | None = None
        table = pa.table({})
        for outline in self.outlines:
            path, group, row = outline.place
            if last != (path, group):
                last, table = (path, group), _group(path, group)
            try:
                yield outline, self._pair(outline, table.slice(row, 1).to_pylist()[0])
            except images.ImageError as error:
                yield outline, error

    def _pair(self, outline: Outline, row: Mapping[str, Any]) -> Pair:
        winner, loser = (self._picture(row[side], row.get(f"{side}_id") or f"{outline.id}-{side}") for side in ("winner", "loser"))
        mask = _bytes(row.get("mask"))
        return Pair(outline.id, outline.prompt, winner, loser, tables.decode_mask(mask) if mask else None, outline.lineage)

    def _picture(self, cell: Any, name: str) -> Picture:
        data = _bytes(cell)
        if not data:
            raise images.ImageError("the cell holds no picture")
        return Picture(name, data if self.node is not None else images.trusted(data))


def find(name: str | Path, step: str = "") -> PairSet:
    """The pairs that a path stands for.

    Args:
        name: a run's folder, ``<run>/<step>``, a result's folder in the store, or a folder of Parquet files or one of them.
        step: of a run that makes pairs more than once.

    Raises:
        PairSetError: there are none, or several sets and it is not said which.
    """
    path = weights.tiny(name)
    if (path / "run.json").is_file():
        return _of_run(path, step)
    if (path.parent / "run.json").is_file() and not path.exists():
        return _of_run(path.parent, path.name)
    if step:
        raise PairSetError(f"{path} is not a run, so it has no step {step!r}")
    if (path / "node.json").is_file():
        node = Node(path, path.parent.name)
        return PairSet(str(path), "", tuple(_holding_pairs(node.shards(), path)), _beside(path), node=node)
    if path.is_dir() or path.is_file():
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        return PairSet(str(path), "", tuple(_holding_pairs(files, path)), _beside(path))
    raise PairSetError(f"{path} is not there: expected a run's folder, a result in the store, or Parquet files of pairs")


def _of_run(folder: Path, step: str) -> PairSet:
    try:
        steps = json.loads((folder / "run.json").read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, KeyError) as error:
        raise PairSetError(f"{folder / 'run.json'} cannot be read: {error}") from error
    made = {name: entry for name, entry in steps.items() if entry["verb"] in MAKERS}
    done = {name: entry for name, entry in made.items() if entry["state"] == "complete"}
    if step and step not in made:
        raise PairSetError(f"{folder} has no step {step!r} that makes pairs." + hint(step, made))
    if not step and len(done) != 1:
        said = f"several steps that make pairs; say which with --step.{hint('', done)}" if done else "no finished step with pairs"
        raise PairSetError(f"{folder} has {said}")
    chosen = step or next(iter(done))
    if chosen not in done:
        raise PairSetError(f"step {chosen!r} of {folder} is not finished ({made[chosen]['state']})")
    node = Store(folder.resolve().parent).open(done[chosen]["verb"], done[chosen]["fingerprint"])
    return PairSet(f"{folder}/{chosen}", chosen, tuple(node.shards()), folder / vetoes.NAME, folder, node)


def _beside(path: Path) -> Path:
    """Not inside: a result in the store is never written to, and a data set of somebody else's neither."""
    whole = path.resolve()
    return whole.with_name(f"{whole.name}.{vetoes.NAME}")


def _holding_pairs(files: list[Path], where: Path) -> Iterator[Path]:
    found = False
    for path in files:
        try:
            names = set(pq.read_schema(path).names)
        except (pa.ArrowException, OSError) as error:
            raise PairSetError(f"{path} is not a readable Parquet file: {error}") from error
        if names.issuperset(NEEDED):
            found = True
            yield path
    if not found:
        raise PairSetError(f"{where} holds no table with the columns {', '.join(NEEDED)}; 'import' makes one of other forms")


def _outlines(path: Path) -> Iterator[Outline]:
    with open_shard(path) as file:
        columns = [name for name in ("id", "prompt", "lineage") if name in file.schema_arrow.names]
        for group in range(file.num_row_groups):
            for row, values in enumerate(file.read_row_group(group, columns=columns).to_pylist()):
                name = values.get("id") or images.content_id(f"{path.name}/{group}/{row}".encode())
                yield Outline(str(name), values["prompt"] or "", _lineage(values.get("lineage")), (path, group, row))


def _lineage(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _group(path: Path, group: int) -> pa.Table:
    with open_shard(path) as file:
        return file.read_row_group(group)


def _bytes(cell: Any) -> bytes | None:
    value = cell.get("bytes") if isinstance(cell, Mapping) else cell
    return value if isinstance(value, bytes) else None
