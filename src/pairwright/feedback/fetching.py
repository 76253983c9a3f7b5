"""Pictures to improve straight from a source: the winners or losers of its pairs, or pictures that have a caption.

They are kept as a result of their own, cropped as ``import`` crops, in shards of the source's order: a killed run goes on at the
shard where it was, and another critic reads nothing again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from pairwright import images, locks, plugins, tables
from pairwright.context import Context
from pairwright.options import Feedback
from pairwright.protocols import PairSource, Source
from pairwright.records import Pair, Picture, Rejected
from pairwright.store import Node

VERSION = 1
ITEMS_PER_SHARD = 64
CREDIT = ("license", "author", "source", "file")
"""What a pair's lineage says of where it is from, whichever side is taken."""


def fetched(options: Feedback, context: Context) -> Node:
    """The pictures of ``options.source``, as :data:`~pairwright.tables.PICTURES`; read where the store does not hold them.

    Raises:
        SourceError: a source that cannot be read at all.
    """
    assert options.source is not None
    source: Source | PairSource = plugins.load("sources", options.source.name, **options.source.options)
    paired = isinstance(source, PairSource)
    meaning = {
        "version": VERSION,
        "source": options.source.name,
        "resolution": options.resolution,
        "side": options.side if paired else None,
    }
    node = context.store.node("originals", meaning, [source.fingerprint()])
    with locks.claimed([node], context.progress) as unfinished:
        for each in unfinished:
            _fetch(each, source, options, context)
    return node


def _fetch(node: Node, source: Source | PairSource, options: Feedback, context: Context) -> None:
    count = source.pair_count() if isinstance(source, PairSource) else len(source)
    shards = -(-count // ITEMS_PER_SHARD)
    done = next((shard for shard in range(shards) if not node.shard(shard).exists()), shards)
    items = _items(source, options, done * ITEMS_PER_SHARD)
    with context.progress.task("read pictures", count, min(done * ITEMS_PER_SHARD, count)) as task:
        for shard in range(done, shards):
            found = [_fitted(each, options.resolution) for each in islice(items, ITEMS_PER_SHARD)]
            # The rejected first: the shard of `data` says that both are there.
            node.write(
                shard, [tables.rejected_row(each) for each in found if isinstance(each, Rejected)], tables.REJECTED, "rejected"
            )
            node.write(shard, [tables.picture_row(each) for each in found if isinstance(each, Picture)], tables.PICTURES)
            task.advance(len(found))
    node.finish(read=count)


def own(lineage: Mapping[str, Any], side: str) -> dict[str, str]:
    """What a pair's lineage says of one of its sides: ``winner_uid`` is the winner's ``uid``."""
    prefix = f"{side}_"
    return {name.removeprefix(prefix): str(value) for name, value in lineage.items() if name.startswith(prefix)}


def _items(source: Source | PairSource, options: Feedback, start: int) -> Iterator[Picture | Rejected]:
    if not isinstance(source, PairSource):
        yield from islice(source, start, None)
        return
    for each in source.pairs(start):
        yield _side(each, options.side) if isinstance(each, Pair) else each


def _side(pair: Pair, side: str) -> Picture:
    picture = pair.winner if side == "winner" else pair.loser
    credit = {name: str(pair.lineage[name]) for name in CREDIT if pair.lineage.get(name)}
    return Picture(picture.id, picture.data, pair.prompt, {**credit, **own(pair.lineage, side)})


def _fitted(found: Picture | Rejected, resolution: int | None) -> Picture | Rejected:
    if isinstance(found, Rejected):
        return found
    if not found.caption.strip():
        return Rejected(found.id, "read", "it has no caption, so that nobody knows what it should show")
    if resolution is None:
        return found
    width, height = found.image.size
    if min(width, height) < resolution // 2:
        return Rejected(found.id, "small", f"{width} x {height}, short side below {resolution // 2}")
    return images.fitted(found, resolution)
