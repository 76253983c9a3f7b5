"""What was probably meant: the words of errors about names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel


def hint(word: str, known: Iterable[str], *, listed: str = "There is") -> str:
    """The nearest known name as a question, and all of them; begins with a blank."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    question = f" Did you mean {close[0]!r}?" if close else ""
    return f"{question} {listed}: {', '.join(names) or 'nothing'}."


def explain(error: Any, model: type[BaseModel], where: str) -> str:
    """One of pydantic's errors as a sentence that begins with the field's whole path."""
    path = [str(part) for part in error["loc"] if not str(part).startswith("function-")]
    message = error["msg"].removeprefix("Value error, ")
    place = ".".join([where, *path])
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown field." + hint(path[-1], _fields(model, path[:-1]))
    if error["type"] == "missing":
        return f"{place}: required, and not given"
    return f"{place}: {message} (got {error['input']!r})" if error["type"] != "value_error" else f"{place}: {message}"


def _fields(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Field names at a path; where the path ends in a union or a list, those of every model below it."""
    found: list[str] = []
    kinds: list[Any] = [model]
    for part in path:
        kinds = [
            each for kind in kinds for each in _models(kind.model_fields[part].annotation) if part in kind.model_fields
        ] or kinds
    for kind in kinds:
        found += list(kind.model_fields)
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in getattr(annotation, "__args__", ()) for model in _models(each)]
