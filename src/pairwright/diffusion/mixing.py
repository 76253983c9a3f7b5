"""Several sets of pairs in one training, each with its share of the samples ("Rich Preference Optimization": human ones and edits).

One pass is long enough for every pair of every set to come at least once: a set whose share is larger than its size would give it
comes several times over meanwhile, in an order of its own each time. Which set a sample is of is a keyed permutation of the pass,
so that shares hold over a pass exactly, and over a step as closely as drawing without replacement makes them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

from pairwright import seeds


@dataclass(frozen=True)
class Mix:
    """How the samples of a training are drawn from several sets that stand one after the other."""

    sizes: tuple[int, ...]
    """Pairs of each set."""
    shares: tuple[float, ...]
    """Above 0, in any unit."""

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Samples of each set in one pass: shares of its length, rounded by the largest remainders."""
        total = sum(self.shares)
        length = max(math.ceil(size * total / share - 1e-9) for size, share in zip(self.sizes, self.shares, strict=True))
        exact = [share * length / total for share in self.shares]
        counts = [math.floor(each + 1e-9) for each in exact]
        for place in sorted(range(len(exact)), key=lambda place: counts[place] - exact[place])[: length - sum(counts)]:
            counts[place] += 1
        return tuple(counts)

    def sample(self, place: int, seed: int) -> tuple[int, int]:
        """Of the sample at a place of the endless sequence: its row among all sets, and the how many-th time its pair comes."""
        ends, starts = list(accumulate(self.counts)), [0, *accumulate(self.sizes)]
        number, at = divmod(place, ends[-1])
        at = _order(ends[-1], seed, number, -1)[at]
        of = bisect_right(ends, at)
        own = number * self.counts[of] + at - (ends[of] - self.counts[of])
        again, within = divmod(own, self.sizes[of])
        return starts[of] + _order(self.sizes[of], seed, again, of)[within], again


@lru_cache(maxsize=16)
def _order(count: int, seed: int, number: int, of: int) -> list[int]:
    return seeds.permutation(count, seed, "mix", of, number)
