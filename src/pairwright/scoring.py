"""Scores of pictures as narrow side tables: shard ``i`` of the scores belongs to shard ``i`` of the pictures.

Curation, relabelling and evaluation all score through here. A score is computed once per picture, reward and weights;
adding a reward rewrites nothing. A reward is built only where a score is missing.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pairwright import resolve, tables
from pairwright.options import Plugin
from pairwright.progress import SILENT, Progress, Task
from pairwright.protocols import Reward, Row
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.store import Node, Store, StoreError, write_json

VERB = "scores"
VERSION = 1
"""Raised when the same reward on the same pictures would be stored differently."""

IDS_PER_SHARD = 64

Scores = dict[str, dict[str, float] | Unscored]
"""By picture id: one float per column, or why there is none."""

Item = tuple[str, tuple[Picture, Prompt] | Unscored]
"""A picture's id, and what is scored, or why there is nothing to score."""


@dataclass(frozen=True)
class Scorer:
    """A reward that is built on first use and kept, for callers that score again and again."""

    plugin: Plugin
    batch: int = 32
    """Pictures per call of the reward. Batches never cross a shard's border."""
    device: str = "auto"
    """For rewards that take one."""
    progress: Progress = field(default=SILENT, compare=False)

    @cached_property
    def reward(self) -> Reward:
        """The reward itself.

        Raises:
            pairwright.plugins.PluginError: unknown name or option; a value of the wrong type.
        """
        reward: Reward = resolve.build("rewards", self.plugin, self.device)
        return reward

    def node(self, store: Store, pictures: Node, prompts: Mapping[str, Prompt] | None = None) -> Node:
        """The scores of every picture in a node, computed where they are missing.

        Args:
            store: where the scores are kept.
            pictures: a node whose ``data`` table has ``id`` and ``image`` (``PICTURES``, ``GENERATED``, ``EDITS``). Where
                it is not complete yet, what it has is scored and the result stays incomplete as well.
            prompts: by picture id, for tables without captions. They are not part of the fingerprint: they must follow
                from the pictures' own inputs. Default: the row's own caption.

        Raises:
            ValueError: the reward returns another number of rows or of columns than it was asked for, or a table has no
                captions and no prompt was given.
            StoreError: a shard cannot be read.
        """
        node = store.node(VERB, self._meaning(), [pictures.fingerprint])
        if node.complete:
            return node
        whole = pictures.complete  # asked before the shards are listed: then none can arrive afterwards
        sizes = {_index(path): int(pq.read_metadata(path).num_rows) for path in pictures.shards()}

        def read(shard: int) -> list[Item]:
            return [_item(row, prompts or {}) for row in pictures.read_shard(shard).to_pylist()]

        return self._fill(node, sizes, read, finish=whole)

    def some(self, store: Store, pictures: Node, ids: Sequence[str]) -> Node:
        """The scores of the named pictures of a node, in their order, 64 to a shard.

        Another choice or order is another result: what is in a shard is fixed before work starts.

        Raises:
            KeyError: the node has no such picture.
            ValueError, StoreError: as :meth:`node`.
        """
        chosen = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
        node = store.node(VERB, self._meaning(ids=chosen), [pictures.fingerprint])
        if node.complete:
            return node
        index = tables.PictureIndex(pictures)
        parts = [ids[start : start + IDS_PER_SHARD] for start in range(0, len(ids), IDS_PER_SHARD)]

        def read(shard: int) -> list[Item]:
            return [(picture.id, (picture, Prompt(picture.caption))) for picture in index.get(parts[shard])]

        return self._fill(node, {shard: len(part) for shard, part in enumerate(parts)}, read, finish=True)

    def _meaning(self, **more: str) -> dict[str, Any]:
        return {"version": VERSION, "reward": resolve.meaning("rewards", self.plugin), **more}

    def _fill(self, node: Node, sizes: Mapping[int, int], read: Callable[[int], list[Item]], *, finish: bool) -> Node:
        started = time.monotonic()
        missing = [shard for shard in sizes if not node.shard(shard).exists()]
        if missing or not _columns_file(node).exists():
            columns = self.reward.columns
            write_json(_columns_file(node), [asdict(column) for column in columns])
            total = sum(sizes.values())
            with self.progress.task(f"score {self.plugin.name}", total, total - sum(sizes[each] for each in missing)) as task:
                for shard in missing:
                    node.write(shard, self._shard(read(shard), task), tables.scores(columns))
        if finish:
            node.finish(**_summary(node), seconds=round(time.monotonic() - started, 3))
        return node

    def _shard(self, items: Sequence[Item], task: Task) -> list[dict[str, Any]]:
        """Rows of the narrow table, in the order of the pictures."""
        there = [item for _, item in items if not isinstance(item, Unscored)]
        task.advance(len(items) - len(there))
        scored = score_all(self.reward, [each for each, _ in there], [prompt for _, prompt in there], self.batch, task)
        verdicts = [item if isinstance(item, Unscored) else next(scored) for _, item in items]
        columns = self.reward.columns
        return [tables.score_row(name, columns, verdict) for (name, _), verdict in zip(items, verdicts, strict=True)]


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


def score_all(
    reward: Reward, pictures: Sequence[Picture], prompts: Sequence[Prompt], batch: int, task: Task | None = None
) -> Iterator[Row]:
    """One row per picture, in order, ``batch`` at a time. What is not a finite number is :class:`Unscored`.

    Raises:
        ValueError: the reward returns another number of rows or of columns than it was asked for.
    """
    for start in range(0, len(pictures), batch):
        part = slice(start, start + batch)
        rows = reward.score(pictures[part], prompts[part])
        if len(rows) != len(pictures[part]):
            raise ValueError(f"{type(reward).__name__} returned {len(rows)} rows for {len(pictures[part])} pictures")
        yield from (_checked(row, reward.columns) for row in rows)
        if task is not None:
            task.advance(len(rows))


def read_columns(node: Node) -> tuple[Column, ...]:
    """What the numbers of a scores node are called and mean.

    Raises:
        StoreError: the node holds no scores yet.
    """
    path = _columns_file(node)
    if not path.exists():
        raise StoreError(f"{path} is missing: no picture has been scored there yet")
    return tuple(Column(**each) for each in json.loads(path.read_text(encoding="utf-8")))


def read_scores(node: Node) -> Scores:
    """All scores of a scores node, in the order of the pictures.

    Raises:
        StoreError: the node holds no scores yet, or a shard cannot be read.
    """
    names = [column.name for column in read_columns(node)]
    return {
        row["id"]: Unscored(row["unscored"]) if row["unscored"] is not None else {name: row[name] for name in names}
        for row in node.rows()
    }


def _checked(row: Row, columns: Sequence[Column]) -> Row:
    if isinstance(row, Unscored):
        return row
    if len(row) != len(columns):
        raise ValueError(f"a reward with the columns {[column.name for column in columns]} returned {len(row)} numbers")
    wrong = [column.name for column, value in zip(columns, row, strict=True) if not math.isfinite(value)]
    return Unscored(f"{', '.join(wrong)}: not a finite number") if wrong else tuple(float(value) for value in row)


def _item(row: Mapping[str, Any], prompts: Mapping[str, Prompt]) -> Item:
    name = row["id"]
    if row["image"] is None:
        return name, Unscored(f"no picture: {row.get('failed') or 'none was stored'}")
    if name not in prompts and "caption" not in row:
        raise ValueError(f"picture {name} comes from a table without captions and no prompt was given for it")
    prompt = prompts[name] if name in prompts else tables.prompt_of(row)
    return name, (Picture(name, row["image"]["bytes"], prompt.text), prompt)


def _summary(node: Node) -> dict[str, Any]:
    reasons = Counter(row["unscored"] for row in node.rows(columns=["unscored"]))
    scored = reasons.pop(None, 0)
    return {"scored": scored, "unscored": reasons.total(), "reasons": dict(reasons)}


def _index(shard: Path) -> int:
    return int(shard.stem.rsplit("-", 1)[1])


def _columns_file(node: Node) -> Path:
    return node.path / "columns.json"
