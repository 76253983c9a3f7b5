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
    "stage1.margin" = [0.001, 0.01]  # one run for every combination
    seed = [0, 1, 2]                 # the run's own seed, which steps that name one of their own do not follow

Steps are tables by name, so that a recipe that extends another changes one field of one step: tables merge, everything
else is replaced. Unknown names are errors with a suggestion, and nothing here imports torch or a plug-in.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator

from pairwright.errors import Explained
from pairwright.options import Compare, Curate, Generate, Model, Options, PromptSet, Score, Train
from pairwright.store import write_text
from pairwright.suggestions import explain, hint

VERBS: dict[str, type[Options]] = {"curate": Curate, "train": Train, "generate": Generate, "score": Score, "compare": Compare}
"""The verbs that a step can be, and what each can be told."""

_FOLDER = Path(__file__).parent / "recipes"
_LONGEST = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,150}")


class RecipeError(Explained, ValueError):
    """A recipe that cannot be run; the message names file and field and says what to do."""


class Step(Options):
    """One step of a run."""

    name: str
    verb: str
    inputs: tuple[str, ...]
    """Names of the steps that it builds on."""
    options: Options

    @field_validator("options", mode="before")
    @classmethod
    def _as_is(cls, value: Any) -> Any:
        return value


class Recipe(Options):
    """A validated run."""

    name: str
    """Names the run's folder."""
    description: str = ""
    steps: tuple[Step, ...] = Field(min_length=1)
    """In an order in which they can be run."""

    def document(self) -> dict[str, Any]:
        """The resolved recipe as plain values, every default filled in."""
        steps = {
            step.name: {"verb": step.verb, "from": list(step.inputs), **step.options.model_dump(mode="json")} for step in self.steps
        }
        return {"name": self.name, "description": self.description, "step": steps}


def shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    found = sorted(path for path in _FOLDER.rglob("*.toml") if not path.name.startswith("_"))
    return {path.relative_to(_FOLDER).with_suffix("").as_posix(): path for path in found}


def init(path: Path, photos: Path, route: str) -> None:
    """Write a commented recipe that extends the shipped recipe ``route``.

    Raises:
        RecipeError: the file is there already, or there is no such recipe.
    """
    if path.exists():
        raise RecipeError(f"{path} is there already; give another name")
    find(route)
    text = (_FOLDER / "_template.toml").read_text(encoding="utf-8")
    name = re.sub(r"[^A-Za-z0-9._=+-]+", "-", path.stem).strip("-._") or "mine"
    write_text(path, text.format(name=name, route=route, photos=photos.as_posix()))


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
        raw = merge(raw, _override(text, raw))
    return [check_inputs(parse(each, str(path)), str(path)) for each in sweep(raw, str(path))]


def read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's file merged over what it extends (a shipped recipe, or a file beside this one)."""
    path = path.resolve() if path.is_absolute() or path.exists() else path
    if path in seen:
        raise RecipeError(f"{path}: extends itself through {' -> '.join(str(each) for each in seen)}")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        raise RecipeError(f"{path}: extends must be one name, got {parent!r}")
    return merge(read(find(parent, path.parent), (*seen, path)), raw)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merge, everything else is replaced; so is a table that names another plug-in."""
    if "name" in over and "name" in base and over["name"] != base["name"] and "step" not in base:
        return dict(over)  # another plug-in: what the old one was told means nothing to it
    merged = dict(base)
    for name, value in over.items():
        known = merged.get(name)
        merged[name] = merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def sweep(raw: Mapping[str, Any], where: str = "recipe") -> Iterator[dict[str, Any]]:
    """One recipe per combination of the lists in ``[sweep]``; each run's name says its values."""
    axes = raw.get("sweep", {})
    if not isinstance(axes, Mapping):
        raise RecipeError(f"{where}: [sweep] must be a table of lists, got {axes!r}")
    plain = {name: value for name, value in raw.items() if name != "sweep"}
    if not axes:
        yield plain
        return
    for path, values in axes.items():
        if not isinstance(values, list) or not values:
            raise RecipeError(f"{where}: sweep.{path!r} must be a list of values, got {values!r}")
    taken: set[str] = set()
    for values in itertools.product(*axes.values()):
        chosen = dict(plain)
        for path, value in zip(axes, values, strict=True):
            chosen = merge(chosen, _swept(path, value, plain.get("step", {}), where))
        label = "-".join(f"{path.rpartition('.')[2]}={_slug(value)}" for path, value in zip(axes, values, strict=True))
        name = f"{plain.get('name', 'run')}-{label}"
        if name in taken or len(name) > _LONGEST:  # values that read the same, or do not fit into a file's name
            digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]
            name = f"{name[: _LONGEST - 9]}-{digest}"
        taken.add(name)
        yield {**chosen, "name": name}


def _swept(path: str, value: Any, steps: Mapping[str, Any], where: str) -> dict[str, Any]:
    """One value of one axis as a recipe to merge: ``<step>.<field>``, or the run's ``seed``."""
    if path == "seed":
        return {"seed": value}
    step, *fields = path.split(".")
    if step not in steps or not fields:
        raise RecipeError(f"{where}: sweep.{path!r} must be '<step>.<field>' or 'seed'." + hint(step, steps))
    for key in reversed([step, *fields]):
        value = {key: value}
    return {"step": value}


def parse(raw: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Validate a merged recipe.

    Raises:
        RecipeError: see :func:`load`.
    """
    unknown = set(raw) - {"name", "description", "seed", "step"}
    for name in sorted(unknown):
        raise RecipeError(
            f"{where}: unknown field {name!r}." + hint(name, ["name", "description", "seed", "step", "extends", "sweep"])
        )
    name = raw.get("name", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RecipeError(f"{where}: name must be made of letters, digits, '.', '_', '-' (it names a folder), got {name!r}")
    if name == "store":
        raise RecipeError(f"{where}: a run cannot be named 'store': that folder holds the results")
    tables = raw.get("step", {})
    if not isinstance(tables, Mapping) or not tables:
        raise RecipeError(f"{where}: a recipe needs at least one [step.<name>] table")
    steps = {key: _step(key, table, raw, where) for key, table in tables.items()}
    return Recipe(name=name, description=str(raw.get("description", "")), steps=_ordered(steps, where))


def options(verb: str, values: Mapping[str, Any], where: str) -> Options:
    """The validated options of one verb.

    Raises:
        RecipeError: an unknown or a bad field.
    """
    try:
        return VERBS[verb].model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError("\n".join(explain(each, VERBS[verb], where) for each in error.errors())) from error


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
    inferred = [each for each in _mentioned(checked) if each in others]
    return Step(name=name, verb=verb, inputs=tuple(dict.fromkeys([*named, *inferred])), options=checked)


_NEEDS = {"train": "curate", "score": "generate", "compare": "score"}
"""What a verb reads must come from a step of this verb."""


def check_inputs(recipe: Recipe, where: str) -> Recipe:
    """The recipe itself, where every step gets what its verb reads.

    Raises:
        RecipeError: a step whose inputs cannot be right.
    """
    steps = {step.name: step for step in recipe.steps}
    for step in recipe.steps:
        _check_step(step, steps, where)
    return recipe


def _check_step(step: Step, steps: Mapping[str, Step], where: str) -> None:
    needed = _NEEDS.get(step.verb)
    if needed and not any(steps[name].verb == needed for name in step.inputs):
        known = [name for name, each in steps.items() if each.verb == needed]
        raise RecipeError(f"{where}: step.{step.name}.from: {step.verb} needs a {needed} step." + hint("", known))
    if isinstance(step.options, Compare) and step.options.baseline is not None:
        labels = _labels(step, steps)
        if labels and step.options.baseline not in labels:
            place = f"{where}: step.{step.name}.baseline"
            raise RecipeError(f"{place}: no model is called {step.options.baseline!r}." + hint(step.options.baseline, labels))


def _labels(step: Step, steps: Mapping[str, Step]) -> list[str]:
    """The models whose pictures reach a step."""
    own = list(step.options.models) if isinstance(step.options, Generate) else []
    return own + [
        label for name in step.inputs if steps[name].verb in {"generate", "score"} for label in _labels(steps[name], steps)
    ]


def _mentioned(value: object) -> Iterator[str]:
    """Names of models and prompt sets, which may be steps."""
    if isinstance(value, Model):
        yield value.base
    elif isinstance(value, PromptSet):
        yield value.name
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _mentioned(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _mentioned(each)


def _ordered(steps: Mapping[str, Step], where: str) -> tuple[Step, ...]:
    sorter = TopologicalSorter({name: step.inputs for name, step in steps.items()})
    try:
        return tuple(steps[name] for name in sorter.static_order())
    except CycleError as error:
        raise RecipeError(f"{where}: steps build on each other in a circle: {' -> '.join(error.args[1])}") from error


def _override(text: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"--set {text!r}: not a TOML assignment ({error}); write for instance 'stage1.steps = 300'") from error
    steps = raw.get("step", {})
    for name, each in value.items():
        if isinstance(each, Mapping) and name not in steps and name != "step":
            raise RecipeError(f"--set {text!r}: there is no step {name!r}." + hint(name, steps))
    return {name: each for name, each in value.items() if name not in steps} | (
        {"step": {name: each for name, each in value.items() if name in steps}} if any(name in steps for name in value) else {}
    )


def find(name: str | Path, folder: Path = Path()) -> Path:
    """The file of a recipe: a path (taken from ``folder``), or the name of a shipped one.

    Raises:
        RecipeError: there is neither.
    """
    path = folder / Path(name).expanduser()
    if path.is_file():
        return path
    known = shipped()
    if str(name) in known:
        return known[str(name)]
    raise RecipeError(f"{name}: neither a file nor a shipped recipe." + hint(str(name), known))


def _slug(value: object) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", str(value.get("name", value) if isinstance(value, Mapping) else value)).strip("_")
