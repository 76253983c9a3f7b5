"""The page itself: gathered, rendered and written whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pairwright.report.costs import costs
from pairwright.report.funnel import funnel
from pairwright.report.gather import Run, read_run
from pairwright.report.grid import grid
from pairwright.report.metrics import comparison
from pairwright.report.page import fill
from pairwright.report.pairs import pairs
from pairwright.report.regressions import regressions
from pairwright.report.rich import contests, of_run
from pairwright.report.study import studies
from pairwright.report.training import training
from pairwright.store import write_text


def report(run_folder: Path) -> Path:
    """Write ``report.html`` into a run's folder, from what is there of the run; what is missing is said to be.

    The file needs nothing beside it and no network, and its content security policy lets nothing in it reach for any.

    Raises:
        ReportError: the folder holds no run.
        pairwright.store.StoreError: a part of a result is damaged.
    """
    run = read_run(run_folder)
    path = run_folder / "report.html"
    write_text(path, render(run))
    return path


def render(run: Run) -> str:
    """The page as HTML."""
    made = run.pair_steps
    return fill(
        "report.html.j2",
        run=run,
        lead=lead(run),
        done=sum(step.done for step in run.steps),
        funnels=_there(funnel(step) for step in made),
        pairs=_there(pairs(step) for step in made),
        trainings=[training(step) for step in run.of("train")],
        grids=_there(grid(run, step) for step in run.of("generate")),
        rich=of_run(run),
        contests=_there(contests(step) for step in run.of("editors")),
        comparisons=_there(comparison(run, step) for step in run.of("compare")),
        regressions=[each for step in run.of("compare") for each in regressions(run, step)],
        costs=costs(run),
        studies=studies(run),
        recipe=json.dumps(run.recipe, indent=2, ensure_ascii=False),
    )


_MADE = {"curate": "pairs from photographs", "import": "pairs that were brought", "feedback": "pairs of pictures and their edits"}


def lead(run: Run) -> str:
    """What was done, in one sentence."""
    parts = []
    for step in run.pair_steps:
        kept = step.summary.get("kept")
        what = _MADE.get(step.verb, "pairs")
        name = f"{step.name}: " if len(run.pair_steps) > 1 else ""
        parts.append(f"{name}{kept} {what}" if kept is not None else f"{name}{what} (not yet)")
    parts += [f"{step.name}: {step.options.get('objective')} for {step.options.get('steps')} steps" for step in run.of("train")]
    for step in run.of("generate"):
        models = list(step.options.get("models", {}))
        parts.append(f"{' and '.join([', '.join(models[:-1]), models[-1]] if len(models) > 1 else models)} compared")
    return "; ".join(parts) + "." if parts else ""


def _there(found: Any) -> list[Any]:
    return [each for each in found if each is not None]
