"""The page of several runs in one table: ``sweep.html``, from ``sweep.json`` and the store."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairwright import wording
from pairwright.report import metrics
from pairwright.report.gather import ReportError
from pairwright.report.grid import sheet
from pairwright.report.page import fill
from pairwright.store import Store, write_text


def sweep_report(folder: Path, root: Path) -> Path:
    """Write ``sweep.html`` beside the ``sweep.json`` of ``pairwright run`` (of a sweep) or ``pairwright compare --together``.

    Args:
        folder: where ``sweep.json`` is.
        root: folder of the runs and of the store.

    Raises:
        ReportError: there is no such file, or it is damaged.
    """
    path = folder / "sweep.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        written = render(found, folder, root)
    except FileNotFoundError:
        raise ReportError(f"{folder} holds no sweep.json; make it: pairwright compare RUN ... --together") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path} is damaged ({error!r}); make it again: pairwright compare RUN ... --together") from error
    page = folder / "sweep.html"
    write_text(page, written)
    return page


def render(found: Mapping[str, Any], folder: Path, root: Path) -> str:
    """The page as HTML."""
    at = found["positions"]
    return fill(
        "sweep.html.j2",
        name=found["sweep"],
        description=found["description"],
        table=metrics.said(found, found["sweep"]),
        measured=found["measured"],
        paper=found["published"],
        charts=metrics.over(found, at["at"], at["axis"]) if at else (),
        planes=[_embedded(path) for path in sorted(folder.glob("sweep-plane-*.svg"))],
        sheet=sheet(Store(root.resolve()), found["pictures"]),
        runs=[_run(label, each, folder, root) for label, each in found["runs"].items()],
        total=sum(each["seconds"] for each in found["runs"].values()),
    )


def _embedded(path: Path) -> str:
    """As an image, in which no script can run."""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _run(label: str, run: Mapping[str, Any], folder: Path, root: Path) -> dict[str, str]:
    """A row's run, with a link where its report is beside this page."""
    there = folder.resolve().parent == root.resolve()
    return {
        "label": label,
        "run": run["run"],
        "time": wording.duration(run["seconds"]),
        "gpu_hours": wording.number(run["gpu_hours"]) if run["gpu_hours"] else "",
        "link": f"../{run['run']}/report.html" if there else "",
    }
