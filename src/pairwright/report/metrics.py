"""The table of metrics, and the verdict that heads the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pairwright import wording
from pairwright.recipe import checkpoints
from pairwright.report.charts import Chart, Series, chart
from pairwright.report.gather import Run, Step


@dataclass(frozen=True)
class Bar:
    """An interval on an axis of 0..100; the axis holds 0."""

    low: float
    high: float
    mean: float
    zero: float


@dataclass(frozen=True)
class Line:
    """One model on one metric."""

    model: str
    mean: str
    difference: str
    interval: str
    bar: Bar | None
    win_rate: str
    wins: str
    p: str
    p_holm: str
    detectable: str
    verdict: str
    """``better``, ``worse``, ``not shown``, ``better before correction``, ``worse before correction``."""
    dropped: int
    categories: tuple[Line, ...] = ()

    @property
    def tone(self) -> str:
        """``better``, ``worse`` or ``none``: what the page colours."""
        return self.verdict if self.verdict in {"better", "worse"} else "none"


@dataclass(frozen=True)
class Metric:
    """One metric on all models."""

    name: str
    unit: str
    better: str
    """``higher is better`` or the contrary."""
    primary: bool
    baseline: str
    """The baseline's mean."""
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Verdict:
    """What the primary metric says of one model."""

    model: str
    metric: str
    unit: str
    line: Line
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """One compare step, or the table of a sweep."""

    name: str
    baseline: str
    primary: str
    named: bool
    """Whether the recipe names the primary metric."""
    confidence: str
    resamples: int
    prompts: int
    metrics: tuple[Metric, ...]
    verdicts: tuple[Verdict, ...]
    alarms: tuple[str, ...]
    """Models that may have learned the scorer rather than the picture."""
    warnings: tuple[str, ...]
    """Why a number may mean less than it seems."""
    best: str
    """Which model is best, where that was asked."""
    chart: tuple[Chart, ...]
    """A curve per metric over the steps of training, where the models are checkpoints of one."""
    used: tuple[str, ...] = ()
    """Steps of this run that selected by the primary metric's reward: then it proves little."""


def comparison(run: Run, step: Step) -> Comparison | None:
    """What a compare step found; None before it is done."""
    found = step.json("comparison.json")
    if found is None:
        return None
    used = () if found.get("warnings") else tuple(_selected_by(run, step, found["primary"]))
    return replace(said(found, step.name, named=step.options.get("primary") is not None), used=used)


def said(found: Mapping[str, Any], name: str, *, named: bool = True) -> Comparison:
    """A comparison in words.

    Args:
        found: as ``compare`` writes it.
        name: of the step, or of the table.
        named: whether the recipe names the primary metric.
    """
    metrics = tuple(_metric(found, each) for each in sorted(found["metrics"], key=lambda each: not each["primary"]))
    return Comparison(
        name=name,
        baseline=found["baseline"],
        primary=found["primary"],
        named=named,
        confidence=wording.percent(found["confidence"]),
        resamples=found["resamples"],
        prompts=found["prompts"],
        metrics=metrics,
        verdicts=tuple(_verdicts(found, metrics[0])),
        alarms=tuple(each["said"] for each in found.get("alarms", ())),
        warnings=tuple(found.get("warnings", ())),
        best=wording.ranking(found) if "best" in found else "",
        chart=over(found, checkpoints.places(found["models"]), "the training's steps"),
    )


def over(found: Mapping[str, Any], at: Mapping[str, float], axis: str) -> tuple[Chart, ...]:
    """A chart per metric: means of the models at their places on an axis, the baseline's beside them as a second line."""
    charts = []
    for metric in found["metrics"]:
        spots = sorted((at[label], value) for label, value in metric["means"].items() if label in at and value is not None)
        level = metric["means"][found["baseline"]]
        if not spots or level is None:
            continue
        places = [place for place, _ in spots]
        lines = [Series("mean", "winner", places, [value for _, value in spots])]
        if found["baseline"] not in at:
            lines.append(Series(found["baseline"], "plain", places, [level] * len(places)))
        better = "higher is better" if metric["higher_is_better"] else "lower is better"
        charts.append(chart(metric["name"], lines, note=f"Mean over {axis}; {better}.", exact=True))
    return tuple(each for each in charts if each is not None)


def _metric(found: Mapping[str, Any], metric: Mapping[str, Any]) -> Metric:
    rows = [row for row in found["comparisons"] if row["metric"] == metric["name"]]
    reach = _reach([*rows, *(each for row in rows for each in row["categories"])])
    baseline = metric["means"][found["baseline"]]
    return Metric(
        name=metric["name"],
        unit=metric["unit"],
        better="higher is better" if metric["higher_is_better"] else "lower is better",
        primary=metric["primary"],
        baseline="none" if baseline is None else wording.number(baseline, digits=4),
        lines=tuple(_line(row, row["model"], reach) for row in rows),
    )


def _reach(rows: list[dict[str, Any]]) -> tuple[float, float]:
    ends = [0.0, *(row[end] for row in rows for end in ("low", "high", "difference") if row[end] is not None)]
    low, high = min(ends), max(ends)
    room = 0.08 * (high - low) or 1.0
    return low - room, high + room


def _line(row: Mapping[str, Any], name: str, reach: tuple[float, float]) -> Line:
    nothing = row["low"] is None
    return Line(
        model=name,
        mean=wording.number(row["baseline_mean"] + row["difference"], digits=4),
        difference=wording.number(row["difference"], sign=True),
        interval="none" if nothing else f"{wording.number(row['low'], sign=True)} to {wording.number(row['high'], sign=True)}",
        bar=None if nothing else Bar(*(_at(each, reach) for each in (row["low"], row["high"], row["difference"], 0.0))),
        win_rate=wording.percent(row["win_rate"]),
        wins=f"{row['wins']} won, {row['ties']} tied, {row['losses']} lost",
        p=wording.probability(row["p"]),
        p_holm=wording.probability(row["p_holm"]) if "p_holm" in row else "",
        detectable="none" if row["detectable"] is None else wording.number(row["detectable"]),
        verdict=row.get("verdict", ""),
        dropped=row.get("unscored", 0) + row.get("unmatched", 0),
        categories=tuple(_line(each, each["category"] or "none", reach) for each in row.get("categories", ())),
    )


def _at(value: float, reach: tuple[float, float]) -> float:
    return round(100 * (value - reach[0]) / (reach[1] - reach[0]), 2)


def _verdicts(found: Mapping[str, Any], metric: Metric) -> Iterator[Verdict]:
    rows = [row for row in found["comparisons"] if row["metric"] == found["primary"]]
    for row, line in zip(rows, metric.lines, strict=True):
        yield Verdict(
            model=row["model"],
            metric=metric.name,
            unit=metric.unit,
            line=line,
            sentence=plain(row, found),
        )


def plain(row: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The finding in words for somebody who has never met an interval."""
    if row["low"] is None:
        return f"No difference shown: {row['prompts']} prompts are too few to tell {row['model']} from {found['baseline']}."
    if wording.identical(row):
        return f"No difference at all: every picture scores as that of {found['baseline']} does."
    ends = f"{wording.number(row['low'], sign=True)} and {wording.number(row['high'], sign=True)}"
    where = f"the true difference lies between {ends} ({wording.percent(found['confidence'])} interval)"
    wins = f"Its picture wins {wording.percent(row['win_rate'])} of the time."
    if row["verdict"] == "not shown":
        least = wording.number(row["detectable"])
        return f"No difference shown: {where}, which holds 0. {row['prompts']} prompts show one of {least} four times in five."
    if row["verdict"].endswith("before correction"):
        return f"Not settled: {where}, but of several models compared one may look so by chance. {wins}"
    return f"{row['verdict'].capitalize()}: {where}. {wins}"


def _selected_by(run: Run, step: Step, primary: str) -> Iterator[str]:
    """Curate steps whose filters, gap or ranking use the reward behind the primary column."""
    reward = primary
    for name in step.inputs:
        source = run.step(name)
        tables = (source.json("tables.json") if source else None) or {}
        reward = next((each["reward"] for each in tables.get("columns", ()) if each["name"] == primary), reward)
    for curate in run.of("curate"):
        rules = [*(curate.options.get("filters") or ()), curate.options.get("gap"), curate.options.get("keep")]
        if any(rule and _name(rule.get("reward")) == reward for rule in rules):
            yield curate.name


def _name(plugin: Any) -> str:
    return str(plugin.get("name", "")) if isinstance(plugin, Mapping) else str(plugin)
