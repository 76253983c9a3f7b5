"""What a model's pictures go back to: the trainings behind it, their pairs, and the rewards that chose those.

Nothing is noted anywhere for this. A result of ``pictures`` names its model's layers by their content, and so does a training the
layers that it started from; whichever training of the store holds an adapter of that content made it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pairwright import models
from pairwright.errors import Explained
from pairwright.store import Node, Store


@dataclass(frozen=True)
class Lineage:
    """What a model was trained with, as far as the store still holds it."""

    captions: tuple[str, ...] = ()
    """Of its pairs, each once."""
    rewards: tuple[str, ...] = ()
    """Rewards that a filter, the gap, the ranking or a relabelling of its pairs used."""


class Ancestry:
    """The trainings of a store by what they made, looked at once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def _nodes(self) -> dict[str, Node]:
        return {node.fingerprint: node for node in self._store.nodes()}

    @cached_property
    def _makers(self) -> dict[str, Node]:
        trainings = [node for node in self._nodes.values() if node.verb == "train"]
        return {digest: node for node in trainings for digest in _made(node, self._store)}

    def of(self, pictures: Node) -> Lineage:
        """The lineage of the model that made a result of ``pictures``."""
        trainings = list(self._trainings(_weights(pictures.record().get("meaning", {}).get("model"))))
        makers = [node for training in trainings for node in self._above(training)]
        captions = dict.fromkeys(text for training in trainings for text in self._captions(training))
        rewards = dict.fromkeys(name for node in makers for name in _rewards(node.record().get("meaning", {})))
        return Lineage(tuple(captions), tuple(rewards))

    def _trainings(self, digests: list[str]) -> Iterator[Node]:
        seen: set[str] = set()
        while digests:
            node = self._makers.get(digests.pop())
            if node is not None and node.fingerprint not in seen:
                seen.add(node.fingerprint)
                digests += _weights(node.record().get("meaning", {}).get("start"))
                yield node

    def _captions(self, training: Node) -> Iterator[str]:
        for fingerprint in training.record().get("inputs", ()):
            node = self._nodes.get(fingerprint)
            if node is not None and node.shards() and "prompt" in node.read_shard(0).column_names:
                yield from (row["prompt"] for row in node.rows(columns=["prompt"]))

    def _above(self, node: Node) -> Iterator[Node]:
        """What a training was made from, and what that was made from."""
        for fingerprint in node.record().get("inputs", ()):
            if fingerprint in self._nodes:
                yield self._nodes[fingerprint]
                yield from self._above(self._nodes[fingerprint])


def _made(node: Node, store: Store) -> Iterator[str]:
    """The content of every adapter or network that a training left: its result and its checkpoints."""
    for folder in ("", *(path.name for path in (node.path / "checkpoints").glob("step-*"))):
        try:
            yield from _weights(models.of_node(node, folder).identity(store))
        except (Explained, OSError, ValueError, KeyError):
            continue  # unfinished, or taken away since


def _weights(model: Any) -> list[str]:
    return [each["weights"] for each in model["layers"]] if isinstance(model, Mapping) and "layers" in model else []


def _rewards(meaning: Any) -> Iterator[str]:
    """Names of rewards anywhere in a step's meaning: tables under a key ``reward``."""
    if isinstance(meaning, Mapping):
        for key, value in meaning.items():
            if key == "reward" and isinstance(value, Mapping) and "name" in value:
                yield str(value["name"])
            yield from _rewards(value)
    elif isinstance(meaning, list):
        for value in meaning:
            yield from _rewards(value)
