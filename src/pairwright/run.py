"""A recipe's graph, step by step. A run is a small file of pointers into the store.

``<root>/<run>/run.json`` names each step's result by verb and fingerprint. Steps whose fingerprint is in the store
already are not computed again, whichever run made them; a run that was killed goes on inside the step where it was.
"""

from __future__ import annotations

import importlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pairwright import hardware, locks, ranks, vetoes, weights
from pairwright.context import Context
from pairwright.errors import Explained
from pairwright.options import Options, Train
from pairwright.progress import SILENT, Progress
from pairwright.recipe import Recipe, Step
from pairwright.report import report
from pairwright.store import Node, Store, write_json

Verb = Callable[[Any, Context], Node]


class RunError(Explained, RuntimeError):
    """A run that cannot start or a step that failed; the message says which and what to do."""


_FUNCTIONS = {
    "curate": ("curate", "curate"),
    "import": ("importing", "import_pairs"),
    "feedback": ("feedback", "feedback"),
    "editors": ("feedback", "editors"),
    "train": ("train", "train"),
    "generate": ("generate", "generate"),
    "score": ("evaluate", "score"),
    "compare": ("evaluate", "compare"),
}
"""Module and function of each verb."""


def verb(name: str) -> Verb:
    """The function behind a verb. Its module is imported only now: verbs import torch."""
    module, function = _FUNCTIONS[name]
    found: Verb = getattr(importlib.import_module(f"pairwright.{module}"), function)
    return found


def run(recipe: Recipe, root: Path, *, progress: Progress = SILENT, command: str = "", only: str | None = None) -> Path:
    """Run the steps of a recipe.

    Args:
        recipe: what to run.
        root: folder of runs and store.
        progress: whom to tell.
        command: the command line, for the report.
        only: stop after this step, and leave out what it does not build on.

    Returns:
        the report, which is written anew after every step.

    Raises:
        HeldError: another process runs it.
        RunError: a step failed. What was computed stays; run again to go on.
    """
    folder = root / recipe.name
    with locks.hold(folder):
        ledger = _begin(recipe, folder, progress, command)
        results: dict[str, Node] = {}
        steps = recipe.steps if only is None else _ancestors(recipe, only)
        for number, step in enumerate(steps, 1):
            progress.say(f"[{number}/{len(steps)}] {step.name}: {step.verb}")
            inputs = {name: results[name] for name in step.inputs}
            try:
                results[step.name] = _step(step, inputs, ledger, progress)
            finally:
                report(folder)  # also where it failed: who left, and why, is on the page
        finished = all(entry["state"] == "complete" for entry in ledger.record["steps"].values())
        ledger.save(state="complete" if finished else "interrupted")
        return report(folder)


def result(folder: Path, step: str) -> Node:
    """The result of a step of a run.

    Raises:
        RunError: there is no such run or step, or it is not finished.
    """
    record = read(folder)
    if step not in record["steps"]:
        raise RunError(f"run {folder} has no step {step!r}; it has: {', '.join(record['steps']) or 'none yet'}")
    entry = record["steps"][step]
    if entry["state"] != "complete":
        raise RunError(f"step {step!r} of {folder} is not finished ({entry['state']})")
    return Store(folder.parent).open(entry["verb"], entry["fingerprint"])


def read(folder: Path) -> dict[str, Any]:
    """The run's record.

    Raises:
        RunError: there is none, or it is damaged.
    """
    path = folder / "run.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RunError(f"{folder} is not a run: it has no run.json") from None
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); remove it and run the recipe again: the store is not touched") from error


def _begin(recipe: Recipe, folder: Path, progress: Progress, command: str) -> _Ledger:
    document = recipe.document()
    before = read(folder) if (folder / "run.json").exists() else {"steps": {}, "recipe": {"step": {}}}
    for line in changes(before["recipe"].get("step", {}), recipe):
        progress.say(line)
    known = before["steps"]
    steps = {step.name: _entry(step, known.get(step.name, {})) for step in recipe.steps}
    started = before.get("started", locks.now())
    notes = (
        [f"The tiny models: {weights.untrained()}"] if weights.untrained() and weights.TINY_PREFIX in json.dumps(document) else []
    )
    for note in notes:
        progress.say(note)
    record = {"name": recipe.name, "state": "running", "started": started, "command": command, "recipe": document, "steps": steps}
    ledger = _Ledger(folder, {**record, "notes": notes})
    ledger.save()
    return ledger


def _entry(step: Step, before: Mapping[str, Any]) -> dict[str, Any]:
    """A step that has not been looked at in this process keeps what earlier ones have spent on it."""
    return {
        "verb": step.verb,
        "from": list(step.inputs),
        "state": "waiting",
        "fingerprint": None,
        "seconds": before.get("seconds", 0.0),
        "ran_on": before.get("ran_on"),
        "last": before.get("fingerprint") or before.get("last"),
    }


def changes(before: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """Sentences that say which options changed since the run was last started, and what is computed anew."""
    lines: list[str] = []
    stale: set[str] = set()
    for step in recipe.steps:
        now = recipe.document()["step"][step.name]
        old = before.get(step.name)
        if old is None:
            continue
        fields = sorted(_differences(_without_execution(step.options, old), _without_execution(step.options, now)))
        behind = [name for name in step.inputs if name in stale]
        if fields:
            lines.append(f"{step.name}: changed since the last run: {', '.join(fields)}; computed anew unless the store has it")
        elif behind:
            lines.append(f"{step.name}: builds on {', '.join(behind)}; computed anew unless the store has it")
        if fields or behind:
            stale.add(step.name)
    return lines


def _without_execution(options: Options, table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in type(options).execution_fields()}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name in {*old, *new}:
        one, other = old.get(name), new.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _differences(one, other, f"{prefix}{name}.")
        elif one != other:
            yield f"{prefix}{name} ({one!r} -> {other!r})" if name in old else f"{prefix}{name} (now {other!r})"


def _step(step: Step, inputs: Mapping[str, Node], ledger: _Ledger, progress: Progress) -> Node:
    started = locks.worked()
    with ledger.at(step.name) as entry, ExitStack() as held:

        def begun(node: Node) -> None:
            entry["fingerprint"] = node.fingerprint
            ledger.save()
            entry["reused"] = not held.enter_context(locks.claimed([node], progress))

        vetoed = vetoes.read(ledger.folder / vetoes.NAME).get(step.name, {})
        node = verb(step.verb)(step.options, Context(Store(ledger.folder.parent), inputs, progress, begun, vetoed))
        if not entry["reused"]:
            entry["ran_on"] = _ran_on(step.options)
    spent = locks.worked() - started
    progress.say(f"  {'reused' if entry['reused'] else f'done in {spent:.1f} s'}: {node.path}")
    return node


def _ran_on(chosen: Options) -> dict[str, Any]:
    """The devices of a step that has just been done; empty for one that reads tables alone."""
    if not hasattr(chosen, "device"):
        return {}
    from pairwright import runtime

    several = getattr(chosen, "devices", ())
    count = ranks.count() if isinstance(chosen, Train) else len(several) or 1
    return hardware.occupied(runtime.device(several[0] if several else chosen.device), count)


@dataclass(frozen=True)
class _Ledger:
    """The run's record, written after every change."""

    folder: Path
    record: dict[str, Any]

    def save(self, **changes: Any) -> None:
        """Write ``run.json``."""
        self.record.update(changes)
        write_json(self.folder / "run.json", self.record)

    @contextmanager
    def at(self, step: str) -> Iterator[dict[str, Any]]:
        """Inside, the step is running; its entry says afterwards how it ended and what it cost."""
        entry = self.record["steps"][step]
        entry["state"] = "running"
        self.save()
        started = locks.worked()
        state = "interrupted"
        try:
            yield entry
            state = "complete"
        except Exception as error:
            state = "failed"
            entry["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            entry["state"] = state
            entry["seconds"] = round(entry["seconds"] + locks.worked() - started, 3)
            self.save(**({} if state == "complete" else {"state": state}))


def _ancestors(recipe: Recipe, name: str) -> list[Step]:
    needed = {name}
    for step in reversed(recipe.steps):
        if step.name in needed:
            needed |= set(step.inputs)
    return [step for step in recipe.steps if step.name in needed]


def unreferenced(root: Path) -> list[tuple[Node, int]]:
    """Results that no run points to, directly or through what its results were made from, and their sizes in bytes.

    What was begun after an unfinished run was started may be what that run will go on from, and is left out.
    """
    store = Store(root)
    nodes = {node.fingerprint: node for node in store.nodes()}
    wanted = [
        fingerprint
        for path in sorted(root.glob("*/run.json"))
        for entry in read(path.parent)["steps"].values()
        for fingerprint in (entry["fingerprint"], entry["last"])
        if fingerprint is not None
    ]
    used: set[str] = set()
    while wanted:
        fingerprint = wanted.pop()
        if fingerprint in nodes and fingerprint not in used:
            used.add(fingerprint)
            record = nodes[fingerprint].record()
            wanted += [*record["inputs"], *record.get("parts", [])]
    records = [read(path.parent) for path in root.glob("*/run.json")]
    unfinished = [datetime.fromisoformat(each["started"]).timestamp() for each in records if each["state"] != "complete"]
    begun_by = min(unfinished, default=math.inf)
    left = [
        node
        for fingerprint, node in nodes.items()
        if fingerprint not in used and (node.complete or (node.path / "node.json").stat().st_mtime < begun_by)
    ]
    return [(node, sum(file.stat().st_size for file in node.path.rglob("*") if file.is_file())) for node in left]


def delete(root: Path) -> list[tuple[Node, int]]:
    """Remove what :func:`unreferenced` lists and what killed processes left half written, while no run is being worked on.

    Raises:
        HeldError: one is.
    """
    with ExitStack() as held:
        for path in sorted(root.glob("*/run.json")):
            held.enter_context(locks.hold(path.parent))
        found = unreferenced(root)
        for node, _ in found:
            shutil.rmtree(node.path)
        for left in sorted((root / "store").rglob(".tmp-*")):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return found
