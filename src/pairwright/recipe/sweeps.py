"""A sweep: one recipe for every combination of its axes, and what is shown of them beside each other.

An axis is a list of values of one field, or a table of named variants that each change several fields::

    [sweep]
    "pairs.keep.top" = [256, 512]

    [sweep.curation]
    none = { "pairs.filters" = [], "pairs.gap" = false }
    all = {}                              # as the recipe says

    [table]
    model = "stage 1 + 2"                 # of each run, this model is the row
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairwright.recipe.files import RecipeError, merge
from pairwright.suggestions import hint

_LONGEST = 100

Choice = tuple[str, Any, Mapping[str, Any]]
"""How a value is called, what stands for it on an axis (a number, or its name), and the fields that it sets."""


def sweep(raw: Mapping[str, Any], where: str = "recipe") -> Iterator[dict[str, Any]]:
    """One recipe per combination of the axes in ``[sweep]``; each run's name says its values, and so does its ``row``.

    A recipe with a ``[table]`` and no ``[sweep]`` is one run, all models of which are rows.

    Raises:
        RecipeError: an axis that is neither a list nor a table of variants, or a field of a step that is not there.
    """
    axes = raw.get("sweep", {})
    if not isinstance(axes, Mapping):
        raise RecipeError(f"{where}: [sweep] must be a table of lists, got {axes!r}")
    plain = {name: value for name, value in raw.items() if name not in {"sweep", "table"}}
    table = {"sweep": plain.get("name", "run"), "table": raw.get("table", {})}
    if not axes:
        yield {**plain, "row": table} if "table" in raw else plain
        return
    choices = [_choices(path, values, where) for path, values in axes.items()]
    taken: set[str] = set()
    for chosen in itertools.product(*choices):
        changed = dict(plain)
        for field, value in (pair for _, _, fields in chosen for pair in fields.items()):
            changed = merge(changed, _swept(field, value, plain.get("step", {}), where))
        name = _name(str(plain.get("name", "run")), list(axes), chosen, taken)
        values = {path: at for path, (_, at, _) in zip(axes, chosen, strict=True)}
        yield {**changed, "name": name, "row": {**table, "label": _label(list(axes), chosen), "values": values}}


def _choices(path: str, values: Any, where: str) -> list[Choice]:
    if isinstance(values, list) and values:
        return [(_slug(value), value if isinstance(value, (int, float, str)) else _slug(value), {path: value}) for value in values]
    if isinstance(values, Mapping) and values and all(isinstance(each, Mapping) for each in values.values()):
        return [(name, _number(name), fields) for name, fields in values.items()]
    raise RecipeError(f"{where}: sweep.{path!r} must be a list of values or a table of variants, got {values!r}")


def _number(name: str) -> float | str:
    """Variants that are called by numbers stand at them."""
    try:
        return float(name)
    except ValueError:
        return name


def _name(base: str, axes: Sequence[str], chosen: Sequence[Choice], taken: set[str]) -> str:
    named = [path not in fields for path, (_, _, fields) in zip(axes, chosen, strict=True)]  # a variant's name says enough
    parts = zip(axes, chosen, named, strict=True)
    name = "-".join(
        [base, *(_slug(label) if own else f"{path.rpartition('.')[2]}={_slug(label)}" for path, (label, _, _), own in parts)]
    )
    if name in taken or len(name) > _LONGEST:  # values that read the same, or do not fit into a file's name
        content = json.dumps([list(fields.values()) for _, _, fields in chosen], sort_keys=True, default=str)
        name = f"{name[: _LONGEST - 9]}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    taken.add(name)
    return name


def _label(axes: Sequence[str], chosen: Sequence[Choice]) -> str:
    """A row's name: the value alone where there is one axis."""
    if len(axes) == 1:
        return chosen[0][0]
    return ", ".join(f"{path.rpartition('.')[2]} {label}" for path, (label, _, _) in zip(axes, chosen, strict=True))


def _swept(path: str, value: Any, steps: Mapping[str, Any], where: str) -> dict[str, Any]:
    """One assignment as a recipe to merge: ``<step>.<field>``, ``<step>`` (false takes it away), or the run's ``seed``."""
    if path == "seed":
        return {"seed": value}
    step, *fields = path.split(".")
    if step not in steps or (not fields and value is not False):
        raise RecipeError(f"{where}: sweep.{path!r} must be '<step>.<field>' or 'seed'." + hint(step, steps))
    for key in reversed([step, *fields]):
        value = {key: value}
    return {"step": value}


def _slug(value: object) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", str(value.get("name", value) if isinstance(value, Mapping) else value)).strip("_")
