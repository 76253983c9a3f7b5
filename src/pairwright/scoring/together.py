"""Several rewards over the same pictures: each picture is read and decoded once for all rewards that fit side by side.

Rewards get the very same :class:`~pairwright.records.Picture` objects, batch by batch, so that whoever keeps features by
picture (``rewards/_clip.py``) computes them once for all rewards on one network. Large networks have the memory to
themselves, one after the other. While one batch is scored, the next is decoded in threads.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from pairwright import hardware, literals, places, tables
from pairwright.options import Plugin
from pairwright.progress import SILENT, Progress
from pairwright.records import Prompt, Unscored
from pairwright.scoring.pictures import Closed, Content, Item, PictureSet, Shards
from pairwright.scoring.scorer import Scorer
from pairwright.scoring.tables import columns_file, summary
from pairwright.shares import WHOLE, Share
from pairwright.store import Node, Store, write_json

ALONE_BYTES = 6e9
"""Weights from this size on are loaded by themselves: 7B networks in 16 bits have 14 GB, CLIP-H in 32 bits 4 GB."""
_DECODERS = 8
"""Threads that decode ahead, at most: one core decodes some 70 photographs of 512 pixels a second."""


@dataclass(frozen=True)
class _Part:
    """A batch of pictures that all rewards of a pass score."""

    shard: int
    items: Sequence[tuple[str, Content | Closed]]
    last: bool
    """Whether the shard ends with it."""


def score_node(
    store: Store,
    pictures: Node,
    reward: Plugin,
    *,
    prompts: Mapping[str, Prompt] | None = None,
    batch: int = 32,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Node:
    """The scores of every picture in a node; see :meth:`Scorer.node`."""
    return Scorer(reward, batch, device, progress).node(store, pictures, prompts)


def score_together(
    store: Store, pictures: PictureSet, scorers: Sequence[Scorer], *, share: Share = WHOLE, progress: Progress = SILENT
) -> list[Node]:
    """The scores of a set by each of the rewards, computed where they are missing. All of them are in memory at once.

    Args:
        store: where the scores are kept.
        pictures: what is scored.
        scorers: the rewards; see :func:`passes` for those that do not fit together.
        share: only these shards. A result is finished by whoever finds all of its shards there.
        progress: whom to tell.

    Returns:
        one node per reward, in order.

    Raises:
        ValueError, StoreError: as :meth:`Scorer.node`.
    """
    nodes = [each.at(store, pictures) for each in scorers]
    unfinished = [(scorer, node) for scorer, node in zip(scorers, nodes, strict=True) if not node.complete]
    if not unfinished:
        return nodes
    started = time.monotonic()
    whole = pictures.whole  # asked before the shards are listed: then none can arrive afterwards
    sizes = pictures.sizes()
    lacking = {
        shard: lacked
        for shard in sorted(sizes)
        if shard in share and (lacked := [pair for pair in unfinished if not pair[1].shard(shard).exists()])
    }
    _describe([pair for pair in unfinished if any(pair in each for each in lacking.values()) or not columns_file(pair[1]).exists()])
    _fill(pictures, sizes, lacking, progress, share)
    for _, node in unfinished:
        if whole and all(node.shard(shard).exists() for shard in sizes):
            node.finish(**summary(node), seconds=round(time.monotonic() - started, 3))
    return nodes


def _describe(pairs: Iterable[tuple[Scorer, Node]]) -> None:
    for scorer, node in pairs:
        write_json(columns_file(node), [asdict(column) for column in scorer.reward.columns])


def fill(pictures: Shards, shard: int, pairs: Sequence[tuple[Scorer, Node]]) -> None:
    """One shard of a set by each of these rewards, into its result."""
    _describe([pair for pair in pairs if not columns_file(pair[1]).exists()])
    _fill(pictures, {shard: 0}, {shard: list(pairs)}, SILENT, WHOLE)


def _fill(
    pictures: Shards,
    sizes: Mapping[int, int],
    lacking: Mapping[int, list[tuple[Scorer, Node]]],
    progress: Progress,
    share: Share,
) -> None:
    if not lacking:
        return
    names = list(dict.fromkeys(scorer.plugin.name for pairs in lacking.values() for scorer, _ in pairs))
    total = sum(size for shard, size in sizes.items() if shard in share)
    batch = max(scorer.batch for pairs in lacking.values() for scorer, _ in pairs)
    with progress.task(f"score {', '.join(names)}", total, total - sum(sizes[shard] for shard in lacking)) as task:
        rows: dict[str, list[dict[str, object]]] = {}
        for part, items in _decoded_ahead(_parts(pictures, lacking, batch)):
            for scorer, node in lacking[part.shard]:
                rows.setdefault(node.fingerprint, []).extend(scorer.rows(items))
                if part.last:
                    node.write(part.shard, rows.pop(node.fingerprint), tables.scores(scorer.reward.columns))
            task.advance(len(items))


def _parts(pictures: Shards, shards: Iterable[int], batch: int) -> Iterator[_Part]:
    for shard in shards:
        items = pictures.read(shard)
        starts = range(0, len(items), batch) if items else [0]
        for start in starts:
            yield _Part(shard, items[start : start + batch], last=start == starts[-1])


def _decoded_ahead(parts: Iterator[_Part]) -> Iterator[tuple[_Part, list[Item]]]:
    """The parts with their pictures, each opened and decoded in threads while the one before it is scored."""
    waiting: deque[tuple[_Part, list[Future[Item]]]] = deque()
    with ThreadPoolExecutor(min(hardware.cores(), _DECODERS), "decode") as pool:
        for part in parts:
            waiting.append((part, [pool.submit(_decoded, *item) for item in part.items]))
            if len(waiting) > 1:
                yield _ready(*waiting.popleft())
        while waiting:
            yield _ready(*waiting.popleft())


def _ready(part: _Part, decoding: Iterable[Future[Item]]) -> tuple[_Part, list[Item]]:
    return part, [each.result() for each in decoding]


def _decoded(name: str, content: Content | Closed) -> Item:
    if callable(content):
        return name, content()
    if isinstance(content, Unscored):
        return name, content
    # A copy that has not been decoded: a picture's pixels go with its batch, its file with its shard.
    picture = replace(content[0])
    with suppress(Exception):  # whoever needs the pixels meets it again, and says so
        picture.image  # noqa: B018 - decoded and kept by the picture
    return name, (picture, content[1])


def passes(scorers: Sequence[Scorer]) -> list[list[Scorer]]:
    """The rewards that are in memory together: all small ones first, then each large one by itself.

    A reward whose weights have an unknown size counts as large.
    """
    if len(scorers) < 2:
        return [[each] for each in scorers]
    hub = places.Hub()
    alone = [each for each in scorers if _is_large(each.plugin, hub)]
    small = [each for each in scorers if each not in alone]
    return [*([small] if small else []), *([each] for each in alone)]


def _is_large(plugin: Plugin, hub: places.Hub) -> bool:
    found = [places.place(name, "weights", hub) for name in literals.weights_of("rewards", plugin)]
    sizes = [each.bytes for each in found if each.state != "missing"]
    return None in sizes or sum(each or 0 for each in sizes) >= ALONE_BYTES
