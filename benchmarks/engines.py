"""What the Ray engine costs beside the local one, on two nodes of one machine: pieces that do nothing, and photographs to pairs.

    python -m benchmarks.engines

Needs Ray (``pip install 'pairwright[ray]'``). Wall time on one machine says what starting and handing out cost and nothing of what
many machines gain; processor time, of all processes together, is less disturbed by other programs.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import psutil  # type: ignore[import-untyped, unused-ignore]
import pyarrow as pa

from benchmarks import provenance
from pairwright import engines
from pairwright.context import Context
from pairwright.curate import curate
from pairwright.engines import Piece, PoolName, Station
from pairwright.errors import Explained
from pairwright.options import Curate, Ray
from pairwright.progress import SILENT
from pairwright.store import Node, Store
from pairwright.wording import number

_LOOK_EVERY_SECONDS = 0.2
_NUMBERS = pa.schema({"number": pa.int64()})


class EngineBenchmarkError(Explained, AssertionError):
    """Engines that give other tables."""


@dataclass
class Meter:
    """Seconds on the clock, and of processors: this process and all that it started, those that have ended included."""

    wall: float = 0.0
    processor: float = 0.0
    _spent: dict[int, float] = field(default_factory=dict)

    def plain(self) -> dict[str, float]:
        """Both numbers."""
        return {"wall": self.wall, "processor": self.processor}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measures what is done inside."""
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,), daemon=True)
        self._look()
        before, started = dict(self._spent), time.perf_counter()
        thread.start()
        try:
            yield
        finally:
            self.wall = time.perf_counter() - started
            ended.set()
            thread.join()
            self._look()
            self.processor = sum(spent - before.get(pid, 0.0) for pid, spent in self._spent.items())

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(_LOOK_EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            try:
                spent = process.cpu_times()
            except psutil.Error:
                continue  # it has just ended; what it had spent when last seen counts
            self._spent[process.pid] = spent.user + spent.system


@dataclass(frozen=True)
class Nothing:
    """A station that writes a row and does nothing else."""

    node: Node
    table: str

    pool: ClassVar[PoolName] = "read"
    accelerated: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """Its table's name."""
        return self.table

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        self.node.write(piece.number, [{"number": piece.number}], _NUMBERS, self.table)


@contextmanager
def two_nodes() -> Iterator[None]:
    """A cluster of two nodes with two cores each, in processes of their own on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, **memory})
    cluster.add_node(num_cpus=2, **memory)
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def pools(most: int) -> Ray:
    """As many workers of each kind at the most, one at the least."""
    return Ray.model_validate({name: {"most": most} for name in ("read", "score", "saliency", "repaint")})


def pieces(root: Path, count: int, stations: int) -> dict[str, Meter]:
    """Empty pieces through so many stations, here and by the cluster: the first one, with all that it waits for, and the others."""
    found: dict[str, Meter] = {}
    for engine in ("local", "ray"):
        node = Store(root / f"{engine}-{stations}").node("nothing", {})
        line = [Nothing(node, f"t{place}") for place in range(stations)]
        work = [Piece(each, None) for each in range(count)]
        first, others = found[f"{engine}, first"], found[f"{engine}, others"] = Meter(), Meter()
        with engines.crew(engine, pools(1), root, SILENT) as crew:
            done = here(line, work) if crew is None else crew.do(line, work)
            with first.running():
                next(done)
            with others.running():
                assert len(list(done)) == count - 1
    return found


def here(stations: Sequence[Station], work: Sequence[Piece]) -> Iterator[tuple[int, None]]:
    """The pieces done in this process."""
    for piece in work:
        for station in stations:
            station.work(piece)
        yield piece.number, None


def photographs(root: Path, engine: str, source: str, crops: int, side: int) -> tuple[Meter, Node]:
    """From photographs to pairs without a network: colour, a photometric fault, a gap and a ranking by texture."""
    options = Curate.model_validate(
        {
            "source": {"name": "imagefolder", "path": source},
            "resolution": side,
            "least_side": 0,
            "crops": crops,
            "filters": [{"reward": "colorfulness", "rule": "above_mean"}],
            "saliency": False,
            "perturbation": "photometric",
            "gap": {"reward": "texture", "at_least": 1.0},
            "keep": {"reward": "texture", "top": 24},
            "eager": True,
            "engine": engine,
            "ray": pools(1),
        }
    )
    meter = Meter()
    with meter.running():
        node = curate(options, Context(Store(root / engine)))
    return meter, node


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, write ``results/engines.md`` and ``.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--photos", default="tiny:photos", help="an imagefolder")
    parser.add_argument("--crops", type=int, default=6, help="views of each photograph")
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--pieces", type=int, default=200, help="empty ones")
    parser.add_argument("--results", type=Path, default=provenance.RESULTS)
    chosen = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        alone, node = photographs(root, "local", chosen.photos, chosen.crops, chosen.side)
        views = node.summary["funnel"][0]["entered"] * chosen.crops
        started = time.perf_counter()
        with two_nodes():
            began = time.perf_counter() - started
            there, other = photographs(root, "ray", chosen.photos, chosen.crops, chosen.side)
            empty = {stations: pieces(root / str(stations), chosen.pieces, stations) for stations in (1, 3)}
        if list(node.rows()) != list(other.rows()) or list(node.rows("rejected")) != list(other.rows("rejected")):
            raise EngineBenchmarkError("the engines give other tables")
    said = provenance.provenance()
    result: dict[str, Any] = {
        "photographs": {"views": views, "local": alone.plain(), "ray": there.plain(), "cluster starts": began},
        "pieces": {
            "count": chosen.pieces,
            "stations": {count: {name: each.plain() for name, each in found.items()} for count, found in empty.items()},
        },
        "ray": metadata.version("ray"),
        "provenance": said,
    }
    text = page(result, chosen.side) + "\n" + provenance.footnote(said)
    print(text)
    print(provenance.write("engines", result, text, chosen.results))


def page(result: dict[str, Any], side: int) -> str:
    """The measured tables as Markdown."""
    made, empty = result["photographs"], result["pieces"]
    rows = [[name, number(made[name]["processor"]), number(made[name]["wall"])] for name in ("local", "ray")]
    waits = [
        [
            f"{engine}, {stations} station{'s' if stations > 1 else ''}",
            number(1e3 * found[f"{engine}, others"]["processor"] / (empty["count"] - 1)),
            number(1e3 * found[f"{engine}, others"]["wall"] / (empty["count"] - 1)),
            number(found[f"{engine}, first"]["processor"]),
            number(found[f"{engine}, first"]["wall"]),
        ]
        for stations, found in empty["stations"].items()
        for engine in ("local", "ray")
    ]
    return (
        f"# Engines\n\nRay {result['ray']}, two nodes of two cores, one worker of each kind, all processes on this machine. "
        "Processor seconds are those of all processes together. Wall seconds hold whatever else the machine did.\n\n"
        f"## From {made['views']} views of {side} pixels to 24 pairs\n\nNo network: what is left is decoding, cropping, scoring, "
        f"changing, writing. The cluster was there (it started in {number(made['cluster starts'])} s). Equal tables.\n\n"
        + provenance.table(["engine", "processor seconds", "wall seconds"], rows)
        + f"\n## {empty['count']} pieces that write a row and do nothing else\n\n"
        + provenance.table(
            ["", "processor ms each", "wall ms each", "processor s until the first", "wall s until the first"], waits
        )
    )


if __name__ == "__main__":
    main()
