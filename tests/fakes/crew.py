"""A crew in this process: stations and pieces travel as pickles, pieces are done in a shuffled order, and some are done twice."""

from __future__ import annotations

import pickle
import random
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pairwright.engines import Piece, Station


class DiedError(Exception):
    """Of whom the crew works for."""


@dataclass
class Shuffled:
    """Does up to 5 pieces before it tells of one; after ``lives`` pieces nobody is there to be told."""

    lives: int = 10**9
    done: list[tuple[str, int]] = field(default_factory=list)
    """Stations and numbers, in the order in which they were done."""
    largest: int = 0
    """Bytes of the largest piece."""

    @contextmanager
    def crew(self, *_: object) -> Iterator[Shuffled]:
        """In the place of :func:`pairwright.engines.crew`."""
        yield self

    def do(self, stations: Sequence[Station], pieces: Iterable[Piece]) -> Generator[tuple[int, Any]]:
        order, waiting = random.Random(0), iter(pieces)
        workers = pickle.loads(pickle.dumps(list(stations)))
        while some := list(islice(waiting, 5)):
            order.shuffle(some)
            for each in some:
                sent = pickle.dumps(each)
                self.largest = max(self.largest, len(sent))
                for worker in workers:
                    answer = worker.work(pickle.loads(sent))
                    worker.work(pickle.loads(sent))  # a piece whose worker died after it is done again
                    self.done.append((worker.label, each.number))
            for each in some:
                self.lives -= 1
                if self.lives < 0:
                    raise DiedError
                yield each.number, answer
