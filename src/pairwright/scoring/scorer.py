"""One reward as scoring uses it: built on first use, asked in batches, its answers checked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pairwright import resolve, tables
from pairwright.options import Plugin
from pairwright.progress import SILENT, Progress, Task
from pairwright.protocols import Reward, Row
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.scoring.pictures import Chosen, Item, PictureSet, Stored
from pairwright.store import Node, Store

VERB = "scores"
VERSION = 1
"""Raised when the same reward on the same pictures would be stored differently."""


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

    def release(self) -> None:
        """Give the reward's memory back; it is built again where it is needed again."""
        if self.__dict__.pop("reward", None) is not None:
            resolve.give_back()

    def node(self, store: Store, pictures: Node, prompts: Mapping[str, Prompt] | None = None) -> Node:
        """The scores of every picture in a node, computed where they are missing.

        Args:
            store: where the scores are kept.
            pictures: see :class:`~pairwright.scoring.Stored`. Where it is not complete yet, what it has is scored and the
                result stays incomplete as well.
            prompts: by picture id, for tables without captions.

        Raises:
            ValueError: the reward returns another number of rows or of columns than it was asked for, or a table has no
                captions and no prompt was given.
            StoreError: a shard cannot be read.
        """
        return self._alone(store, Stored(pictures, prompts or {}))

    def some(self, store: Store, pictures: Node, ids: Sequence[str], known: tables.PictureIndex | None = None) -> Node:
        """The scores of the named pictures of a node, in their order; see :class:`~pairwright.scoring.Chosen`.

        Raises:
            KeyError: the node has no such picture.
            ValueError, StoreError: as :meth:`node`.
        """
        return self._alone(store, Chosen(pictures, tuple(ids), known))

    def _alone(self, store: Store, pictures: PictureSet) -> Node:
        from pairwright.scoring.together import score_together

        return score_together(store, pictures, [self], progress=self.progress)[0]

    def at(self, store: Store, pictures: PictureSet) -> Node:
        """Where the scores of a set are or will be."""
        meaning: dict[str, Any] = {"version": VERSION, "reward": resolve.meaning("rewards", self.plugin), **pictures.choice}
        return store.node(VERB, meaning, [pictures.fingerprint])

    def rows(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Rows of the narrow table, in the order of the items.

        Raises:
            ValueError: as :meth:`node`.
        """
        reads = getattr(self.reward, "needs_prompt", True)
        asked = [_asked(content, reads=reads) for _, content in items]
        there = [each for each in asked if not isinstance(each, Unscored)]
        scored = score_all(self.reward, [each for each, _ in there], [prompt for _, prompt in there], self.batch)
        verdicts: list[Row] = [each if isinstance(each, Unscored) else next(scored) for each in asked]
        columns = self.reward.columns
        return [tables.score_row(name, columns, verdict) for (name, _), verdict in zip(items, verdicts, strict=True)]


def _asked(content: tuple[Picture, Prompt | Unscored] | Unscored, *, reads: bool) -> tuple[Picture, Prompt] | Unscored:
    if isinstance(content, Unscored):
        return content
    picture, prompt = content
    if isinstance(prompt, Unscored):
        return prompt if reads else (picture, Prompt(""))
    return picture, prompt


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


def _checked(row: Row, columns: Sequence[Column]) -> Row:
    if isinstance(row, Unscored):
        return row
    if len(row) != len(columns):
        raise ValueError(f"a reward with the columns {[column.name for column in columns]} returned {len(row)} numbers")
    wrong = [column.name for column, value in zip(columns, row, strict=True) if not math.isfinite(value)]
    return Unscored(f"{', '.join(wrong)}: not a finite number") if wrong else tuple(float(value) for value in row)
