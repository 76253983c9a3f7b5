"""Civitai-top: ``images/1.jpeg``, ``images/2.jpeg``, ... and ``prompts.json`` (``{"1.jpeg": {"prompt": ...}}``).

Pictures in the order of their numbers, with the prompt as caption.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import PositiveInt

from pairwright.sources import _names, _preferences
from pairwright.sources._captions import walk
from pairwright.sources._errors import SourceError
from pairwright.sources.imagefolder import DECODED, ImageFolder, Item

FOLDER, TABLE = "images", "prompts.json"


def load(*, path: Path, limit: PositiveInt | None = None) -> ImageFolder:
    """The pictures of Civitai-top.

    Args:
        path: the folder with ``images/`` and ``prompts.json``.
        limit: only the first so many; rejected ones count.

    Raises:
        SourceError: one of them is not there, or ``prompts.json`` is not what it must be.
    """
    folder = path.expanduser()
    if not (folder / FOLDER).is_dir() or not (folder / TABLE).is_file():
        raise SourceError(f"{folder} must hold the folder {FOLDER}/ and the file {TABLE}")
    items = sorted(_items(folder, _table(folder / TABLE)), key=lambda item: (_number(item.name), item.name))
    if not items:
        raise SourceError(f"{folder / FOLDER} holds no pictures, and {TABLE} names none")
    return ImageFolder(folder, tuple(items[:limit]))


def _table(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise SourceError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise SourceError(f'{path} must be an object {{"1.jpeg": {{"prompt": "..."}}}}, got {type(found).__name__}')
    return found


def _items(folder: Path, prompts: dict[str, Any]) -> Iterator[Item]:
    there = {name for name in walk(folder / FOLDER) if PurePosixPath(name).suffix.lower() in DECODED}
    for name in there | set(prompts):
        shown = f"{FOLDER}/{_names.shown(name)}"
        said = prompts.get(name)
        caption = _preferences.text(said, ("prompt",)) if isinstance(said, dict) else ""
        if reason := _names.refused(name):
            yield Item(shown, step="name", reason=reason)
        elif name not in there:
            yield Item(shown, step="missing", reason=f"{TABLE} names it, and it is not there")
        elif not caption:
            yield Item(shown, step="caption", reason=f"{TABLE} has no prompt for it")
        else:
            yield Item(f"{FOLDER}/{name}", caption, {"source": "civitai-top"})


def _number(name: str) -> int:
    found = re.search(r"(\d{1,12})\.\w+$", name)
    return int(found[1]) if found else 10**12
