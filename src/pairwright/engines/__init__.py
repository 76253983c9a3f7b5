"""Engines: who does work that is cut into pieces, in this process or on many machines.

A :class:`Station` does one kind of work, piece by piece, and writes what comes of a piece into the store, whole or not at all. A
piece that is there is not done again. So nothing depends on who does it, on how often, or on whether somebody died over it:
durability is the store's, and an engine has only to see to it that every piece is done.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pairwright.errors import Explained
from pairwright.options import Ray
from pairwright.progress import Progress

PoolName = Literal["read", "score", "saliency", "repaint", "critic", "instruct", "edit"]

__all__ = ["Crew", "EngineError", "Piece", "PoolName", "Station", "crew", "unseen"]


class EngineError(Explained, RuntimeError):
    """Work that could not be handed out, or not be done; the message says why and what to do."""


def unseen(path: Path) -> EngineError:
    """What a worker has written cannot be seen from here."""
    return EngineError(f"{path} was made and is not here: runs and store must lie on storage that all machines see at once")


@dataclass(frozen=True)
class Piece:
    """One piece of work."""

    number: int
    """Of the shard that it fills."""
    content: Any
    """What the stations need to know besides: small, and fit for :mod:`pickle`."""


class Station(Protocol):
    """One kind of work; fit for :mod:`pickle` as long as nothing was done. What it needs it builds on first use."""

    @property
    def label(self) -> str:
        """What it does, in a word or two."""
        ...

    @property
    def pool(self) -> PoolName:
        """Whose workers do it; see :class:`pairwright.options.Ray`."""
        ...

    @property
    def accelerated(self) -> bool:
        """Whether it runs on a GPU where there is one."""
        ...

    def work(self, piece: Piece) -> object:
        """Do a piece, unless it is done. What is returned is small, fit for :mod:`pickle`, and told to whoever wanted the piece."""
        ...


class Crew(Protocol):
    """Workers of an engine."""

    def do(self, stations: Sequence[Station], pieces: Iterable[Piece]) -> Generator[tuple[int, Any]]:
        """Every piece through all stations, each behind the one before.

        Pieces are taken as they are needed. Closing the generator ends the work.

        Returns:
            for each piece its number and what the last station returned, in the order in which they are done.

        Raises:
            EngineError: a station met an error that explains itself.
        """
        ...


@contextmanager
def crew(engine: str, ray: Ray, root: Path, progress: Progress) -> Iterator[Crew | None]:
    """The workers of an engine for as long as the context lasts; None: the work is done in this process.

    Args:
        engine: see :data:`pairwright.options.ENGINES`.
        ray: cluster and pools.
        root: folder of runs and store, absolute: all machines see it under this path.
        progress: whom to tell.

    Raises:
        EngineError: the engine is not installed, or its cluster is not there.
    """
    if engine == "local":
        yield None
        return
    from pairwright.engines import on_ray

    with on_ray.connected(ray, root, progress) as workers:
        yield workers
