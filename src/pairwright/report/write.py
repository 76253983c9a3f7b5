"""The page itself: gathered, rendered and written whole."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pairwright import __version__, wording
from pairwright.report.funnel import funnel
from pairwright.report.gather import Run, Step, read_run
from pairwright.report.grid import grid
from pairwright.report.metrics import comparison
from pairwright.report.pairs import pairs
from pairwright.report.study import studies
from pairwright.report.training import training
from pairwright.store import write_text

_LIBRARIES = ("torch", "diffusers", "transformers", "peft", "numpy", "pillow", "pyarrow")


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
    script, style = _asset("script.js"), _asset("style.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made = run.pair_steps
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            lead=lead(run),
            done=sum(step.done for step in run.steps),
            funnels=_there(funnel(step) for step in made),
            pairs=_there(pairs(step) for step in made),
            trainings=[training(step) for step in run.of("train")],
            grids=_there(grid(run, step) for step in run.of("generate")),
            comparisons=_there(comparison(run, step) for step in run.of("compare")),
            studies=studies(run),
            versions=_versions(),
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            recipe=json.dumps(run.recipe, indent=2, ensure_ascii=False),
            script=Markup(script),  # noqa: S704 - our own file, not input
            style=Markup(style),  # noqa: S704 - our own file, not input
            script_digest=digest,
        )
    )


_MADE = {"curate": "pairs from photographs", "import": "pairs that were brought", "feedback": "pairs of pictures and their edits"}


def lead(run: Run) -> str:
    """What was done, in one sentence."""
    parts = []
    for step in run.pair_steps:
        kept = step.summary.get("kept")
        what = _MADE.get(step.verb, "pairs")
        parts.append(f"{kept} {what}" if kept is not None else f"{what} (not yet)")
    parts += [f"{step.name}: {step.options.get('objective')} for {step.options.get('steps')} steps" for step in run.of("train")]
    for step in run.of("generate"):
        models = list(step.options.get("models", {}))
        parts.append(f"{' and '.join([', '.join(models[:-1]), models[-1]] if len(models) > 1 else models)} compared")
    return "; ".join(parts) + "." if parts else ""


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pairwright.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["waiting"] = waiting
    environment.filters |= {
        "typeset": typeset,
        "thousands": lambda count: f"{count:,}",
        "duration": wording.duration,
        "options": _flat,
    }
    return environment


def typeset(text: str) -> str:
    """Our own words with a true minus before numbers and no line break before a percent sign. Not for what users wrote."""
    return re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", text).replace(" %", "\N{NO-BREAK SPACE}%")


def _asset(name: str) -> str:
    return files("pairwright.report").joinpath("template", name).read_text(encoding="utf-8")


def _there(found: Any) -> list[Any]:
    return [each for each in found if each is not None]


def _flat(options: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested options as lines of ``name, value``."""
    lines: list[tuple[str, str]] = []
    for name, value in options.items():
        if isinstance(value, Mapping) and value:
            lines += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(each, Mapping) for each in value):
            lines += [line for index, each in enumerate(value) for line in _flat({str(index): each}, f"{prefix}{name}.")]
        else:
            lines.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return lines


def _versions() -> list[tuple[str, str]]:
    found = [("pairwright", __version__)]
    for name in _LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def waiting(steps: Sequence[Step]) -> str:
    """What is said where a part is missing: which step it waits for, and how that stands."""
    said = [f"{step.name} is {step.state}" for step in steps if step.state != "complete"]
    return (
        f"Not yet: {', '.join(said)}." if said else "Not there: the result was removed from the store. Run again to have it back."
    )
