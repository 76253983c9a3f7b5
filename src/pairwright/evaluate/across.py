"""Comparisons of several runs beside each other: what one training's luck is worth.

An interval over prompts says how sure one pair of models is; it says nothing of what another training seed would have given. Runs
that differ in their seed alone do: the spread of a difference over them, and an interval of their mean by Student's t.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairwright import stats, wording
from pairwright.evaluate.formats import FORMATS, aligned
from pairwright.evaluate.join import CompareError
from pairwright.store import Store, write_text
from pairwright.suggestions import hint


@dataclass(frozen=True)
class Found:
    """One run's comparison."""

    run: str
    step: str
    recipe: Mapping[str, Any]
    comparison: Mapping[str, Any]


@dataclass(frozen=True)
class Spread:
    """A difference to the baseline over several runs."""

    metric: str
    model: str
    differences: tuple[float, ...]
    """One per run, in their order."""
    mean: float
    deviation: float
    """Standard deviation over runs."""
    low: float | None
    high: float | None
    """Of the mean, by Student's t with one degree of freedom less than runs; none for one run."""


def read(folder: Path, step: str = "") -> Found:
    """The comparison of a run.

    Raises:
        CompareError: no run, no finished compare step, or several and none is named.
    """
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CompareError(f"{folder} is not a run: run.json cannot be read ({error})") from error
    done = {
        name: entry for name, entry in record["steps"].items() if entry["verb"] == "compare" and entry.get("state") == "complete"
    }
    if (step and step not in done) or (not step and len(done) != 1):
        what = f"no finished compare step {step!r}" if step else f"{len(done)} finished compare steps; name one with --step"
        raise CompareError(f"{folder} has {what}." + hint(step, done))
    name = step or next(iter(done))
    node = Store(folder.resolve().parent).open("compare", done[name]["fingerprint"])
    found = json.loads((node.path / "comparison.json").read_text(encoding="utf-8"))
    return Found(folder.name, name, record.get("recipe", {}), found)


def spread(found: Sequence[Found]) -> list[Spread]:
    """Every difference that all runs have, over the runs.

    Raises:
        CompareError: no metric and model is common to them.
    """
    rows = [{(row["metric"], row["model"]): row["difference"] for row in each.comparison["comparisons"]} for each in found]
    shared = [key for key in rows[0] if all(key in each for each in rows)]
    if not shared:
        raise CompareError(f"{', '.join(each.run for each in found)} have no metric of a model of the same name in common")
    confidence = found[0].comparison["confidence"]
    return [_spread(*key, [each[key] for each in rows], confidence) for key in shared]


def _spread(metric: str, model: str, values: Sequence[float], confidence: float) -> Spread:
    mean, deviation, interval = stats.mean_interval(values, confidence=confidence)
    ends = (interval.low, interval.high) if len(values) > 1 else (None, None)
    return Spread(metric, model, tuple(values), mean, deviation, *ends)


def said(found: Sequence[Found]) -> str:
    """Runs beside each other, for a terminal: each run's table where there is one, else the spread over them."""
    if len(found) == 1:
        return FORMATS[".txt"](found[0].comparison)
    confidence = wording.percent(found[0].comparison["confidence"])
    header = ["metric", "model", *(each.run for each in found), "mean", "sd", f"{confidence} interval of the mean"]
    lines = aligned([header, *(_cells(each) for each in spread(found))], left=2)
    notes = [f"Warning: {each}" for each in differing(found)]
    notes += [f"{each.run}: {text}" for each in found for text in wording.concerns(each.comparison)]
    return "\n".join([*lines, "", _NOTE, *notes]) + "\n"


_NOTE = (
    "Differences to each run's own baseline, over runs: what another training seed would give. Prompts are the same in all, so "
    "this says nothing about other prompts; the intervals within a run do."
)


def _cells(each: Spread) -> list[str]:
    signed = [wording.number(value, sign=True) for value in (*each.differences, each.mean)]
    ends = (
        "none"
        if each.low is None or each.high is None
        else " .. ".join(wording.number(end, sign=True) for end in (each.low, each.high))
    )
    return [each.metric, each.model, *signed, wording.number(each.deviation), ends]


def differing(found: Sequence[Found]) -> list[str]:
    """Sentences about options, other than seeds, in which the runs differ: then the spread is not one over seeds."""
    first = dict(_fields(found[0].recipe.get("step", {})))
    lines = []
    for each in found[1:]:
        other = dict(_fields(each.recipe.get("step", {})))
        names = sorted(name for name in first.keys() | other.keys() if first.get(name) != other.get(name))
        names = [name for name in names if name.rpartition(".")[2] != "seed"]
        if names:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            lines.append(
                f"{each.run} differs from {found[0].run} in more than seeds ({shown}): the spread is not over seeds alone."
            )
    return lines


def _fields(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, each in value.items():
            yield from _fields(each, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def write(found: Sequence[Found], out: Path) -> list[Path]:
    """Write the tables of one run's comparison, or ``spread.txt`` and ``spread.json`` of several, into a folder."""
    if len(found) == 1:
        paths = [out / f"comparison{suffix}" for suffix in FORMATS]
        for path in paths:
            write_text(path, FORMATS[path.suffix](found[0].comparison))
        return paths
    rows = {"runs": [each.run for each in found], "spread": [asdict(each) for each in spread(found)]}
    write_text(out / "spread.txt", said(found))
    write_text(out / "spread.json", json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    return [out / "spread.txt", out / "spread.json"]


def compare_runs(folders: Sequence[Path], step: str = "", out: Path | None = None) -> str:
    """Read, write next to the first run (or to ``out``), and say.

    Raises:
        CompareError: see :func:`read` and :func:`spread`.
    """
    found = [read(folder, step) for folder in folders]
    paths = write(found, out if out is not None else folders[0])
    return said(found) + "\n".join(str(path) for path in paths)
