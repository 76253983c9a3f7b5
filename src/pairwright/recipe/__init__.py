"""A run as configuration: a TOML file that describes a graph of steps.

.. code-block:: toml

    name = "mine"
    extends = "tiny"                 # a shipped recipe, or a file beside this one

    [step.pairs]
    verb = "curate"
    source = { name = "imagefolder", path = "photos" }

    [step.stage1]
    verb = "train"
    from = ["pairs"]
    start = "tiny:base"              # a model; naming a step here makes it an input

    [sweep]
    "stage1.margin" = [0.001, 0.01]  # one run for every combination; named variants: see pairwright.recipe.sweeps
    seed = [0, 1, 2]                 # the run's own seed, which steps that name one of their own do not follow

Steps are tables by name, so that a recipe that extends another changes one field of one step: tables merge, everything
else is replaced, and ``stage2 = false`` in ``[step]`` takes an inherited step away. Unknown names are errors with a
suggestion, and nothing here imports torch or a plug-in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pairwright.options import Options
from pairwright.recipe import files, graph
from pairwright.recipe.files import RecipeError, find, init, merge, read, shipped
from pairwright.recipe.steps import VERBS, Plane, Recipe, Row, Step, Table
from pairwright.recipe.sweeps import sweep
from pairwright.suggestions import explain, hint

__all__ = [
    "VERBS", "Plane", "Recipe", "RecipeError", "Row", "Step", "Table", "check", "find", "init", "load",
    "merge", "options", "parse", "read", "shipped", "sweep",
]  # fmt: skip

T = TypeVar("T", bound=Options)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,150}")


def load(recipe: str | Path, overrides: Sequence[str] = ()) -> list[Recipe]:
    """Read, merge, expand and validate a recipe: one entry without ``[sweep]``, one per combination with it.

    Args:
        recipe: a file, or the name of a shipped recipe.
        overrides: TOML assignments, ``stage1.steps = 300`` (step, field) or ``name = "mine"``.

    Raises:
        RecipeError: anything wrong, with file, field and a suggestion.
    """
    path = find(recipe)
    raw = read(path)
    for text in overrides:
        raw = merge(raw, files.override(text, raw))
    return [check(parse(each, str(path)), str(path)) for each in sweep(raw, str(path))]


def check(recipe: Recipe, where: str) -> Recipe:
    """The recipe itself, where every step gets what its verb reads.

    Raises:
        RecipeError: a step whose inputs cannot be right.
    """
    graph.check_inputs(recipe.steps, where)
    return recipe


def parse(raw: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Validate a merged recipe.

    Raises:
        RecipeError: see :func:`load`.
    """
    unknown = set(raw) - {"name", "description", "seed", "step", "row"}
    for name in sorted(unknown):
        raise RecipeError(
            f"{where}: unknown field {name!r}." + hint(name, ["name", "description", "seed", "step", "extends", "sweep", "table"])
        )
    name = raw.get("name", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RecipeError(f"{where}: name must be made of letters, digits, '.', '_', '-' (it names a folder), got {name!r}")
    if name == "store":
        raise RecipeError(f"{where}: a run cannot be named 'store': that folder holds the results")
    tables = raw.get("step", {})
    if isinstance(tables, Mapping):
        tables = {key: table for key, table in tables.items() if table is not False}
    if not isinstance(tables, Mapping) or not tables:
        raise RecipeError(f"{where}: a recipe needs at least one [step.<name>] table")
    steps = {key: _step(key, table, {**raw, "step": tables}, where) for key, table in tables.items()}
    row = _validated(Row, raw["row"], f"{where}: table") if raw.get("row") else None
    return Recipe(name=name, description=str(raw.get("description", "")), steps=graph.ordered(steps, where), row=row)


def options(verb: str, values: Mapping[str, Any], where: str) -> Options:
    """The validated options of one verb.

    Raises:
        RecipeError: an unknown or a bad field.
    """
    return _validated(VERBS[verb], values, where)


def _validated(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError("\n".join(explain(each, kind, where) for each in error.errors())) from error


def _step(name: str, table: object, raw: Mapping[str, Any], where: str) -> Step:
    place = f"{where}: step.{name}"
    if not _NAME.fullmatch(name) or not isinstance(table, Mapping):
        raise RecipeError(f"{place}: a step is a table [step.<name>] whose name has letters, digits, '.', '_', '-'")
    verb = table.get("verb")
    if not isinstance(verb, str) or verb not in VERBS:
        raise RecipeError(f"{place}.verb: {verb!r} is not a verb." + hint(str(verb), VERBS))
    values = {key: value for key, value in table.items() if key not in {"verb", "from"}}
    if "seed" in raw and "seed" in VERBS[verb].model_fields:
        values.setdefault("seed", raw["seed"])
    checked = options(verb, values, place)
    named = table.get("from", [])
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise RecipeError(f"{place}.from: must be a list of step names, got {named!r}")
    others = [other for other in raw["step"] if other != name]
    for each in named:
        if each not in others:
            raise RecipeError(f"{place}.from: there is no step {each!r}." + hint(each, others))
    inferred = [each for each in graph.mentioned(checked) if each in others]
    return Step(name=name, verb=verb, inputs=tuple(dict.fromkeys([*named, *inferred])), options=checked)
