"""What has been scored, read back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pairwright.records import Column, Unscored
from pairwright.store import Node, StoreError

Scores = dict[str, dict[str, float] | Unscored]
"""By picture id: one float per column, or why there is none."""


def read_columns(node: Node) -> tuple[Column, ...]:
    """What the numbers of a scores node are called and mean.

    Raises:
        StoreError: the node holds no scores yet.
    """
    path = columns_file(node)
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


def summary(node: Node) -> dict[str, Any]:
    """How many pictures were scored, how many were not, and why."""
    reasons = Counter(row["unscored"] for row in node.rows(columns=["unscored"]))
    scored = reasons.pop(None, 0)
    return {"scored": scored, "unscored": reasons.total(), "reasons": dict(reasons)}


def columns_file(node: Node) -> Path:
    """Where the columns of a scores node are described."""
    return node.path / "columns.json"
