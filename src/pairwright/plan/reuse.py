"""Which steps are in the store already, as far as the run's own record tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairwright.options import Options
from pairwright.recipe import Recipe
from pairwright.store import Store, StoreError


def reused(recipe: Recipe, root: Path) -> set[str]:
    """Names of the steps that were complete when this run was last worked on and that mean the same now.

    Fingerprints are not computed again (that would read every photograph and all weights), so a photograph or a file of
    weights that was changed since is not noticed here; the run itself does.
    """
    path = root / recipe.name / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        before, entries = record["recipe"]["step"], record["steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    document = recipe.document()["step"]
    found: set[str] = set()
    for step in recipe.steps:
        same = _meaning(step.options, before.get(step.name, {})) == _meaning(step.options, document[step.name])
        if same and found.issuperset(step.inputs) and _complete(entries.get(step.name, {}), root):
            found.add(step.name)
    return found


def _meaning(chosen: Options, table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name not in type(chosen).execution_fields()}


def _complete(entry: Mapping[str, Any], root: Path) -> bool:
    # A run that was started again and stopped before this step keeps what it had under "last".
    digest = entry.get("fingerprint") or entry.get("last")
    if not digest:
        return False
    try:
        return Store(root).open(entry["verb"], digest).complete
    except StoreError:
        return False
