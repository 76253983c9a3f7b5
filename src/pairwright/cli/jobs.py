"""What the verbs that make something do with a recipe or a single step."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairwright import options
from pairwright.cli.arguments import Place


def execute(recipe: Any, root: Path, only: str | None = None) -> None:
    """Run a recipe, or one step of it with what that builds on; print where the report is."""
    from pairwright import progress
    from pairwright import run as runner

    shown = progress.choose()
    command = shlex.join(["pairwright", *sys.argv[1:]])
    page = runner.run(recipe, root, progress=shown, command=command, only=only)
    shown.say(f"report: {page}")
    print(page)


def execute_all(recipes: Sequence[Any], root: Path) -> None:
    """Run a recipe, or all rows of a sweep.

    Several processes may run a sweep at once, on as many machines that share the folder: each takes the rows that nobody works
    on, and comes back at the end to those that others had, which are then there or are taken over. A run by itself is refused.
    """
    if len(recipes) == 1:
        execute(recipes[0], root)
        return
    from pairwright import progress
    from pairwright.locks import POLL_SECONDS, HeldError

    shown, left, met = progress.choose(), list(recipes), set[str]()
    while left:
        held = []
        for each in left:
            try:
                execute(each, root)
            except HeldError:
                held.append(each)
                if each.name not in met:
                    shown.say(f"{each.name}: another process works on it; left for later")
                    met.add(each.name)
        if held == left:
            time.sleep(POLL_SECONDS)
        left = held


def tabulate(runs: Sequence[Path], step: str = "", out: Path | None = None) -> None:
    """Several runs in one table, as files and as a page; print the table and where the page is."""
    from pairwright import evaluate
    from pairwright.report import sweep_report

    text, folder = evaluate.table_of(runs, step, out)
    print(text)
    print(sweep_report(folder, runs[0].parent))


def one_step(place: Place, verb: str, chosen: options.Options) -> None:
    """A single step grows its run: it is put into the run's recipe, and what it builds on is there or made."""
    from pairwright import recipe as recipes

    document = _document(place)
    table = {"verb": verb, "from": list(place.inputs), **chosen.model_dump(mode="json")}
    steps = {**document.get("step", {}), place.step: table}
    where = f"run {place.run}"
    recipe = recipes.check(recipes.parse({**document, "name": place.run, "step": steps}, where), where)
    execute(recipe, place.root, place.step)


def _document(place: Place) -> dict[str, Any]:
    path = place.root / place.run / "run.json"
    if not path.exists():
        return {}
    from pairwright import run as runner

    return dict(runner.read(path.parent)["recipe"])
