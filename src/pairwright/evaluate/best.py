"""Which of several models is best by one metric, and from which ones it cannot be told.

The best is chosen by the numbers that it is then tested with, so its differences to the others are tested as if all pairs of
models had been compared: p-values are multiplied by the number of pairs (Bonferroni), and intervals are as much wider. That
holds whichever model wins. Its own score is still the luckiest of several, hence a little too high: judge it on other prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pairwright import options, stats
from pairwright.evaluate.join import CompareError, Scored, paired
from pairwright.records import Column, Unscored

_MOST = 200_000


def best(scored: Scored, column: Column, chosen: options.Compare) -> dict[str, Any]:
    """The model with the best mean over the places that all models have, and how the others differ from it.

    Returns:
        ``model``; ``alike``, those that were not shown to be worse; ``rows``, for every other model ``difference`` (it minus the
        best), ``low``, ``high`` and ``p``, the last three corrected.

    Raises:
        CompareError: there is one model only, or they have no place in common.
    """
    values = {label: each[column.name] for label, each in scored.values.items()}
    if len(values) < 2:
        raise CompareError("which model is best is asked of several; there is one")
    places = set.intersection(
        *({place for place, value in each.items() if not isinstance(value, Unscored)} for each in values.values())
    )
    if not places:
        raise CompareError(f"the models share no picture that {column.name} scored")
    common = {label: {place: each[place] for place in sorted(places)} for label, each in values.items()}
    prompts = [prompt for prompt, _ in sorted(places)]
    sign = 1 if column.higher_is_better else -1
    means = {label: stats.prompt_mean(_numbers(each), prompts) for label, each in common.items()}
    first = max(means, key=lambda label: sign * means[label])
    rows = [_row(label, common, first, chosen) for label in values if label != first]
    level = 1 - chosen.confidence
    alike = [row["model"] for row in rows if row["p"] >= level or row["low"] is None or row["low"] <= 0 <= row["high"]]
    return {"model": first, "mean": means[first], "alike": alike, "rows": rows}


def _row(label: str, common: Mapping[str, Mapping[Any, Any]], first: str, chosen: options.Compare) -> dict[str, Any]:
    pairs = paired(dict(common[label]), dict(common[first]))
    tests = len(common) * (len(common) - 1) // 2
    level = (1 - chosen.confidence) / tests
    # The tail at that level must hold some twenty resamples.
    resamples = max(chosen.resamples, min(_MOST, math.ceil(40 / level)))
    found = stats.paired_difference(
        pairs.treatment, pairs.baseline, pairs.prompts, resamples=resamples, confidence=1 - level, seed=chosen.seed
    )
    low, high = (bound if math.isfinite(bound) else None for bound in (found.interval.low, found.interval.high))
    return {"model": label, "difference": found.mean, "low": low, "high": high, "p": min(1.0, found.p * tests)}


def _numbers(values: Mapping[Any, Any]) -> list[float]:
    return [float(each) for each in values.values()]
