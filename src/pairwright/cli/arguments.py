"""What the verbs' arguments have in common, and tables as one argument each.

Values that are tables in a recipe (plug-ins, models, filters) are written as in TOML:
``--perturbation inpaint`` or ``--perturbation '{name = "inpaint", steps = 20}'``.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import tyro
from pydantic import TypeAdapter, ValidationError
from tyro.constructors import PrimitiveConstructorSpec, PrimitiveTypeInfo

from pairwright import options

app = tyro.extras.SubcommandApp()
"""The verbs; each module of this package adds its own."""
registry = tyro.constructors.ConstructorRegistry()

_TABLES = (options.Plugin, options.Model, options.Filter, options.Keep, options.Gap, options.PromptSet)

Root = Annotated[Path, tyro.conf.arg(help="Folder of the runs and of the store.", metavar="DIR")]
Changes = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    tyro.conf.arg(name="set", metavar="STEP.FIELD=VALUE", help="Change a field; a TOML assignment: --set 'stage1.steps = 300'."),
]
RecipeName = Annotated[str, tyro.conf.arg(metavar="RECIPE", help="A file, or the name of a shipped recipe.")]
Flag = tyro.conf.UseCounterAction[int]
"""A word that takes no value."""
Folder = Annotated[Path, tyro.conf.arg(metavar="RUN", help="A run's folder, for instance runs/demo.")]
Names = Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="with", metavar="NAME,...")]
"""Rewards, with commas between them."""
RewardChanges = Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="NAME.OPTION=VALUE")]
Inputs = Annotated[tuple[str, ...], tyro.conf.arg(name="from")]
PairsOf = Annotated[str, tyro.conf.arg(metavar="PAIRS", help="A run's folder, <run>/<step>, or Parquet files of pairs.")]


@dataclass(frozen=True)
class Place:
    """Where a single step belongs."""

    run: str
    """Name of the run; it is begun where it is new."""
    step: str
    """Name of this step in the run. A step of that name is replaced."""
    inputs: Inputs = ()
    """Steps of the run that this one builds on."""
    root: Root = Path("runs")


def spelled(words: list[str]) -> list[str]:
    """Words of a command line in which ``--protocol`` says its fields: tyro names every field, whether it was typed or not."""
    given = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    if words[:1] != ["generate"] or "--protocol" not in given:
        return words
    name = given["--protocol"] or next(iter(words[words.index("--protocol") + 1 :]), "")
    settings = options.PROTOCOLS.get(name, {})
    flags = {f"--{field.replace('_', '-')}": str(value) for field, value in settings.items()}
    return words + [word for flag, value in flags.items() if flag not in given for word in (flag, value)]


@registry.primitive_rule
def _tables(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """What is a table in a recipe is one argument here: a bare word, or a TOML value."""
    if not any(_mentions(info.type, table) for table in _TABLES):
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(info.type)
    several = get_origin(info.type) is tuple

    def build(words: list[str]) -> Any:
        values = [_toml(word) for word in words]
        try:
            return adapter.validate_python(values if several else values[0])
        except ValidationError as error:
            raise ValueError("; ".join(each["msg"] for each in error.errors())) from error

    return PrimitiveConstructorSpec(
        nargs="*" if several else 1,
        metavar="NAME|{TOML} ..." if several else "NAME|{TOML}",
        instance_from_str=build,
        is_instance=lambda _: True,
        str_from_instance=lambda value: [_shown(each) for each in value] if several else [_shown(value)],
    )


def _mentions(annotation: Any, table: type) -> bool:
    return annotation is table or any(_mentions(each, table) for each in get_args(annotation))


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word


def _shown(value: Any) -> str:
    """A default as it would be typed."""
    plain = options.plain(value) if not isinstance(value, options.Plugin) else value.model_dump(mode="json")
    if isinstance(plain, Mapping) and set(plain) == {"name", "options"} and not plain["options"]:
        return str(plain["name"])
    return json.dumps(plain)
