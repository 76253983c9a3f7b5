"""In which order filters are asked: cheap ones first, wherever that provably keeps the same pictures.

A threshold (``at_least``) looks at one picture: whether a picture passes several thresholds does not depend on which is
asked first, so that thresholds that stand side by side change places freely. ``above_mean`` and ``top`` look at the set that
reaches them. They stay where the recipe puts them, and nothing moves past them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from pairwright import catalogue, literals, places, plugins
from pairwright.options import Filter, Plugin

BY_ITSELF = "at_least"
"""The rule whose verdict depends on the picture alone."""
_FLOP_PER_BYTE = 90.0
"""Of a network that the catalogue does not know: two operations per parameter (4 bytes) at 180 positions, as in a plan."""


def cheap_first(filters: Sequence[Filter]) -> list[Filter]:
    """The filters in the order of their rewards' work, as far as they may move; the recipe's order where the work is the same."""
    ordered: list[Filter] = []
    for moves, group in groupby(filters, key=lambda each: each.rule == BY_ITSELF):
        side_by_side = list(group)
        ordered += sorted(side_by_side, key=lambda each: work(each.reward)) if moves else side_by_side
    return ordered


def work(reward: Plugin) -> float:
    """Floating point operations per picture: 0 without weights, infinite where nobody knows (a server, an answer in words)."""
    if "served_model" in {each.name for each in plugins.signature("rewards", reward.name).options}:
        return math.inf
    return sum(_of_network(name) for name in literals.weights_of("rewards", reward))


def _of_network(name: str) -> float:
    known = catalogue.known(name)
    if known is not None:
        return known.flop.get("score", math.inf)
    size = places.place(name, "weights", places.Hub(silent="not asked for an order")).bytes
    return math.inf if size is None else _FLOP_PER_BYTE * size
