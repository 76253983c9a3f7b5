"""What the exact savings save, on the tiny pack: DRO with and without them, curation in the lazy and in the published order.

    python -m benchmarks.savings

Wall time is the median over interleaved repetitions, so that another program's load falls on both sides; forwards are
counted, in samples that went through the denoising network. Both ways of each comparison give the same result, which is
checked: the same pairs, and the same weights to rounding.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import provenance
from pairwright import models, recipe, run
from pairwright.context import Context
from pairwright.diffusion import batches, encodings, families, policy, training
from pairwright.errors import Explained
from pairwright.options import Model, Train
from pairwright.store import Node, Store
from pairwright.wording import number

BASE = "tiny:base"
CPU = torch.device("cpu")
ROLLOUT = 20


class SavingsError(Explained, AssertionError):
    """A saving that changed the result."""


@dataclass
class Way:
    """One way of doing the same work: what each repetition took."""

    label: str
    seconds: list[float] = field(default_factory=list)
    forwards: list[int] = field(default_factory=list)
    said: str = ""


@contextmanager
def counted(network: nn.Module) -> Iterator[list[int]]:
    """The samples of every forward of a network while inside."""
    rows: list[int] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        rows.append(len(inputs[0]))

    handle = network.register_forward_pre_hook(note)
    try:
        yield rows
    finally:
        handle.remove()


def trainer(pairs: Node, context: Context, options: Train) -> training.Trainer:
    """A DRO training on the base, as the verb builds it."""
    ref = models.resolve(Model(base=BASE), context)
    encoded = encodings.encode(pairs, ref, context, sides=("winner",), resolution=None, flips=options.flips, device=CPU)
    family = families.load_base(ref, dtype=options.dtype, device=CPU)
    actors = policy.build(family, ref, None, context.store, options.lora, seed=options.seed, lagging=training.lagging(options))
    drawn = batches.Batches(
        encoded=encoded,
        process=family.process,
        device=CPU,
        size=options.batch,
        micro=options.batch,
        seed=options.seed,
        flips=options.flips,
        dropout=options.caption_dropout,
    )
    return training.Trainer(options, actors, drawn)


def dro(pairs: Node, context: Context, *, refresh: int, steps: int, batch: int) -> tuple[Way, Way]:
    """The published loop and the saving one, step by step in turn.

    Raises:
        SavingsError: they end with different weights.
    """
    published, saving = Way(f"DRO, refresh {refresh}: published loop"), Way(f"DRO, refresh {refresh}: savings")
    trainers = []
    for way in (published, saving):
        rollout = {"steps": ROLLOUT, "refresh": refresh, "savings": way is saving}
        values = {"objective": "dro", "start": BASE, "steps": steps, "batch": batch, "rollout": rollout, "dtype": "float32"}
        lora = {"rank": 8, "alpha": 8.0}
        trainers.append(
            trainer(pairs, context, Train.model_validate({**values, "lora": lora, "optimiser": {"learning_rate": 3e-4}}))
        )
    loops = [training.steps(each) for each in trainers]
    shares: list[float] = []
    for _ in range(steps):
        for way, each, loop in zip((published, saving), trainers, loops, strict=True):
            with counted(each.policy.network) as rows:
                step = next(loop)
            way.seconds.append(step.seconds)
            way.forwards.append(sum(rows))
            if way is saving:
                shares.append(step.rollouts or 0.0)
    apart = distance(trainers[0].result, trainers[1].result)
    saving.said = f"a rollout for {sum(shares) / len(shares):.0%} of samples; weights {apart:.1e} apart"
    return published, saving


def distance(one: dict[str, Tensor], other: dict[str, Tensor], most: float = 1e-2) -> float:
    """Norm of the difference of two sets of weights, relative to their norm.

    Raises:
        SavingsError: it is above ``most``.
    """
    left, right = (torch.cat([each[name].detach().double().flatten() for name in sorted(one)]) for each in (one, other))
    found = float((left - right).norm() / left.norm())
    if found > most:
        raise SavingsError(f"the published loop and the saving one end {found:.2g} apart: a saving changed the training")
    return found


def curation(root: Path, repeats: int) -> tuple[Way, Way, Node]:
    """The demo's curation in the published and in the lazy order, each time from nothing.

    Raises:
        SavingsError: they end with different pairs.
    """
    eager, lazy = Way("curation: published order"), Way("curation: lazy order")
    results: list[Node] = []
    for repeat in range(repeats):
        for way in (eager, lazy):
            (found,) = recipe.load("tiny", [f"pairs.eager = {str(way is eager).lower()}"])
            place = root / f"{repeat}-{'eager' if way is eager else 'lazy'}"
            began = time.perf_counter()
            run.run(found, place, only="pairs")
            way.seconds.append(time.perf_counter() - began)
            results.append(run.result(place / found.name, "pairs"))
            way.forwards.append(results[-1].summary["repainted"] * repaint_forwards(found))
            way.said = f"{results[-1].summary['repainted']} repaints for {results[-1].summary['kept']} pairs"
    kept = [[row["id"] for row in node.rows(columns=["id"])] for node in results]
    if any(each != kept[0] for each in kept):
        raise SavingsError("the lazy order and the published order keep different pairs")
    return eager, lazy, results[-1]


def repaint_forwards(found: recipe.Recipe) -> int:
    """Samples through the denoising network for one repaint: its steps, twice with guidance."""
    step = next(step for step in found.steps if step.name == "pairs")
    said = step.options.model_dump()["perturbation"]["options"]
    return int(said["steps"]) * (2 if float(said.get("guidance", 7.5)) > 1 else 1)


def rows_of(published: Way, saving: Way) -> list[list[str]]:
    """Two rows of the table: each way, and how much the second saves."""
    rows = []
    for way in (published, saving):
        seconds, forwards = median(way.seconds), sum(way.forwards) / len(way.forwards)
        times = f"{median(published.seconds) / seconds:.2f}"
        fewer = f"{sum(published.forwards) / len(published.forwards) / forwards:.2f}"
        rows.append([way.label, number(seconds), times, f"{forwards:.0f}", fewer, way.said])
    return rows


def main() -> None:
    """Measure, print, write ``results/savings.md`` and ``.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.savings", description=__doc__)
    parser.add_argument("--steps", type=int, default=12, help="optimiser steps of each DRO loop")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3, help="curations in each order")
    parser.add_argument("--results", type=Path, default=provenance.RESULTS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        eager, lazy, pairs = curation(Path(folder), chosen.repeats)
        context = Context(Store(pairs.path.parents[2]))
        ways = [(eager, lazy)]
        ways += [dro(pairs, context, refresh=refresh, steps=chosen.steps, batch=chosen.batch) for refresh in (1, 16)]
    said = provenance.provenance()
    header = ["what", "median seconds", "times faster", "forwards (samples)", "times fewer", "and"]
    text = provenance.table(header, [row for pair in ways for row in rows_of(*pair)])
    counted_in = f"A curation, or an optimiser step of {chosen.batch} (median of {chosen.steps}, rollouts of {ROLLOUT} steps)."
    page = f"# Exact savings on the tiny pack\n\n{counted_in}\n\n{text}\n{provenance.footnote(said)}"
    print(page)
    result = {"ways": [vars(way) for pair in ways for way in pair], "provenance": said}
    print(provenance.write("savings", result, page, chosen.results))


if __name__ == "__main__":
    main()
