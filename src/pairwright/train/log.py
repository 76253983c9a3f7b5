"""``steps.jsonl``: one line per optimiser step, with the warnings that it gave rise to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from pairwright.diffusion.measures import Step
from pairwright.options import Train
from pairwright.store import Node, write_text
from pairwright.train.watch import Watch

LOG = "steps.jsonl"


def log_rows(node: Node) -> list[dict[str, Any]]:
    """What every step so far said of itself, in order; a line that a kill cut short is left out."""
    path = node.path / LOG
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


@dataclass
class StepLog:
    """An open log."""

    stream: TextIO
    watch: Watch

    def add(self, step: Step) -> dict[str, Any]:
        """Write a step's line and return it; ``warnings`` is there where there are any."""
        row: dict[str, Any] = step.row()
        warnings = self.watch.see(row)
        if warnings:
            row["warnings"] = warnings
        self.stream.write(json.dumps(row, allow_nan=False) + "\n")
        self.stream.flush()
        return row

    def sync(self) -> None:
        """Put every line on the disk, before a state that goes on behind it."""
        os.fsync(self.stream.fileno())


@contextmanager
def opened(node: Node, options: Train, done: int) -> Iterator[StepLog]:
    """The log, open behind step ``done``: what a killed process wrote beyond its last state is done again."""
    kept = [row for row in log_rows(node) if row["step"] <= done]
    write_text(node.path / LOG, "".join(json.dumps(row) + "\n" for row in kept))
    watch = Watch(options)
    for row in kept:
        watch.see(row)
    with (node.path / LOG).open("a", encoding="utf-8") as stream:
        yield StepLog(stream, watch)
