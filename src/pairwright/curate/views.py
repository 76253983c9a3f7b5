"""From a source to square views of one size: the pictures that everything later refers to by id."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pairwright import images, tables
from pairwright.context import Context
from pairwright.duplicates import Seen
from pairwright.options import Curate
from pairwright.protocols import Source
from pairwright.records import Picture, Rejected
from pairwright.selection import Funnel
from pairwright.store import Node

VERSION = 2
ITEMS_PER_SHARD = 64


def prepare(source: Source, options: Curate, context: Context, funnel: Funnel) -> Node:
    """Read, crop and store every photograph, in shards of 64 photographs.

    Returns:
        a node with the tables ``data`` (:data:`~pairwright.tables.PICTURES`, one row per view) and ``rejected``.
    """
    meaning = {
        "version": VERSION,
        "source": source.fingerprint(),
        "resolution": options.resolution,
        "least_side": _least_side(options),
        "near_duplicates": options.near_duplicates,
        "crops": options.crops,
    }
    node = context.store.node("pictures", meaning)
    if not node.complete:
        _read(source, node, options, context)
    read = node.summary["read"]
    rejected = [Rejected(**row) for row in node.rows("rejected")]
    funnel.add("read", read, rejected, by="step")
    if options.crops > 1:
        funnel.add(f"{options.crops} views each", (read - len(rejected)) * options.crops, [])
    return node


def _read(source: Source, node: Node, options: Curate, context: Context) -> None:
    total = len(source)
    seen = Seen(options.near_duplicates)
    with context.progress.task("read photographs", total) as task:
        items = iter(source)
        for shard in range(-(-total // ITEMS_PER_SHARD)):
            kept: list[Picture] = []
            rejected: list[Rejected] = []
            # Duplicates are known only by having read what came before: the source is read from its
            # beginning again after an interruption, while crops and writing are skipped where they were done.
            for item in islice(items, ITEMS_PER_SHARD):
                lost = item if isinstance(item, Rejected) else _unfit(item, options, seen)
                if lost is not None:
                    rejected.append(lost)
                elif isinstance(item, Picture) and not node.shard(shard).exists():
                    kept += _views(item, options)
                task.advance()
            if not node.shard(shard).exists():
                node.write(shard, [tables.rejected_row(each) for each in rejected], tables.REJECTED, "rejected")
                node.write(shard, [tables.picture_row(each) for each in kept], tables.PICTURES)
    node.finish(read=total)


def _least_side(options: Curate) -> int:
    return options.resolution // 2 if options.least_side is None else options.least_side


def _unfit(photograph: Picture, options: Curate, seen: Seen) -> Rejected | None:
    """Why a photograph that could be read is not used: it is small, or was there before."""
    name = photograph.provenance.get("file", photograph.id)
    width, height = photograph.image.size
    if min(width, height) < _least_side(options):
        return Rejected(name, "small", f"{width} x {height}, short side below {_least_side(options)}")
    twin = seen.twin(photograph.image, name)
    return Rejected(name, "duplicate", twin) if twin else None


def _views(photograph: Picture, options: Curate) -> Iterator[Picture]:
    for view in range(options.crops):
        data = images.encode(images.crop(photograph.image, options.resolution, view, photograph.id))
        provenance = {**photograph.provenance, "photograph": photograph.id, "view": str(view)}
        yield Picture(images.content_id(f"{photograph.id}/{view}".encode()), data, photograph.caption, provenance)
