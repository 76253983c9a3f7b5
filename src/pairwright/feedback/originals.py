"""The pictures to improve: winners or losers of pairs, or a model's own samples."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pairwright import images, seeds
from pairwright.context import Context
from pairwright.errors import Explained
from pairwright.feedback.fetching import CREDIT, fetched, own
from pairwright.options import Feedback
from pairwright.records import Picture, Rejected
from pairwright.store import Node, open_shard
from pairwright.suggestions import hint

ITEMS_PER_SHARD = 32
"""Of every step of the road: shard ``i`` of each holds the same pictures in the same order."""


class FeedbackError(Explained, RuntimeError):
    """Feedback that cannot begin or gives no pair; the message says where everything was lost."""


@dataclass(frozen=True)
class Item:
    """A picture to improve, not yet read."""

    id: str
    """Of picture and prompt: the pair's id later."""
    picture: str
    prompt: str
    origin: Mapping[str, Any]
    """Where it was found; part of the pair's lineage."""
    provenance: Mapping[str, str]
    """What is known of it, for critics that look it up: a generated picture's own, or what a pair's lineage says of that side
    (``winner_uid`` is the winner's ``uid``)."""
    place: tuple[Path, int, int]
    """File, row group and row."""


@dataclass(frozen=True)
class Shard:
    """What whoever works on a shard is told of it."""

    items: tuple[Item, ...]
    column: str
    """Of their table."""

    def read(self, items: Sequence[Item] | None = None) -> list[Picture]:
        """Their pictures, in order; those of some of them, where that is said."""
        groups: dict[tuple[Path, int], Any] = {}
        found = []
        for item in self.items if items is None else items:
            path, group, row = item.place
            if (path, group) not in groups:
                with open_shard(path) as file:
                    groups[path, group] = file.read_row_group(group, columns=[self.column])[self.column]
            found.append(Picture(item.picture, groups[path, group][row].as_py()["bytes"], item.prompt, item.provenance))
        return found


@dataclass(frozen=True)
class Originals:
    """Pictures to improve, in a fixed order."""

    node: Node
    """Where they are."""
    column: str
    """Of its table."""
    items: tuple[Item, ...]
    rejected: tuple[Rejected, ...]
    """Pictures that were met with the same prompt before, and what a source could not give."""

    @classmethod
    def of(cls, options: Feedback, context: Context) -> Originals:
        """Find them among the inputs.

        Raises:
            FeedbackError: there are none, or several sets and it is not said which.
        """
        node, column = _source(options, context)
        found: dict[str, Item] = {}
        rejected = [Rejected(**row) for row in node.rows("rejected")] if options.source else []
        for item in _items(node, column):
            if item.id in found:
                rejected.append(Rejected(item.id, "read", "the same picture and prompt as an earlier one"))
            else:
                found[item.id] = item
        items = list(found.values())
        if options.limit is not None:
            # Those left out were not asked for and are no losses.
            chosen = sorted(seeds.permutation(len(items), options.seed, "feedback")[: options.limit])
            items = [items[place] for place in chosen]
        if not items:
            raise FeedbackError(f"{node.path} holds no picture to improve")
        return cls(node, column, tuple(items), tuple(rejected))

    @classmethod
    def those(cls, node: Node, column: str, names: Collection[str]) -> Originals:
        """Again those of an earlier feedback, by the ids of its items."""
        found = {item.id: item for item in _items(node, column) if item.id in names}
        return cls(node, column, tuple(found.values()), ())

    @property
    def meaning(self) -> dict[str, Any]:
        """Which pictures these are, of those in the node."""
        return {"column": self.column, "items": images.content_id("\n".join(each.id for each in self.items).encode())}

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-len(self.items) // ITEMS_PER_SHARD)

    def shard(self, number: int) -> Shard:
        """One shard."""
        return Shard(self.items[number * ITEMS_PER_SHARD : (number + 1) * ITEMS_PER_SHARD], self.column)


def _source(options: Feedback, context: Context) -> tuple[Node, str]:
    if options.source is not None:
        if context.inputs:
            raise FeedbackError(f"the pictures come from {options.source.name!r}; leave out either source or 'from'")
        return fetched(options, context), "image"
    found: dict[str, tuple[Node, str]] = {}
    for name, node in context.inputs.items():
        if (node.path / "models.json").exists():
            listed = json.loads((node.path / "models.json").read_text(encoding="utf-8"))
            if options.model is None and len(listed) > 1:
                raise FeedbackError(
                    f"step {name!r} has pictures of several models; say which with model." + hint("", listed, listed="There are")
                )
            label = options.model or next(iter(listed))
            if label not in listed:
                raise FeedbackError(f"step {name!r} has no model {label!r}." + hint(label, listed, listed="There are"))
            found[name] = context.store.open("pictures", listed[label]), "image"
        elif node.shards() and {"winner", "loser"} <= set(pq.read_schema(node.shards()[0]).names):
            found[name] = node, options.side
    if len(found) != 1:
        said = f"several of its inputs have them ({', '.join(found)})" if found else "none of its inputs has any"
        raise FeedbackError(
            f"feedback improves the pictures of one step, but {said}; name one step with pairs or pictures in 'from'"
        )
    return next(iter(found.values()))


def _items(node: Node, column: str) -> list[Item]:
    names = ("id", "caption", "id", "provenance") if column == "image" else (f"{column}_id", "prompt", "id", "lineage")
    found = []
    for path in node.shards():
        with open_shard(path) as file:
            for group in range(file.num_row_groups):
                for row, values in enumerate(file.read_row_group(group, columns=sorted(set(names))).to_pylist()):
                    picture, prompt, whole, known = (values[name] for name in names)
                    said = json.loads(known or "{}")
                    origin = {name: said[name] for name in CREDIT if said.get(name)}
                    origin |= {"original": {"picture": picture} if column == "image" else {"pair": whole, "side": column}}
                    name = images.content_id(f"{picture}\x1f{prompt or ''}".encode())
                    found.append(Item(name, picture, prompt or "", origin, _provenance(said, column), (path, group, row)))
    return found


def _provenance(said: Mapping[str, Any], column: str) -> dict[str, str]:
    if column == "image":
        return {str(name): str(value) for name, value in said.items()}
    return own(said, column)
