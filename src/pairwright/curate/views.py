"""From a source to square views of one size: the pictures that everything later refers to by id."""

from __future__ import annotations

from itertools import islice

from pairwright import locks, tables
from pairwright.context import Context
from pairwright.curate import reading
from pairwright.curate.reading import ITEMS_PER_SHARD
from pairwright.duplicates import Seen
from pairwright.engines import Crew
from pairwright.options import Curate
from pairwright.protocols import Divisible, Source
from pairwright.records import Picture, Rejected
from pairwright.selection import Funnel
from pairwright.store import Node

VERSION = 2


def prepare(source: Source, options: Curate, context: Context, funnel: Funnel, crew: Crew | None = None) -> Node:
    """Read, crop and store every photograph, in shards of 64 photographs.

    Workers of an engine read sources that can be read in parts; the others are read here.

    Returns:
        a node with the tables ``data`` (:data:`~pairwright.tables.PICTURES`, one row per view) and ``rejected``.
    """
    meaning = {
        "version": VERSION,
        "source": source.fingerprint(),
        "resolution": options.resolution,
        "least_side": reading.least_side(options),
        "near_duplicates": options.near_duplicates,
        "crops": options.crops,
    }
    node = context.store.node("pictures", meaning)
    with locks.claimed([node], context.progress) as unfinished:
        if unfinished and crew is not None and isinstance(source, Divisible):
            reading.read(source, len(source), node, options, crew, context.progress)
        elif unfinished:
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
                    kept += reading.views(item, options)
                task.advance()
            if not node.shard(shard).exists():
                node.write(shard, [tables.rejected_row(each) for each in rejected], tables.REJECTED, "rejected")
                node.write(shard, [tables.picture_row(each) for each in kept], tables.PICTURES)
    reading.clear(node)
    node.finish(read=total)


def _unfit(photograph: Picture, options: Curate, seen: Seen) -> Rejected | None:
    """Why a photograph that could be read is not used: it is small, or was there before."""
    name = reading.name(photograph)
    if reason := reading.small(photograph, options):
        return Rejected(name, "small", reason)
    twin = seen.twin(photograph.image, name)
    return Rejected(name, "duplicate", twin) if twin else None
