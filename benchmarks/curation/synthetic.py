"""Made-up scores of the paper's size: how many repaints each order needs, without a picture.

25,096 photographs, of which 10,475 are more colourful than the mean and 4,041 of these would pass the gap, as in the paper's
Table 8. Rank and gap are normal with a given correlation; what is drawn is only who is who.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pairwright.curate.choosing import Choice
from pairwright.curate.repaint import CANDIDATES_PER_SHARD, Outcome
from pairwright.options import Curate, Filter, Keep
from pairwright.records import Rejected
from pairwright.selection import Funnel, Number
from pairwright.store import Node

PHOTOGRAPHS, COLOURFUL, PASSING, KEPT = 25_096, 10_475, 4_041, 512
GAP = 0.52
_NOWHERE = (Node(Path("nowhere"), "repaint"), 0, 0)


@dataclass(frozen=True)
class Scores:
    """What the scorers would say, by photograph."""

    colour: Mapping[str, float]
    rank: Mapping[str, float]
    gap: Mapping[str, float]


@dataclass(frozen=True)
class Chosen:
    """What a curation came to."""

    kept: Sequence[str]
    funnel: Sequence[Mapping[str, Any]]
    repaints: int
    not_reached: int


def draw(seed: int, correlation: float) -> Scores:
    """One set of scores; ``correlation`` is that of rank and gap."""
    generator = np.random.default_rng([seed, round(1000 * correlation) % 2**32])
    names = [f"{each:016x}" for each in generator.permutation(PHOTOGRAPHS)]
    # The mean lies between -1 and 1, whatever is drawn: so many are above it, exactly.
    spread = 1 + np.abs(generator.standard_normal(PHOTOGRAPHS))
    colour = np.where(generator.permutation(PHOTOGRAPHS) < COLOURFUL, spread, -spread)
    rank, other = generator.standard_normal((2, PHOTOGRAPHS))
    gap = correlation * rank + np.sqrt(1 - correlation**2) * other
    gap += GAP - np.sort(gap[colour > colour.mean()])[-PASSING]
    colours, ranks, gaps = (dict(zip(names, each.tolist(), strict=True)) for each in (colour, rank, gap))
    return Scores(colours, ranks, gaps)


@dataclass
class Repaints:
    """Candidates whose gaps are known beforehand; counts those that somebody asked for."""

    ranking: Sequence[str]
    gaps: Mapping[str, float]
    asked: list[str] = field(default_factory=list)

    @property
    def candidates(self) -> int:
        """How many there are."""
        return len(self.ranking)

    @property
    def shards(self) -> int:
        """How many shards all candidates make."""
        return -(-len(self.ranking) // CANDIDATES_PER_SHARD)

    def spread(self, candidates: int) -> list[int]:
        """Not needed: the threshold is given."""
        raise NotImplementedError

    def outcomes(self, numbers: Iterable[int]) -> Generator[list[Outcome]]:
        """As a real curation's shards."""
        for number in numbers:
            ids = self.ranking[number * CANDIDATES_PER_SHARD : (number + 1) * CANDIDATES_PER_SHARD]
            self.asked += ids
            yield [Outcome(each, 0, 0.25, {}, None, self.gaps[each], 0.0, _NOWHERE) for each in ids]


def choose(scores: Scores, *, eager: bool, colour_first: bool = True) -> Chosen:
    """Curation's own decisions over made-up scores.

    Args:
        scores: see :func:`draw`.
        eager: the published order: everything is repainted before it is ranked.
        colour_first: filter by colour before anything is repainted.
    """
    options = Curate.model_validate(
        {
            "source": {"name": "imagefolder", "path": "nowhere"},
            "filters": [{"reward": "colorfulness", "rule": "above_mean"}] if colour_first else [],
            "gap": {"reward": "pickscore", "at_least": GAP},
            "keep": {"reward": "pickscore", "top": KEPT},
            "eager": eager,
        }
    )

    def numbers(ids: Sequence[str], rule: Filter | Keep) -> dict[str, Number]:
        known = scores.rank if isinstance(rule, Keep) else scores.colour
        return {each: known[each] for each in ids}

    funnel = Funnel()
    choice = Choice(options, list(scores.colour), numbers, funnel)
    ranking = list(choice.rank(choice.filtered()))
    repaints = Repaints(ranking, scores.gap)
    passed, tried = choice.walk(repaints, choice.threshold(repaints))
    kept = choice.best(passed)
    funnel.rejected += [Rejected(each, "not reached", "enough had passed") for each in ranking[tried:]]
    return Chosen([each.id for each in kept], funnel.steps, len(repaints.asked), len(ranking) - tried)
