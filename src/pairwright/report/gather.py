"""A run as its folder tells it, finished or not."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pairwright.errors import Explained
from pairwright.store import Node, Store, StoreError


class ReportError(Explained, RuntimeError):
    """A folder that holds no run; the message says what is missing."""


@dataclass(frozen=True)
class Step:
    """One step of the run."""

    name: str
    verb: str
    state: str
    """``waiting``, ``running``, ``complete``, ``failed`` or ``interrupted``."""
    inputs: tuple[str, ...]
    options: Mapping[str, Any]
    """From the resolved recipe."""
    seconds: float
    reused: bool
    error: str
    node: Node | None
    """Its result; of a step under way, what is there of it, where that can be told."""
    ran_on: Mapping[str, Any] = field(default_factory=dict)
    """Kind, label and count of the devices; empty where it is not known."""

    @property
    def done(self) -> bool:
        """Whether its result is whole."""
        return self.state == "complete" and self.node is not None

    @property
    def summary(self) -> dict[str, Any]:
        """What the step said of itself when it finished."""
        return self.node.summary if self.node else {}

    def json(self, name: str) -> Any:
        """A JSON file of the result; None where it is not there yet."""
        path = self.node.path / name if self.node else None
        return json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else None


@dataclass(frozen=True)
class Run:
    """The whole run."""

    folder: Path
    name: str
    description: str
    state: str
    command: str
    started: str
    notes: tuple[str, ...]
    """What a reader must know before the numbers."""
    recipe: Mapping[str, Any]
    steps: tuple[Step, ...]
    store: Store

    @property
    def address(self) -> str:
        """The folder as a command names it. Not its whole path: the page may be shown to others."""
        return shlex.quote(f"{self.folder.parent.name}/{self.folder.name}")

    def of(self, verb: str) -> list[Step]:
        """The steps of one verb, in order."""
        return [step for step in self.steps if step.verb == verb]

    @property
    def pair_steps(self) -> list[Step]:
        """The steps that make or bring pairs, in order."""
        return [step for step in self.steps if step.verb in {"curate", "import", "feedback"}]

    def step(self, name: str) -> Step | None:
        """The step of that name."""
        return next((step for step in self.steps if step.name == name), None)


def read_run(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        ReportError: there is none, or its record is damaged.
    """
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReportError(f"{folder} is not a run: it has no run.json") from None
    except ValueError as error:
        raise ReportError(f"{path} is damaged ({error}); run the recipe again, then report") from error
    store = Store(folder.resolve().parent)
    recipe = record.get("recipe", {})
    known: dict[str, Step] = {}
    for name, entry in record.get("steps", {}).items():
        known[name] = _step(name, entry, _options(recipe, name), store)
    return Run(
        folder=folder.resolve(),
        name=record.get("name", folder.name),
        description=recipe.get("description", ""),
        state=record.get("state", "unknown"),
        command=record.get("command", ""),
        started=record.get("started", ""),
        notes=tuple(record.get("notes", ())),
        recipe=recipe,
        steps=tuple(known.values()),
        store=store,
    )


def _options(recipe: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = recipe.get("step", {}).get(name, {})
    return {key: value for key, value in table.items() if key not in {"verb", "from"}}


def _step(name: str, entry: Mapping[str, Any], options: dict[str, Any], store: Store) -> Step:
    return Step(
        name=name,
        verb=entry["verb"],
        state=entry.get("state", "waiting"),
        inputs=tuple(entry.get("from", ())),
        options=options,
        seconds=float(entry.get("seconds") or 0.0),
        reused=bool(entry.get("reused", False)),
        error=str(entry.get("error", "")),
        node=_node(entry, store),
        ran_on=entry.get("ran_on") or {},
    )


def _node(entry: Mapping[str, Any], store: Store) -> Node | None:
    """The step's result; a training's also while it grows, since its curves are wanted then."""
    if not entry.get("fingerprint"):
        return None
    try:
        node = store.open(entry["verb"], entry["fingerprint"])
    except StoreError:
        return None  # removed from the store: the page says "not there"
    return node if node.complete or node.verb == "train" else None


def _training_under_way(
    entry: Mapping[str, Any], options: Mapping[str, Any], store: Store, before: Mapping[str, Step]
) -> Node | None:
    """The unfinished training of the same pairs, objective and number of steps that wrote last.

    A run names a result only when the step is done; the curves are wanted before.
    """
    inputs = {step.node.fingerprint for name in entry.get("from", ()) if (step := before.get(name)) and step.node}

    def fits(node: Node) -> bool:
        record = node.record()
        meaning = record.get("meaning", {})
        same = all(meaning.get(field) == options.get(field) for field in ("objective", "steps", "seed"))
        return not record.get("complete") and same and bool(inputs & set(record.get("inputs", ())))

    logs = sorted((store.root / "store" / "train").glob("*/steps.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next((node for path in logs if fits(node := Node(path.parent, "train"))), None)


def read_rows(node: Node, positions: Sequence[int], table: str = "data") -> Iterator[dict[str, Any]]:
    """The rows at some positions of a table, reading only the row groups that hold them."""
    wanted = sorted(set(positions))
    start = 0
    for path in node.shards(table):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                here = [position - start for position in wanted if start <= position < stop]
                if here:
                    yield from file.read_row_group(group).take(here).to_pylist()
                start = stop


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the positions ``0 .. count - 1``, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(each * (count - 1) / (most - 1)) for each in range(most)] if most > 1 else [0][:most]
