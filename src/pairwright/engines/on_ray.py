"""The pools of a Ray cluster: every station is a pool of actors of Ray Data, which grows and shrinks with the work that waits.

Only orders and answers travel through Ray, some hundred bytes a picture. Pictures and results go through the store, which all
machines must see under the same path. A worker that dies is replaced by Ray, and its piece is done again.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import socket
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pairwright import hardware
from pairwright.engines import EngineError, Piece, PoolName, Station
from pairwright.errors import Explained
from pairwright.options import Pool, Ray
from pairwright.progress import Progress

STRETCH = 1024
"""Pieces that Ray Data is given at once: its plan lies in the driver's memory."""
WAITING = 2
"""Pieces that a worker has: the one that it does, and the next. Those of a lazy walk that ends are lost."""
DEATHS = 5
"""Of workers over one piece, after which it is the piece that is at fault."""
_GPU_SHARES: Mapping[PoolName, float] = {
    "read": 0.0, "score": 0.25, "saliency": 0.25, "repaint": 0.5, "critic": 0.25, "instruct": 0.25, "edit": 0.25,
}  # fmt: skip
"""Of a worker that is told no other: the longest line of a step then fits on one GPU."""
_ENVIRONMENT = ("PAIRWRIGHT_", "HF_HUB_OFFLINE")


@contextmanager
def connected(options: Ray, root: Path, progress: Progress) -> Iterator[Crew]:
    """The workers of a cluster: the one that this process has joined already, one that runs, or one of this machine alone.

    Raises:
        EngineError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _library()
    if ray.is_initialized():
        yield Crew(ray, options, root, progress)
        return
    address = options.address or os.environ.get("RAY_ADDRESS", "")
    # Without a cluster, one worker of each kind must find room beside the others whatever this machine has.
    own = {"num_cpus": max(hardware.cores(), 4), "include_dashboard": False}
    try:
        ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **({} if address else own))
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"there is no Ray cluster at {address or 'this machine'}: {error}. Start one (ray start --head, and ray start "
            "--address=HOST:6379 on the others), or leave ray.address out for one of this machine alone."
        ) from error
    try:
        yield Crew(ray, options, root, progress)
    finally:
        ray.shutdown()


def _library() -> Any:
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        raise EngineError(f"engine = \"ray\" needs Ray ({error}): pip install 'pairwright[ray]'") from error
    return ray


@dataclass(frozen=True)
class Crew:
    """See :class:`pairwright.engines.Crew`."""

    ray: Any
    options: Ray
    root: Path
    """Of runs and store, as all machines see it."""
    progress: Progress

    def do(self, stations: Sequence[Station], pieces: Iterable[Piece]) -> Generator[tuple[int, Any]]:
        """See :meth:`pairwright.engines.Crew.do`."""
        waiting = iter(pieces)
        while stretch := list(islice(waiting, STRETCH)):
            yield from self._stretch(stations, stretch)

    def _stretch(self, stations: Sequence[Station], pieces: Sequence[Piece]) -> Generator[tuple[int, Any]]:
        rows = [{"number": each.number, "content": pickle.dumps(each.content), "said": pickle.dumps(None)} for each in pieces]
        # A block for each piece: blocks are what Ray Data hands out, and does again where a worker has died.
        data = self.ray.data.from_items(rows, override_num_blocks=len(rows))
        data.context.enable_progress_bars = False
        data.context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        resources = self._resources(stations)
        surroundings = Surroundings.here(self.root)
        for station in stations:
            data = self._through(data, station, surroundings, resources[station.label])
        yield from self._answers(data)

    def _through(self, data: Any, station: Station, surroundings: Surroundings, resources: Mapping[str, float]) -> Any:
        pool: Pool = getattr(self.options, station.pool)
        with warnings.catch_warnings():
            # Of these options, which Ray has no other way to say yet; the extra stops at the version that takes them away.
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            return data.map_batches(
                Worker,
                fn_constructor_args=(station, surroundings),
                batch_size=1,
                compute=self.ray.data.ActorPoolStrategy(
                    min_size=pool.least, max_size=pool.most, max_tasks_in_flight_per_actor=WAITING
                ),
                max_restarts=-1,
                max_task_retries=DEATHS - 1,
                **resources,
            )

    def _answers(self, data: Any) -> Generator[tuple[int, Any]]:
        # prefetch_batches = 0: what is done is told at once.
        with closing(iter(data.iter_batches(batch_size=None, prefetch_batches=0))) as done:
            try:
                for batch in done:
                    for number, said in zip(batch["number"], batch["said"], strict=True):
                        answer = pickle.loads(said)  # noqa: S301 - written by our own worker a moment ago
                        if isinstance(answer, Refusal):
                            raise EngineError(answer.message)
                        yield int(number), answer
            except self.ray.exceptions.RayActorError as error:
                raise EngineError(
                    f"{DEATHS} workers died over one piece without a word (out of memory, or killed): {error}. What was finished "
                    "is kept: run the same command again, with a smaller --batch-size or fewer workers on a machine"
                ) from error

    def _resources(self, stations: Sequence[Station]) -> dict[str, dict[str, float]]:
        """What each station's workers ask the cluster for. The least of all pools together must find room, or none ever starts."""
        there = self.ray.cluster_resources()
        asked = {}
        for each in stations:
            pool: Pool = getattr(self.options, each.pool)
            share = _GPU_SHARES[each.pool] if there.get("GPU") else 0.0
            gpus = (share if pool.gpus is None else pool.gpus) if each.accelerated else 0.0
            asked[each.label] = {"num_cpus": pool.cpus, "num_gpus": gpus}
        least: Mapping[str, int] = {each.label: getattr(self.options, each.pool).least for each in stations}
        for name, kind in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
            wanted, has = sum(asked[label][name] * count for label, count in least.items()), there.get(kind, 0.0)
            if wanted > has:
                self.progress.say(
                    f"  the least workers for {', '.join(least)} take {wanted:g} {kind}, and the cluster has {has:g}: this waits "
                    f"until it grows, or give the pools less (ray.{stations[0].pool}.{name.removeprefix('num_')})"
                )
        return asked


@dataclass(frozen=True)
class Surroundings:
    """What a worker takes over from the process that started it."""

    folder: str
    """Relative paths of a recipe are relative to it."""
    root: str
    """Of runs and store."""
    environment: Mapping[str, str]

    @classmethod
    def here(cls, root: Path) -> Surroundings:
        """This process's."""
        kept = {name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)}
        return cls(str(Path.cwd()), str(root), kept)

    def enter(self) -> None:
        """Make them this process's.

        Raises:
            EngineError: the store is not seen from here.
        """
        if not Path(self.root).is_dir():
            raise EngineError(f"{self.root} is not there: runs and store must lie on storage that all machines see under one path")
        os.environ.update(self.environment)
        if Path(self.folder).is_dir():
            os.chdir(self.folder)


@dataclass(frozen=True)
class Refusal:
    """An error that explains itself, on its way back."""

    message: str


class Worker:
    """An actor of a station's pool."""

    def __init__(self, station: Station, surroundings: Surroundings) -> None:
        self._station = station
        self._surroundings = surroundings

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Do the pieces of a batch."""
        columns = [list(batch[name]) for name in ("number", "content", "said")]
        return {"number": columns[0], "content": columns[1], "said": [self._one(*each) for each in zip(*columns, strict=True)]}

    def _one(self, number: int, content: bytes, before: bytes) -> bytes:
        # Both were written by the driver or by a worker before this one, a moment ago.
        if isinstance(pickle.loads(before), Refusal):  # noqa: S301
            return before
        try:
            self._surroundings.enter()
            answer = self._station.work(Piece(int(number), pickle.loads(content)))  # noqa: S301
        except Explained as error:
            answer = Refusal(f"{self._station.label}, on {socket.gethostname()}: {error}")
        return pickle.dumps(answer)
