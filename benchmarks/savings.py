"""What the lazy order saves: the demo's curation on the tiny pack in the lazy and in the published order.

    python -m benchmarks.savings

Wall time is the median over interleaved repetitions, so that another program's load falls on both sides; forwards are
samples that went through the denoising network. Both ways give the same pairs, which is checked. What training saves is
measured by :mod:`benchmarks.training`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks import provenance
from pairwright import recipe, run
from pairwright.errors import Explained
from pairwright.store import Node
from pairwright.wording import number


class SavingsError(Explained, AssertionError):
    """A saving that changed the result."""


@dataclass
class Way:
    """One way of doing the same work: what each repetition took."""

    label: str
    seconds: list[float] = field(default_factory=list)
    forwards: list[int] = field(default_factory=list)
    said: str = ""


def curation(root: Path, repeats: int) -> tuple[Way, Way]:
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
    return eager, lazy


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
    parser.add_argument("--repeats", type=int, default=3, help="curations in each order")
    parser.add_argument("--results", type=Path, default=provenance.RESULTS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ways = curation(Path(folder), chosen.repeats)
    said = provenance.provenance()
    header = ["what", "median seconds", "times faster", "forwards (samples)", "times fewer", "and"]
    text = provenance.table(header, rows_of(*ways))
    page = f"# The lazy order on the tiny pack\n\nThe demo's curation.\n\n{text}\n{provenance.footnote(said)}"
    print(page)
    print(provenance.write("savings", {"ways": [vars(way) for way in ways], "provenance": said}, page, chosen.results))


if __name__ == "__main__":
    main()
