"""Models of several runs in one table: a sweep's rows, or any runs that made pictures for the same prompts.

All rows share prompts and initial noise, so they are compared as models of one run are: paired, clustered by prompt, corrected
over all rows. What a paper prints for the same rows is shown beside it, in a block of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairwright import hardware, options, published
from pairwright.context import Context
from pairwright.evaluate import curves, planes
from pairwright.evaluate.compare import comparison, with_concerns
from pairwright.evaluate.formats import FORMATS
from pairwright.evaluate.join import CompareError, Scored, read_scored
from pairwright.evaluate.printed import Block, beside, block, measured
from pairwright.recipe import Row
from pairwright.store import Store, write_json, write_text
from pairwright.suggestions import hint

NAME = "sweep"
"""Of the files that are written: ``sweep.json``, ``sweep.md``, ..."""


@dataclass(frozen=True)
class Member:
    """A run, as far as the table reads it."""

    folder: Path
    row: Row
    recipe: Mapping[str, Any]
    step: str
    """Its compare step."""
    scored: Scored
    seconds: float
    """That its own steps took; what the store had from other runs took none."""
    gpu_hours: float

    @property
    def options(self) -> options.Compare:
        """How the run compares its own models."""
        table = self.recipe["step"][self.step]
        return options.Compare.model_validate({key: value for key, value in table.items() if key not in {"verb", "from"}})

    @property
    def baseline(self) -> str:
        """Which of its models the others are compared with."""
        return self.options.baseline or next(iter(self.scored.values))


def read(folder: Path, step: str = "") -> Member:
    """A run's scores.

    Raises:
        CompareError: no run, no compare step or several of which none is named, or the scores are not finished.
    """
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CompareError(f"{folder} is not a run: run.json cannot be read ({error})") from error
    steps, recipe = record["steps"], record.get("recipe", {})
    found = [name for name, entry in steps.items() if entry["verb"] == "compare" and not recipe["step"][name].get("best")]
    if (step and step not in found) or (not step and len(found) != 1):
        what = f"no compare step {step!r}" if step else f"{len(found)} compare steps; name one with --step"
        raise CompareError(f"{folder} has {what}." + hint(step, found))
    name = step or found[0]
    waiting = [each for each in steps[name]["from"] if steps[each].get("state") != "complete"]
    if waiting:
        raise CompareError(f"{folder}: {', '.join(waiting)} is not finished; run it again, it goes on where it was")
    store = Store(folder.resolve().parent)
    inputs = {each: store.open(steps[each]["verb"], steps[each]["fingerprint"]) for each in steps[name]["from"]}
    row = Row.model_validate(recipe["row"]) if recipe.get("row") else Row(sweep=folder.name, label=folder.name)
    spent = [(float(entry.get("seconds") or 0), entry.get("ran_on") or {}) for entry in steps.values()]
    hours = sum(hardware.gpu_hours(*each) for each in spent)
    return Member(folder, row, recipe, name, read_scored(Context(store, inputs)), sum(each for each, _ in spent), hours)


def joined(members: Sequence[Member]) -> Scored:
    """The rows of a table: the first run's baseline and what its table names besides, then each run's own model.

    A run without a label (a recipe with ``[table]`` and no ``[sweep]``) brings all its models.

    Raises:
        CompareError: a model that is not there, two rows of one name, or runs that share no metric.
    """
    first = members[0]
    shared = [column for column in first.scored.columns if all(column in each.scored.columns for each in members)]
    if not shared:
        raise CompareError(f"{', '.join(each.folder.name for each in members)} share no metric")
    scored = Scored(tuple(shared), {}, dict(first.scored.categories), dict(first.scored.texts), dict(first.scored.rewards))
    for label, (member, model) in _rows(members).items():
        scored.values[label] = {column.name: member.scored.values[model][column.name] for column in shared}
        scored.pictures[label] = member.scored.pictures[model]
    return scored


def _rows(members: Sequence[Member]) -> dict[str, tuple[Member, str]]:
    first = members[0]
    rows = {label: (first, _model(first, label)) for label in (first.baseline, *first.row.table.also)}
    for member in members:
        if not member.row.label:
            rows |= {label: (member, label) for label in member.scored.values}
            continue
        if member.row.label in rows:
            raise CompareError(f"two rows are called {member.row.label!r} ({rows[member.row.label][0].folder} and {member.folder})")
        rows[member.row.label] = member, _model(member, member.row.table.model or list(member.scored.values)[-1])
    return rows


def _model(member: Member, label: str) -> str:
    if label not in member.scored.values:
        raise CompareError(f"{member.folder} has no model {label!r}." + hint(label, member.scored.values))
    return label


def together(folders: Sequence[Path], step: str = "") -> dict[str, Any]:
    """The comparison of all rows (see :func:`pairwright.evaluate.compare.comparison`), with what belongs to the table.

    That is ``sweep`` the table's name, ``runs`` the runs by row with their seconds, ``pictures`` by row, ``positions`` where the
    only axis is one of numbers, ``planes`` the figures that the table asks for, ``measured`` the table in the
    paper's form, ``published`` what the paper prints.

    Raises:
        CompareError: see :func:`read` and :func:`joined`.
        pairwright.published.PublishedError: the numbers that the table names are not there.
    """
    members = [read(folder, step) for folder in folders]
    first = members[0]
    scored = joined(members)
    chosen = first.options.model_copy(update={"baseline": first.baseline, "best": False})
    found = with_concerns(comparison(scored, chosen), scored, chosen, Store(first.folder.resolve().parent))
    named = first.row.table.published
    runs = {each.row.label or each.row.sweep: _cost(each) for each in members}
    return {
        **found,
        "sweep": first.row.sweep,
        "description": first.recipe.get("description", ""),
        "runs": runs,
        "pictures": {label: node.fingerprint for label, node in scored.pictures.items()},
        "positions": _positions(members),
        "planes": [each.model_dump(mode="json") for each in first.row.table.planes],
        "measured": asdict(measured({**found, "sweep": first.row.sweep})),
        "published": asdict(block(published.find(named))) if named else None,
    }


def _cost(member: Member) -> dict[str, Any]:
    return {"run": member.folder.name, "seconds": member.seconds, "gpu_hours": member.gpu_hours}


def _positions(members: Sequence[Member]) -> dict[str, Any]:
    """Axis and place of every row, where there is one axis and it is one of numbers; seeds have no order."""
    axes = {axis for each in members for axis in each.row.values}
    if len(axes) != 1 or axes == {"seed"}:
        return {}
    axis = axes.pop()
    places = {each.row.label: each.row.values.get(axis) for each in members}
    numbers = {label: value for label, value in places.items() if isinstance(value, (int, float))}
    return {"axis": axis, "at": numbers} if len(numbers) == len(places) > 1 else {}


def said(found: Mapping[str, Any]) -> str:
    """The tables for a terminal: in full, in the paper's form, and the paper's below it."""
    return f"{FORMATS['.txt'](found)}\n{_blocks(found, '.txt')}"


def _blocks(found: Mapping[str, Any], suffix: str) -> str:
    paper = [Block(**found["published"])] if found["published"] else []
    return "\n".join(beside(each, suffix) for each in (measured(found), *paper))


def write(found: Mapping[str, Any], out: Path) -> list[Path]:
    """Write ``sweep.json``, the tables, and as SVG the radar, the curves and the planes that there are."""
    content = {f"{NAME}.svg": FORMATS[".svg"](found), f"{NAME}.csv": FORMATS[".csv"](found), f"{NAME}.txt": said(found)}
    content[f"{NAME}.md"] = f"{FORMATS['.md'](found)}\n{_blocks(found, '.md')}"
    content[f"{NAME}.tex"] = FORMATS[".tex"](found) + (
        f"\n{beside(Block(**found['published']), '.tex')}" if found["published"] else ""
    )
    if found["positions"]:
        content[f"{NAME}-curves.svg"] = curves.curves(found, found["positions"]["at"], found["positions"]["axis"])
    for number, plane in enumerate(found["planes"], 1):
        content[f"{NAME}-plane-{number}.svg"] = planes.of_means(found, plane["x"], plane["y"])
    write_json(out / f"{NAME}.json", found)
    for name, text in content.items():
        write_text(out / name, text)
    return [out / name for name in content]


def table_of(folders: Sequence[Path], step: str = "", out: Path | None = None) -> tuple[str, Path]:
    """Join, write into the sweep's folder beside the runs (or into ``out``), and say.

    Returns:
        the text, and the folder that holds the files.
    """
    found = together(folders, step)
    folder = out if out is not None else folders[0].parent / found["sweep"]
    write(found, folder)
    return said(found), folder
