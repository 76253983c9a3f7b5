"""What a verb works with besides its options and inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pairwright.progress import SILENT, Progress
from pairwright.store import Node, Store


@dataclass(frozen=True)
class Context:
    """Where a step keeps its result, what it builds on, and whom it tells how far it is."""

    store: Store
    inputs: Mapping[str, Node] = field(default_factory=dict)
    """Results of the steps named in ``from``, by step name, in that order."""
    progress: Progress = SILENT
    begun: Callable[[Node], object] = lambda _: None
    """Told the step's own node before work on it starts, so that it can be looked at while it grows, and kept from others."""
    vetoed: Mapping[str, str] = field(default_factory=dict)
    """Pairs of this step that somebody does not want, with their reasons; see :mod:`pairwright.vetoes`."""

    def absolute(self) -> Context:
        """The same with a store that is found from any folder: workers of an engine stand in another."""
        return replace(self, store=Store(self.store.root.resolve()))

    def node(self, verb: str, meaning: Mapping[str, Any], inputs: Sequence[str]) -> Node:
        """The step's own node; see :meth:`Store.node`."""
        node = self.store.node(verb, meaning, inputs)
        self.begun(node)
        return node
