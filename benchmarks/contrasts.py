"""Contrasts between the arms of a judged benchmark: pooled over training seeds, corrected, with each seed beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.sides import number
from pairwright import stats
from pairwright.evaluate.join import Place, Scored

BASE = "base"
Families = Mapping[str, Sequence[tuple[str, str]]]
"""Name -> contrasts (arm, against); within a family of one metric, Holm corrects."""
PRIMARY = "imagereward"
RESAMPLES = 10_000
LEVEL = 0.05

Numbers = dict[Place, float]
"""One number per prompt and index of the noise."""
BySeed = Mapping[int, Mapping[str, Mapping[str, Numbers]]]
"""Training seed -> arm -> metric -> numbers."""


def numbers(scored: Scored) -> dict[str, dict[str, Numbers]]:
    """Arm -> metric -> numbers.

    Raises:
        SidesError: a picture has no score. Nothing may be left out silently.
    """
    return {
        arm: {
            metric: {place: number(f"{arm}, {place[0]}, picture {place[1]}", value, metric) for place, value in places.items()}
            for metric, places in metrics.items()
        }
        for arm, metrics in scored.values.items()
    }


def contrast(found: BySeed, metric: str, arm: str, against: str, seeds: Sequence[int]) -> dict[str, Any]:
    """``arm`` minus ``against`` over some training seeds together: all their pictures of a prompt are one cluster."""
    treatment: list[float] = []
    baseline: list[float] = []
    prompts: list[str] = []
    for seed in seeds:
        left, right = found[seed][arm][metric], found[seed][against][metric]
        places = sorted(left.keys() & right.keys())
        treatment += [left[place] for place in places]
        baseline += [right[place] for place in places]
        prompts += [prompt for prompt, _ in places]
    gain = stats.paired_difference(treatment, baseline, prompts, resamples=RESAMPLES)
    won = stats.win_rate(treatment, baseline, prompts, resamples=RESAMPLES)
    return {
        "metric": metric,
        "arm": arm,
        "against": against,
        "seeds": list(seeds),
        "difference": gain.mean,
        "low": gain.interval.low,
        "high": gain.interval.high,
        "p": gain.p,
        "won": won.rate,
        "prompts": gain.prompts,
        "pictures": gain.pictures,
    }


def contrasts(found: BySeed, families: Families) -> list[dict[str, Any]]:
    """All of them: pooled over the seeds, with Holm's correction within each family, and each seed's difference beside it.

    A family is one metric and one of the lists of contrasts.
    """
    seeds = sorted(found)
    rows: list[dict[str, Any]] = []
    for metric in next(iter(next(iter(found.values())).values())):
        for family, pairs in families.items():
            members = [contrast(found, metric, arm, against, seeds) for arm, against in pairs]
            for row, adjusted in zip(members, stats.holm([each["p"] for each in members]), strict=True):
                each_seed = [contrast(found, metric, row["arm"], row["against"], [seed]) for seed in seeds]
                rows.append({**row, "family": family, "p_holm": adjusted, "per_seed": each_seed, "verdict": ""})
                rows[-1]["verdict"] = verdict(rows[-1])
    return rows


def within(found: BySeed, prompts: Collection[str]) -> BySeed:
    """The numbers of some prompts alone."""
    return {
        seed: {
            arm: {
                metric: {place: value for place, value in values.items() if place[0] in prompts}
                for metric, values in metrics.items()
            }
            for arm, metrics in arms.items()
        }
        for seed, arms in found.items()
    }


def verdict(row: Mapping[str, Any]) -> str:
    """``better`` or ``worse`` where Holm's p is below the level and every seed has the sign; else what is missing."""
    if row["p_holm"] >= LEVEL:
        return "not shown"
    signs = {np.sign(each["difference"]) for each in row["per_seed"]}
    word = "better" if row["difference"] > 0 else "worse"
    return word if len(signs) == 1 else f"{word}, but not with every seed"


def means(found: BySeed) -> dict[str, dict[str, float]]:
    """Arm -> metric -> mean over prompts, all seeds together."""
    arms = next(iter(found.values()))
    result: dict[str, dict[str, float]] = {}
    for arm, metrics in arms.items():
        result[arm] = {}
        for metric in metrics:
            rows = [(prompt, value) for each in found.values() for (prompt, _), value in each[arm][metric].items()]
            result[arm][metric] = stats.prompt_mean([value for _, value in rows], [prompt for prompt, _ in rows])
    return result
