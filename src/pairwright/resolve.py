"""A plug-in as a recipe names it: what it stands for in a fingerprint, and how it is built.

What a plug-in computes is decided by its options, *including those left at their defaults*, by the weights that they
name, and, for a user's own module, by its source. All of that is read without importing the plug-in.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from pairwright import plugins, weights
from pairwright.options import Plugin

WEIGHT_OPTIONS = frozenset({"model", "processor", "backbone", "controlnet"})
"""Options of any plug-in that name weights (see :mod:`pairwright.weights`)."""

FILE_OPTIONS = frozenset({"rubric", "template", "labels"})
"""Options that name something that ships, or a file or folder of the user's own, which stands by its content."""


def meaning(shelf: plugins.Shelf, plugin: Plugin, function: str = "load") -> dict[str, Any]:
    """What decides a plug-in's output, as plain JSON values.

    Weights stand there by content (or by their commit on the hub), so that the same file under another path is the
    same plug-in and another file under the same path is not.

    Raises:
        pairwright.plugins.PluginError: there is no such plug-in.
        pairwright.weights.WeightsError: a name of weights that are not there.
    """
    signature = plugins.signature(shelf, plugin.name, function)
    defaults = {option.name: _value(option.default) for option in signature.options if option.default is not None}
    resolved = plugins.meaning({**defaults, **plugin.options})
    for name in WEIGHT_OPTIONS & resolved.keys():
        # A published processor is often only the fallback of a model that brings its own: its name is enough, and no
        # fingerprint then hangs on whether it happens to be cached.
        if isinstance(resolved[name], str) and (name != "processor" or weights.is_local(resolved[name])):
            resolved[name] = weights.identity(resolved[name])
    for name in FILE_OPTIONS & resolved.keys():
        if isinstance(resolved[name], str | Path) and Path(resolved[name]).expanduser().exists():
            resolved[name] = weights.identity(str(resolved[name]))
    record: dict[str, Any] = {"name": plugin.name, "options": resolved}
    if function != "load":
        record["function"] = function
    if "." in plugin.name:
        record["source"] = _source_digest(signature.module)
    return record


def build(shelf: plugins.Shelf, plugin: Plugin, device: str = "auto", function: str = "load") -> Any:
    """Import the plug-in and build it, on ``device`` where it takes one and the recipe names no other.

    ``function`` is another of its functions; see :func:`pairwright.plugins.signature`.

    Raises:
        pairwright.plugins.PluginError: unknown name or option; a value of the wrong type.
    """
    takes = {option.name for option in plugins.signature(shelf, plugin.name, function).options}
    given = {"device": device} if "device" in takes else {}
    return plugins.build(shelf, plugin.name, {**given, **plugin.options}, function)


def give_back() -> None:
    """Give back the memory of a plug-in that nobody holds any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _value(source: str | None) -> Any:
    """A default's value where it is a literal; else its source text, which changes when the default does."""
    try:
        return ast.literal_eval(source or "None")
    except (ValueError, SyntaxError):
        return source


def _source_digest(module: str) -> str:
    # A module of the user's own has no version that could speak for it; its text does.
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None, f"{module} was parsed by plugins.signature, so it has a file"
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:16]
