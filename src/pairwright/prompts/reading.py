"""The prompts of one file.

A record's prompt is its column ``prompt``, ``prompts``, ``text`` or ``caption``, its category ``category``, ``style`` or ``tag``,
in whatever case, so the published files of PartiPrompts, DrawBench, HPDv2, GenEval and Pick-a-Pic are read as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright import rowfiles
from pairwright.errors import Explained
from pairwright.records import Prompt

TEXT_COLUMNS = ("prompt", "prompts", "text", "caption")
CATEGORY_COLUMNS = ("category", "style", "tag")
SUFFIXES = (".txt", *rowfiles.SUFFIXES, ".json", ".parquet")


class PromptError(Explained, ValueError):
    """Prompts that cannot be had; the message names the file."""


def read(path: Path, *, quoted: bool = True) -> Iterator[Prompt]:
    """The prompts of a file, in its order, without ids.

    Args:
        path: a file with one of :data:`SUFFIXES`.
        quoted: whether quotation marks of ``.csv`` and ``.tsv`` enclose fields; else they belong to the text.

    Raises:
        PromptError: another kind of file, or one that cannot be read.
        RowError: a malformed line, or one without a prompt; names file and line.
    """
    suffix = path.suffix.lower()
    if suffix == ".txt":
        yield from (Prompt(line) for _, line in rowfiles.lines(path))
    elif suffix == ".json":
        yield from _listed(path)
    elif suffix == ".parquet":
        yield from _columns(path)
    elif suffix in SUFFIXES:
        for row in rowfiles.read(path, quoted=quoted):
            text = row.text(TEXT_COLUMNS)
            if not text:
                raise row.error(f"no text in {', '.join(TEXT_COLUMNS)}; its columns: {', '.join(row.values) or 'none'}")
            yield Prompt(text, category=row.text(CATEGORY_COLUMNS))
    else:
        raise PromptError(f"{path}: prompts are read from {', '.join(SUFFIXES)}.")


def _listed(path: Path) -> Iterator[Prompt]:
    """A list of texts, as HPDv2 publishes a style."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PromptError(f"{path}: not JSON ({error})") from error
    if not isinstance(values, list) or not all(isinstance(each, str) and each.strip() for each in values):
        raise PromptError(f'{path}: expected a list of texts, ["a red flower", ...]; objects belong into a .jsonl')
    yield from (Prompt(each.strip()) for each in values)


def _columns(path: Path) -> Iterator[Prompt]:
    """Texts alone: pictures that lie beside them are not read."""
    try:
        with pq.ParquetFile(path) as file:
            names = {name.lower(): name for name in file.schema_arrow.names}
            text = next((names[each] for each in TEXT_COLUMNS if each in names), None)
            category = next((names[each] for each in CATEGORY_COLUMNS if each in names), None)
            if text is None:
                raise PromptError(f"{path}: no column {', '.join(TEXT_COLUMNS)}; its columns: {', '.join(names.values())}")
            table = file.read(columns=[each for each in (text, category) if each is not None])
    except (OSError, pa.ArrowInvalid) as error:
        raise PromptError(f"{path} cannot be read as Parquet: {error}") from error
    for number, row in enumerate(table.to_pylist()):
        if not isinstance(row[text], str) or not row[text].strip():
            raise PromptError(f"{path}: row {number} has no text in {text}")
        yield Prompt(row[text].strip(), category=str(row[category] or "") if category else "")
