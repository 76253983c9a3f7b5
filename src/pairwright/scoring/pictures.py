"""What is scored: pictures in shards whose membership is fixed before work starts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from pairwright import tables
from pairwright.records import Picture, Prompt, Unscored
from pairwright.store import Node

IDS_PER_SHARD = 64

NO_PROMPT = "no prompt"
"""How the reason begins where a picture has no text and the reward reads one."""

Content = tuple[Picture, Prompt | Unscored] | Unscored
"""What is scored, or why there is nothing to score. A prompt may be missing with a reason: rewards that do not read one score
the picture all the same."""

Closed = Callable[[], Content]
"""A picture that has yet to be read and checked. It is opened in a thread when its batch comes up, and comes decoded."""

Item = tuple[str, Content]
"""A picture's id and its content."""


class Shards(Protocol):
    """Where the pictures of a shard are read."""

    def read(self, shard: int) -> Sequence[tuple[str, Content | Closed]]:
        """The pictures of one shard, in order, by id.

        Raises:
            StoreError: it cannot be read.
        """
        ...


class PictureSet(Shards, Protocol):
    """Pictures to score, with what belongs to each."""

    @property
    def fingerprint(self) -> str:
        """Stands for every picture and prompt of the set."""
        ...

    @property
    def choice(self) -> Mapping[str, str]:
        """What of that is scored, where it is not all; part of the scores' fingerprint."""
        ...

    @property
    def whole(self) -> bool:
        """Whether no picture can arrive any more."""
        ...

    def sizes(self) -> dict[int, int]:
        """Pictures per shard, by the shard's number."""
        ...


def opened(content: Content | Closed) -> Content:
    """The content, read and checked where it is not yet."""
    return content() if callable(content) else content


@dataclass(frozen=True)
class Stored:
    """Every picture of a node whose ``data`` table has ``id`` and ``image`` (``PICTURES``, ``GENERATED``, ``EDITS``)."""

    node: Node
    prompts: Mapping[str, Prompt] = field(default_factory=dict)
    """By picture id, for tables without captions. They are not part of the fingerprint: they must follow from the pictures'
    own inputs. Default: the row's own caption."""

    @property
    def fingerprint(self) -> str:
        """The node's."""
        return self.node.fingerprint

    @property
    def choice(self) -> Mapping[str, str]:
        """All of it."""
        return {}

    @property
    def whole(self) -> bool:
        """Whether the node is complete."""
        return self.node.complete

    def sizes(self) -> dict[int, int]:
        """Rows of each shard that is there."""
        return {_index(path): int(pq.read_metadata(path).num_rows) for path in self.node.shards()}

    def read(self, shard: int) -> list[Item]:
        """See :meth:`Shards.read`.

        Raises:
            ValueError: the table has no captions and no prompt was given.
        """
        return [_item(row, self.prompts) for row in self.node.read_shard(shard).to_pylist()]


@dataclass(frozen=True)
class Chosen:
    """The named pictures of a node, in their order, 64 to a shard. Another choice or order is another set."""

    node: Node
    ids: tuple[str, ...]
    known: tables.PictureIndex | None = field(default=None, compare=False, repr=False)
    """The node's index, where somebody has it: making one reads every shard."""

    @property
    def fingerprint(self) -> str:
        """The node's."""
        return self.node.fingerprint

    @property
    def choice(self) -> Mapping[str, str]:
        """A digest of the ids."""
        return {"ids": hashlib.sha256("\n".join(self.ids).encode()).hexdigest()[:16]}

    @property
    def whole(self) -> bool:
        """They are named, so that none can arrive."""
        return True

    def sizes(self) -> dict[int, int]:
        """So many ids per shard."""
        count = len(self.ids)
        return {shard: min(IDS_PER_SHARD, count - start) for shard, start in enumerate(range(0, count, IDS_PER_SHARD))}

    def read(self, shard: int) -> list[Item]:
        """See :meth:`Shards.read`.

        Raises:
            KeyError: the node has no such picture.
        """
        return _captioned(self._index, self._ids(shard))

    def part(self, shard: int) -> Shards:
        """What reading that shard needs of this set: small enough to be sent to another process."""
        ids = tuple(self._ids(shard))
        return _Part(ids, self._index.part(ids))

    @cached_property
    def _index(self) -> tables.PictureIndex:
        return self.known or tables.PictureIndex.of(self.node)

    def _ids(self, shard: int) -> Sequence[str]:
        return self.ids[shard * IDS_PER_SHARD : (shard + 1) * IDS_PER_SHARD]


@dataclass(frozen=True)
class _Part:
    """One shard of a chosen set."""

    ids: tuple[str, ...]
    index: tables.PictureIndex

    def read(self, shard: int) -> list[Item]:  # noqa: ARG002 - it has but one
        return _captioned(self.index, self.ids)


def _captioned(index: tables.PictureIndex, ids: Sequence[str]) -> list[Item]:
    return [(picture.id, (picture, Prompt(picture.caption))) for picture in index.get(ids)]


def _item(row: Mapping[str, Any], prompts: Mapping[str, Prompt]) -> Item:
    name = row["id"]
    if row["image"] is None:
        return name, Unscored(f"no picture: {row.get('failed') or 'none was stored'}")
    if name not in prompts and "caption" not in row:
        raise ValueError(f"picture {name} comes from a table without captions and no prompt was given for it")
    prompt = prompts[name] if name in prompts else tables.prompt_of(row)
    return name, (Picture(name, row["image"]["bytes"], prompt.text), prompt)


def _index(shard: Path) -> int:
    return int(shard.stem.rsplit("-", 1)[1])
