"""Plug-ins: a file on a shelf, found by its name.

``load("rewards", "pickscore", model="...")`` imports ``pairwright.rewards.pickscore`` and calls its ``load``.
A dotted name (``my_package.my_reward``) imports the user's own module. No decorators, no tables, no entry points.

Options are checked *without importing the plug-in*: its ``load`` signature is read from the source with
``ast``, so ``--help``, ``plan`` and the validation of a recipe stay instant although plug-ins import torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, wraps
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from pairwright.errors import Explained
from pairwright.suggestions import hint

Shelf = Literal["sources", "rewards", "saliency", "perturbations", "critics", "instructors"]
SHELVES: tuple[Shelf, ...] = ("sources", "rewards", "saliency", "perturbations", "critics", "instructors")

EXECUTION_OPTIONS = frozenset({"device", "batch_size", "workers", "server", "key_from", "timeout"})
"""Options of any plug-in that change how fast it runs and not what comes out: never fingerprinted."""


_MARKUP = re.compile(r":[a-z]+:(?=`)|`")


class PluginError(Explained, ValueError):
    """An unknown plug-in or option; the message lists what there is."""


@dataclass(frozen=True)
class Option:
    """One keyword of a plug-in's ``load``."""

    name: str
    annotation: str
    default: str | None
    """Source text of the default; ``None`` where the option is required."""
    meaning: str = ""
    """What its docstring says."""


@dataclass(frozen=True)
class Signature:
    """What is known of a plug-in without importing it."""

    module: str
    summary: str
    """First line of the module's docstring."""
    options: tuple[Option, ...]


def shelf(name: str) -> Shelf:
    """The shelf of that name.

    Raises:
        PluginError: there is none.
    """
    for each in SHELVES:
        if each == name:
            return each
    raise PluginError(f"{name!r} is no shelf of plug-ins." + hint(name, SHELVES, listed="There are"))


def names(shelf: Shelf) -> list[str]:
    """The plug-ins that ship on a shelf. Modules that start with ``_`` or define no ``load`` are not plug-ins."""
    folder = Path(__file__).parent / shelf
    stems = (entry.stem for entry in folder.iterdir() if not entry.name.startswith(("_", ".")))
    return sorted(stem for stem in stems if _defines(shelf, stem, "load"))


def signature(shelf: Shelf, name: str, function: str = "load") -> Signature:
    """The options of a plug-in, read from its source.

    Args:
        shelf: where it stands.
        name: its file, or a dotted name.
        function: what builds it: ``load``; ``judge`` of a reward that is a judge of two pictures as well.

    Raises:
        PluginError: there is no such plug-in, or it has no such function.
    """
    module = _module_name(shelf, name)
    tree = _parse(module)
    load = _find(tree, function) if tree is not None else None
    if tree is None or load is None:
        raise PluginError(_unknown(shelf, name, function))
    summary = (ast.get_docstring(tree) or "").split("\n", 1)[0]
    return Signature(module, summary, _options(load))


def explained(shelf: Shelf, name: str) -> Signature:
    """As :func:`signature`, with what each option means, out of the docstring of ``load``."""
    from docstring_parser import parse

    found = signature(shelf, name)
    tree = _parse(found.module)
    load = _find(tree, "load") if tree is not None else None
    assert load is not None, "a signature was read from it"
    said = {each.arg_name: _plain(each.description or "") for each in parse(ast.get_docstring(load) or "").params}
    return replace(found, options=tuple(replace(each, meaning=said.get(each.name, "")) for each in found.options))


def _plain(text: str) -> str:
    """A docstring's words on one line, without its markup."""
    return " ".join(_MARKUP.sub("", text).split())


def check(shelf: Shelf, name: str, options: Mapping[str, Any], function: str = "load") -> None:
    """Raises :class:`PluginError` where ``name`` is unknown or its ``load`` does not take ``options``."""
    known = {option.name: option for option in signature(shelf, name, function).options}
    for option in options:
        if option not in known:
            raise PluginError(f"{shelf}/{name} has no option {option!r}." + hint(option, sorted(known), listed="It takes"))
    missing = [each.name for each in known.values() if each.default is None and each.name not in options]
    if missing:
        raise PluginError(f"{shelf}/{name} needs the option {missing[0]!r}.")
    endless = [option for option, value in options.items() if isinstance(value, float) and not isfinite(value)]
    if endless:
        raise PluginError(f"{shelf}/{name}, option {endless[0]!r}: a finite number is needed (got {options[endless[0]]})")
    words = {option: value for option, value in options.items() if option in {"server", "key_from"} and isinstance(value, str)}
    if words and "." not in name:
        from pairwright import servers

        if said := servers.mistake(words.get("server", ""), words.get("key_from", servers.KEY_FROM)):
            raise PluginError(f"{shelf}/{name}: {said}.")


def load(shelf: Shelf, name: str, /, **options: Any) -> Any:
    """Import the plug-in and build it.

    Raises:
        PluginError: unknown name or option; a value of the wrong type.
    """
    return build(shelf, name, options)


def build(shelf: Shelf, name: str, options: Mapping[str, Any], function: str = "load") -> Any:
    """As :func:`load`, with another of the plug-in's functions; see :func:`signature`.

    Raises:
        PluginError: as :func:`load`.
    """
    check(shelf, name, options, function)
    module = importlib.import_module(_module_name(shelf, name))
    return _call(getattr(module, function), shelf, name, options)


def validate(shelf: Shelf, name: str, options: Mapping[str, Any], function: str = "load") -> None:
    """As :func:`build`, without building anything: imports the plug-in and holds the options to their types.

    Raises:
        PluginError: as :func:`load`.
    """
    check(shelf, name, options, function)
    wanted = getattr(importlib.import_module(_module_name(shelf, name)), function)
    _call(wraps(wanted)(lambda **_: None), shelf, name, options)


def _call(function: Callable[..., Any], shelf: Shelf, name: str, options: Mapping[str, Any]) -> Any:
    from pydantic import ConfigDict, ValidationError, validate_call

    checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True, strict=False))(function)
    try:
        return checked(**options)
    except Explained:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PluginError(f"{shelf}/{name}, option {where!r}: {first['msg']} (got {first['input']!r})") from error
    except ValueError as error:
        raise PluginError(f"{shelf}/{name}: {error}") from error


def meaning(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that belong into a fingerprint."""
    return {name: value for name, value in sorted(options.items()) if name not in EXECUTION_OPTIONS}


def _module_name(shelf: Shelf, name: str) -> str:
    return name if "." in name else f"pairwright.{shelf}.{name}"


def _defines(shelf: Shelf, name: str, function: str) -> bool:
    tree = _parse(f"pairwright.{shelf}.{name}")
    return tree is not None and _find(tree, function) is not None


@cache
def _parse(module: str) -> ast.Module | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _find(tree: ast.Module, function: str) -> ast.FunctionDef | None:
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function), None)


def _options(load: ast.FunctionDef) -> tuple[Option, ...]:
    arguments = load.args
    plain = arguments.posonlyargs + arguments.args
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    pairs = list(zip(plain, defaults + list(arguments.defaults), strict=True))
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    return tuple(
        Option(
            argument.arg,
            ast.unparse(argument.annotation) if argument.annotation else "",
            ast.unparse(default) if default is not None else None,
        )
        for argument, default in pairs
    )


def _unknown(shelf: Shelf, name: str, function: str) -> str:
    known = [each for each in names(shelf) if function == "load" or _defines(shelf, each, function)]
    if "." in name:
        return f"{name!r} is not a module that can be imported, or it has no function {function!r}."
    if name in names(shelf):
        return f"{shelf}/{name} has no function {function!r}." + hint("", known, listed="These have")
    return f"There is no {name!r} among the {shelf}." + hint(name, known, listed="There are")
