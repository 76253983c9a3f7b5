"""Photographs read in parts by many workers, to the same tables as read one after the other.

Whether a photograph repeats an earlier one can be said only where all of them meet. So a worker reads a part, looks at each item by
itself, and writes two tables of its shard: ``views``, as if none were a repeat, and ``looks``, some hundred bytes an item.
The driver goes through the looks in order and settles each shard: it becomes ``data`` as it is, or without its repeats.
Looks stay until all is settled, so that a run that was killed reads no photograph again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from pairwright import duplicates, engines, images, tables
from pairwright.engines import Crew, Piece, PoolName
from pairwright.options import Curate
from pairwright.progress import Progress
from pairwright.protocols import Divisible
from pairwright.records import Picture, Rejected
from pairwright.store import Node

ITEMS_PER_SHARD = 64
LOOKS, VIEWS = "looks", "views"


def read(source: Divisible, total: int, node: Node, options: Curate, crew: Crew, progress: Progress) -> None:
    """Fill the node with the views of all ``total`` items of a source."""
    shards = -(-total // ITEMS_PER_SHARD)
    settling = _Settling(node, options)

    def pieces() -> Iterator[Piece]:
        for shard in range(shards):
            if not node.shard(shard, LOOKS).exists():
                yield Piece(shard, source.part(shard * ITEMS_PER_SHARD, min(total, (shard + 1) * ITEMS_PER_SHARD)))

    if all(node.shard(shard).exists() for shard in range(shards)):  # killed while it was cleared, or begun by the local engine
        clear(node)
        node.finish(read=total)
        return
    with progress.task("read photographs", total) as task, closing(crew.do([Reading(node, options)], pieces())) as done:
        for shard in range(shards):
            while not node.shard(shard, LOOKS).exists():
                if next(done, None) is None:
                    raise engines.unseen(node.shard(shard, LOOKS))
            task.advance(settling.settle(shard))
    clear(node)
    node.finish(read=total)


def clear(node: Node) -> None:
    """Remove what was needed until all was settled."""
    for table in (VIEWS, LOOKS):
        node.remove(table)


@dataclass(frozen=True)
class Reading:
    """A station that reads a part of a source; see :class:`pairwright.engines.Station`."""

    node: Node
    options: Curate

    label: ClassVar[str] = "read"
    pool: ClassVar[PoolName] = "read"
    accelerated: ClassVar[bool] = False

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        if self.node.shard(piece.number, LOOKS).exists():
            return
        looks: list[dict[str, Any]] = []
        kept: list[Picture] = []
        for item in piece.content.alone():
            look, some = self._look(item)
            looks.append(look)
            kept += some
        if not self.node.shard(piece.number).exists():  # it is, where a run was begun by the local engine
            self.node.write(piece.number, [tables.picture_row(each) for each in kept], tables.PICTURES, VIEWS)
        self.node.write(piece.number, looks, tables.LOOKS, LOOKS)

    def _look(self, item: Picture | Rejected) -> tuple[dict[str, Any], list[Picture]]:
        if isinstance(item, Rejected):
            return {"name": item.id, "step": item.step, "reason": item.reason, "views": 0}, []
        known = {"name": name(item), "id": item.id}
        if reason := small(item, self.options):
            return {**known, "step": "small", "reason": reason, "views": 0}, []
        looks = duplicates.look(item.image, near=self.options.near_duplicates is not None)
        some = list(views(item, self.options))
        code = None if looks.dhash is None else f"{looks.dhash:x}"
        return {**known, "pixels": looks.pixels, "dhash": code, "views": len(some)}, some


@dataclass
class _Settling:
    """Goes through the looks in order."""

    node: Node
    options: Curate
    first: dict[str, str] = field(default_factory=dict)
    """Names by the content of files that could be read."""

    def __post_init__(self) -> None:
        self.seen = duplicates.Seen(self.options.near_duplicates)

    def settle(self, shard: int) -> int:
        """Make a shard final where it is not; returns how many items it has."""
        looks = self.node.read_shard(shard, LOOKS).to_pylist()
        verdicts = [self._verdict(each) for each in looks]
        if not self.node.shard(shard).exists():
            rejected = [tables.rejected_row(each) for each in verdicts if each is not None]
            self.node.write(shard, rejected, tables.REJECTED, "rejected")
            self._keep(shard, [each is None for each, look in zip(verdicts, looks, strict=True) for _ in range(look["views"])])
        return len(looks)

    def _keep(self, shard: int, kept: list[bool]) -> None:
        if all(kept):
            self.node.rename(shard, VIEWS)
            return
        rows = self.node.read_shard(shard, VIEWS).filter(pa.array(kept, pa.bool_()))
        self.node.write(shard, rows, tables.PICTURES)

    def _verdict(self, look: dict[str, Any]) -> Rejected | None:
        """What reading in order would say of it."""
        name, identity = look["name"], look["id"]
        if identity is not None and identity in self.first:
            return Rejected(name, "duplicate", f"same content as {self.first[identity]}")
        if identity is not None:
            self.first[identity] = name
        if look["step"] is not None:
            return Rejected(name, look["step"], look["reason"])
        code = None if look["dhash"] is None else int(look["dhash"], 16)
        twin = self.seen.twin_of(duplicates.Looks(look["pixels"], code), name)
        return Rejected(name, "duplicate", twin) if twin else None


def name(photograph: Picture) -> str:
    """What a photograph is called where it is rejected."""
    return photograph.provenance.get("file", photograph.id)


def least_side(options: Curate) -> int:
    """Pixels of the short side below which photographs are not used."""
    return options.resolution // 2 if options.least_side is None else options.least_side


def small(photograph: Picture, options: Curate) -> str:
    """Why a photograph is too small, in words; ``""`` where it is not."""
    width, height = photograph.image.size
    least = least_side(options)
    return f"{width} x {height}, short side below {least}" if min(width, height) < least else ""


def views(photograph: Picture, options: Curate) -> Iterator[Picture]:
    """The square views of a photograph."""
    for view in range(options.crops):
        data = images.encode(images.crop(photograph.image, options.resolution, view, photograph.id))
        provenance = {**photograph.provenance, "photograph": photograph.id, "view": str(view)}
        yield Picture(images.content_id(f"{photograph.id}/{view}".encode()), data, photograph.caption, provenance)
