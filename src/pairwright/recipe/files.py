"""A recipe's text: where it lies, what it extends, and what is set over it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairwright.errors import Explained
from pairwright.store import write_text
from pairwright.suggestions import hint

_FOLDER = Path(__file__).parent.parent / "recipes"


class RecipeError(Explained, ValueError):
    """A recipe that cannot be run; the message names file and field and says what to do."""


def shipped() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    found = sorted(path for path in _FOLDER.rglob("*.toml") if not path.name.startswith("_"))
    return {path.relative_to(_FOLDER).with_suffix("").as_posix(): path for path in found}


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


def read(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's file merged over what it extends: one shipped recipe or file beside this one, or several in order.

    Raises:
        RecipeError: it cannot be read, or extends itself.
    """
    path = path.resolve() if path.is_absolute() or path.exists() else path
    if path in seen:
        raise RecipeError(f"{path}: extends itself through {' -> '.join(str(each) for each in seen)}")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error
    parents = raw.pop("extends", [])
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list) or not all(isinstance(each, str) for each in parents):
        raise RecipeError(f"{path}: extends must be one name or a list of names, got {parents!r}")
    merged: dict[str, Any] = {}
    for parent in parents:
        merged = merge(merged, read(find(parent, path.parent), (*seen, path)))
    return merge(merged, raw)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merge, everything else is replaced; so is a table that names another plug-in."""
    if "name" in over and "name" in base and over["name"] != base["name"] and "step" not in base:
        return dict(over)  # another plug-in: what the old one was told means nothing to it
    merged = dict(base)
    for name, value in over.items():
        known = merged.get(name)
        merged[name] = merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def override(text: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """One TOML assignment from the command line as a recipe to merge; a step may be named without ``step.``."""
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
