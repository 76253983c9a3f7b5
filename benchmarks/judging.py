"""Judged runs: entered in their protocol before they begin, their scores kept beside the results.

Training seeds may be run one at a time, side by side, or on different machines and days. Each leaves a small table of its
scores, which is committed; what is said of all seeds together is said when all are there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from benchmarks import provenance
from benchmarks.contrasts import Numbers, numbers
from pairwright import generate, run, tables
from pairwright.context import Context
from pairwright.errors import Explained
from pairwright.evaluate.join import read_scored
from pairwright.options import Curate, Generate, Train
from pairwright.progress import choose
from pairwright.recipe import Recipe
from pairwright.store import Store, write_file, write_text

KEPT = provenance.RESULTS / "judged"
SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("metric", pa.string()),
        ("prompt", pa.string()),
        ("index", pa.int32()),
        ("score", pa.float64()),
    ]
)
SAID = b"said"


class JudgedError(Explained, RuntimeError):
    """Runs that are not there or do not fit; the message says what to do."""


@dataclass(frozen=True)
class Judged:
    """What one training seed has given."""

    numbers: Mapping[str, Mapping[str, Numbers]]
    """Arm -> metric -> numbers."""
    said: Mapping[str, Any] = field(default_factory=dict)
    """Its provenance, and what the benchmark notes besides."""


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark's runs, its protocol and its kept scores are."""

    command: str
    """As it is typed."""
    protocol: Path
    root: Path
    """Folder of runs and store."""
    kept: Path = KEPT
    notes: Callable[[Path], Mapping[str, Any]] = lambda _: {}
    """What else is to be kept of a run's folder, as plain JSON values."""

    def file(self, recipe: Recipe, pack: Mapping[str, str]) -> Path:
        """Where the scores of a run are kept."""
        return self.kept / f"{recipe.name.replace('=', '-')}-{digest([recipe], pack)}.parquet"

    def run(self, recipes: Sequence[Recipe], seeds: Collection[int] | None = None) -> dict[int, Judged]:
        """Run every seed that is missing and asked for; what is known of all seeds by then.

        Args:
            recipes: one per training seed.
            seeds: those to run; all where nothing is said.
        """
        found: dict[int, Judged] = {}
        said = provenance.provenance()
        for each in recipes:
            seed, kept = seed_of(each), self.file(each, said["pack"])
            if not kept.exists() and (seeds is None or seed in seeds):
                enter(self.protocol, each, said["pack"])
                run.run(each, self.root, progress=choose(), command=self.command)
                scores = run.result(self.root / each.name, "scores")
                notes = {"provenance": said, **self.notes(self.root / each.name)}
                write(kept, Judged(numbers(read_scored(Context(Store(self.root), {"scores": scores}))), notes))
                enter(self.protocol, each, said["pack"], "done")
            if kept.exists():
                found[seed] = read(kept)
        return found


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every judged benchmark needs to a command line."""
    parser.add_argument("--seeds", type=int, nargs="+", help="training seeds to run now; all that are missing by default")
    parser.add_argument("--results", type=Path, default=provenance.RESULTS, help="where scores and table are written")


def missing(found: Mapping[int, Judged], recipes: Sequence[Recipe]) -> list[int]:
    """The seeds that are not there yet."""
    return [seed for seed in map(seed_of, recipes) if seed not in found]


def pictures(folder: Path) -> dict[str, Tensor]:
    """Some of a judged run's pictures, to look at: arm -> the first of every 17th prompt, ``[n, 3, h, w]``."""
    albums = generate.pictures(run.result(folder, "pictures"), Store(folder.parent))
    rows = {arm: [row for row in node.rows() if row["index"] == 0][::17] for arm, node in albums.items()}
    return {arm: torch.stack([tables.picture_of(row).tensor for row in found]) for arm, found in rows.items()}


def seed_of(found: Recipe) -> int:
    """The training seed of a run: that of all its trainings.

    Raises:
        JudgedError: they differ.
    """
    seeds = {step.options.seed for step in found.steps if isinstance(step.options, Train)}
    if len(seeds) != 1:
        raise JudgedError(f"the trainings of {found.name} have the seeds {sorted(seeds)}; one was expected")
    return seeds.pop()


def digest(recipes: Sequence[Recipe], pack: Mapping[str, str]) -> str:
    """What judged runs consist of: what their options mean, and weights; not where photographs and prompts lie, or who computes."""
    said = []
    for each in recipes:
        steps = []
        for step in each.steps:
            meaning = step.options.meaning()
            if isinstance(step.options, Generate):
                meaning["prompts"] = {**meaning["prompts"], "name": ""}
            if isinstance(step.options, Curate):
                meaning["source"] = ""
            steps.append([step.name, step.verb, list(step.inputs), meaning])
        said.append([each.name, steps])
    return hashlib.sha256(json.dumps([said, dict(pack)], sort_keys=True).encode()).hexdigest()[:12]


def enter(protocol: Path, found: Recipe, pack: Mapping[str, str], state: str = "begun") -> None:
    """Put a run into the protocol's list, which is its last section; a run that goes on keeps its line."""
    lines = protocol.read_text(encoding="utf-8").rstrip().splitlines()
    name = f"`{digest([found], pack)}`"
    place = next((row for row, line in enumerate(lines) if name in line), len(lines))
    begun = lines[place].split("|")[1].strip() if place < len(lines) else datetime.now(UTC).date().isoformat()
    done = place < len(lines) and lines[place].endswith("| done |")
    lines[place:] = [f"| {begun} | {found.name} | {name} | {'done' if done else state} |", *lines[place + 1 :]]
    write_text(protocol, "\n".join(lines) + "\n")


def write(path: Path, judged: Judged) -> None:
    """Keep the scores of a run: a Parquet table of arm, metric, prompt, index of the noise, and score."""
    rows = [
        {"arm": arm, "metric": metric, "prompt": prompt, "index": index, "score": value}
        for arm, metrics in judged.numbers.items()
        for metric, values in metrics.items()
        for (prompt, index), value in values.items()
    ]
    schema = SCHEMA.with_metadata({SAID: json.dumps(judged.said).encode()})
    table = pa.Table.from_pylist(rows, schema=schema)
    write_file(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def read(path: Path) -> Judged:
    """The scores of a run that is done.

    Raises:
        JudgedError: the file is not such a table.
    """
    try:
        table = pq.read_table(path)
        said = json.loads((table.schema.metadata or {})[SAID])
        rows = table.cast(SCHEMA.with_metadata(table.schema.metadata)).to_pylist()
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise JudgedError(
            f"{path} is no table of judged scores ({error}); restore it from the history of the repository"
        ) from error
    found: dict[str, dict[str, Numbers]] = {}
    for row in rows:
        found.setdefault(row["arm"], {}).setdefault(row["metric"], {})[row["prompt"], row["index"]] = row["score"]
    return Judged(found, said)
