"""Models against a baseline: paired by prompt and initial noise, clustered by prompt, corrected for many metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pairwright import options, stats, wording
from pairwright.context import Context
from pairwright.evaluate import best, concerns, curves
from pairwright.evaluate.formats import FORMATS
from pairwright.evaluate.join import CompareError, Pairs, Scored, paired, read_scored
from pairwright.evaluate.lineage import Ancestry
from pairwright.recipe import checkpoints
from pairwright.records import Column, Unscored
from pairwright.store import Node, Store, write_json, write_text

VERSION = 2


def compare(chosen: options.Compare, context: Context) -> Node:
    """Compare every model of the ``score`` steps among the inputs with the baseline.

    The result holds ``comparison.json`` (see :func:`comparison`) and the same as tables to read: ``comparison.md``, ``.txt``,
    ``.csv``, ``.tex``; ``.svg`` is a radar of the means, and ``comparison-curves.svg`` shows checkpoints over their steps.

    Raises:
        CompareError: no input has scores, a label or column is unknown, or two models share no scored picture.
    """
    meaning = {"version": VERSION, **chosen.meaning()}
    node = context.node("compare", meaning, [each.fingerprint for each in context.inputs.values()])
    if node.complete:
        return node
    scored = read_scored(context)
    found = with_concerns(comparison(scored, chosen), scored, chosen, context.store)
    write_json(node.path / "comparison.json", found)
    for suffix, write in FORMATS.items():
        write_text(node.path / f"comparison{suffix}", write(found))
    if at := checkpoints.places(found["models"]):
        write_text(node.path / "comparison-curves.svg", curves.curves(found, at, "steps of training"))
    node.finish(baseline=found["baseline"], primary=found["primary"], models=found["models"])
    for each in [*wording.findings(found), *wording.concerns(found)]:
        context.progress.say(each)
    return node


def with_concerns(found: dict[str, Any], scored: Scored, chosen: options.Compare, store: Store) -> dict[str, Any]:
    """A comparison with its ``warnings`` and ``alarms``; see :mod:`pairwright.evaluate.concerns`.

    Raises:
        CompareError: a column that training is said to have aimed at is unknown.
    """
    ancestry = Ancestry(store)
    lineages = {label: ancestry.of(node) for label, node in scored.pictures.items()}
    for name in chosen.aimed:
        _known("aimed", name, [column.name for column in scored.columns])
    reward = scored.rewards.get(found["primary"], found["primary"])
    return {
        **found,
        "warnings": concerns.warnings(found, lineages, list(scored.texts.values()), reward),
        "alarms": concerns.alarms(found, concerns.aimed_at(lineages, scored.rewards, chosen.aimed)),
    }


def comparison(scored: Scored, chosen: options.Compare) -> dict[str, Any]:
    """Everything that is said of the models, as plain JSON values (infinite bounds are null).

    Two families are corrected by Holm, each over all models: the primary metric, and all others.

    Raises:
        CompareError: a label or column is unknown, or two models share no scored picture.
    """
    labels = list(scored.values)
    baseline = _known("baseline", chosen.baseline or labels[0], labels)
    names = [column.name for column in scored.columns]
    primary = _known("primary", chosen.primary or names[0], names)
    rows = [_row(scored, column, label, baseline, chosen) for column in scored.columns for label in labels if label != baseline]
    for family in (True, False):
        members = [row for row in rows if (row["metric"] == primary) is family]
        for row, adjusted in zip(members, stats.holm([row["p"] for row in members]), strict=True):
            row["p_holm"] = adjusted
    by_name = {column.name: column for column in scored.columns}
    for row in rows:
        row["verdict"] = _verdict(row, by_name[row["metric"]], 1 - chosen.confidence)
    ranking = {"best": best.best(scored, by_name[primary], chosen)} if chosen.best else {}
    return {
        "baseline": baseline,
        "primary": primary,
        "models": labels,
        "confidence": chosen.confidence,
        "resamples": chosen.resamples,
        "seed": chosen.seed,
        "prompts": len({prompt for prompt, _ in scored.categories}),
        "metrics": [_metric(scored, column, primary) for column in scored.columns],
        "comparisons": rows,
        **ranking,
    }


def _known(what: str, name: str, there: Sequence[str]) -> str:
    if name not in there:
        raise CompareError(f"{what} {name!r} is not among {', '.join(there)}")
    return name


def _metric(scored: Scored, column: Column, primary: str) -> dict[str, Any]:
    means = {}
    for label, values in scored.values.items():
        there = {place: value for place, value in values[column.name].items() if not isinstance(value, Unscored)}
        means[label] = stats.prompt_mean(list(there.values()), [prompt for prompt, _ in there]) if there else None
    return {
        "name": column.name,
        "unit": column.unit,
        "higher_is_better": column.higher_is_better,
        "primary": column.name == primary,
        "means": means,
    }


def _row(scored: Scored, column: Column, label: str, baseline: str, chosen: options.Compare) -> dict[str, Any]:
    pairs = paired(scored.values[label][column.name], scored.values[baseline][column.name])
    if not pairs.places:
        raise CompareError(
            f"{label!r} and {baseline!r} share no picture scored by {column.name} "
            f"({pairs.unscored} unscored, {pairs.unmatched} without a counterpart)"
        )
    said = _measure(pairs, column, chosen)
    return {
        "metric": column.name,
        "model": label,
        **said,
        "unscored": pairs.unscored,
        "unmatched": pairs.unmatched,
        "categories": list(_categories(scored, pairs, column, chosen)),
    }


def _measure(pairs: Pairs, column: Column, chosen: options.Compare) -> dict[str, Any]:
    how: dict[str, Any] = {"resamples": chosen.resamples, "confidence": chosen.confidence, "seed": chosen.seed}
    gain = stats.paired_difference(pairs.treatment, pairs.baseline, pairs.prompts, **how)
    won = stats.win_rate(pairs.treatment, pairs.baseline, pairs.prompts, higher_is_better=column.higher_is_better, **how)
    return {
        "baseline_mean": stats.prompt_mean(pairs.baseline, pairs.prompts),
        "difference": gain.mean,
        "low": _finite(gain.interval.low),
        "high": _finite(gain.interval.high),
        "standard_error": _finite(gain.standard_error),
        "p": gain.p,
        "win_rate": won.rate,
        "win_low": _finite(won.interval.low),
        "win_high": _finite(won.interval.high),
        "wins": won.wins,
        "ties": won.ties,
        "losses": won.losses,
        "detectable": _finite(stats.detectable_effect(gain.standard_error, confidence=chosen.confidence)),
        "prompts": gain.prompts,
        "pictures": gain.pictures,
    }


def _categories(scored: Scored, pairs: Pairs, column: Column, chosen: options.Compare) -> Iterator[dict[str, Any]]:
    """The same within each category, where there are several. Not corrected: they describe, they do not decide."""
    names = sorted({scored.categories[place] for place in pairs.places})
    if len(names) < 2:
        return
    for name in names:
        rows = [index for index, place in enumerate(pairs.places) if scored.categories[place] == name]
        part = Pairs(
            tuple(pairs.places[index] for index in rows),
            tuple(pairs.treatment[index] for index in rows),
            tuple(pairs.baseline[index] for index in rows),
            0,
            0,
        )
        yield {"category": name, **_measure(part, column, chosen)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _verdict(row: dict[str, Any], column: Column, level: float) -> str:
    """``better``, ``worse`` or ``not shown``; ``... before correction`` where only Holm takes it back."""
    if row["low"] is None or row["low"] <= 0 <= row["high"] or row["p"] >= level:
        return "not shown"
    word = "better" if (row["difference"] > 0) is column.higher_is_better else "worse"
    return word if row["p_holm"] < level else f"{word} before correction"
