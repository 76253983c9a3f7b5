"""What plug-ins say of themselves in their source, read without importing them."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

from pairwright import plugins
from pairwright.options import Plugin


def option(shelf: plugins.Shelf, plugin: Plugin, name: str) -> Any:
    """A plug-in's option: as the recipe gives it, else its default where that is a literal, else None."""
    if name in plugin.options:
        return plugin.options[name]
    for each in plugins.signature(shelf, plugin.name).options:
        if each.name == name and each.default is not None:
            try:
                return ast.literal_eval(each.default)
            except (ValueError, SyntaxError):
                return None
    return None


def weights_of(shelf: plugins.Shelf, plugin: Plugin) -> list[str]:
    """The weights of a plug-in's networks: its ``model``, the ``backbone`` below it, the ``controlnet`` beside it."""
    named = (option(shelf, plugin, name) for name in ("model", "backbone", "controlnet"))
    return [each for each in named if isinstance(each, str)]


def constant(module: str, name: str) -> str | None:
    """A module's constant text, read from its source."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None, f"{module} was parsed by plugins.signature, so it has a file"
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(each, ast.Name) and each.id == name for each in targets) and isinstance(node, ast.Assign):
            value = node.value.value if isinstance(node.value, ast.Constant) else None
            return value if isinstance(value, str) else None
    return None


def processor_of(shelf: plugins.Shelf, plugin: Plugin, path: Path | None) -> str | None:
    """What tokenizer and preprocessing come from, where that is not the model's own folder.

    By convention that is the plug-in's option ``processor``, else its constant ``PROCESSOR``.
    """
    named = option(shelf, plugin, "processor")
    if isinstance(named, str) or _has_tokenizer(path):
        return named if isinstance(named, str) else None
    return constant(plugins.signature(shelf, plugin.name).module, "PROCESSOR")


def _has_tokenizer(path: Path | None) -> bool:
    folder = path if path is None or path.is_dir() else path.parent
    return folder is not None and any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "vocab.txt"))
