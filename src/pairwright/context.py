"""What a verb works with besides its options and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pairwright.progress import SILENT, Progress
from pairwright.store import Node, Store


@dataclass(frozen=True)
class Context:
    """Where a step keeps its result, what it builds on, and whom it tells how far it is."""

    store: Store
    inputs: Mapping[str, Node] = field(default_factory=dict)
    """Results of the steps named in ``from``, by step name, in that order."""
    progress: Progress = SILENT
