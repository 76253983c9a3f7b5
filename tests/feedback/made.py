"""A feedback with critic, instructor, editor and reward that cost nothing; any of them fails at some pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairwright.context import Context
from pairwright.feedback import feedback
from pairwright.options import Feedback
from pairwright.store import Node, Store
from tests.miniatures import made_pairs

PLAIN: dict[str, Any] = {
    "critic": "tests.fakes.faults",
    "instructor": "tests.fakes.commands",
    "editor": "tests.fakes.tint",
    "reward": "tests.fakes.red",
}
COUNT = 40
"""Two shards."""


def made(root: Path, count: int = COUNT, vetoed: dict[str, str] | None = None, **changes: Any) -> Node:
    """The winners of so many pairs, improved."""
    store = Store(root)
    chosen = Feedback.model_validate({**PLAIN, **changes})
    return feedback(chosen, Context(store, {"pairs": made_pairs.write(store, count)}, vetoed=vetoed or {}))
