"""Large JSON files that are one array of objects, read piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairwright import rowfiles
from pairwright.sources._errors import SourceError

CHUNK = 2**20
MOST = 2**24
"""Characters of one object: none of a data set has nearly as many."""


def items(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of ``[{...}, {...}]``, or of a ``.jsonl``, each with a name that says where it is.

    Raises:
        SourceError: the file is not there, or not that; says at which object.
        RowError: a malformed line of a ``.jsonl``.
    """
    if not path.is_file():
        raise SourceError(f"{path} is not there")
    if path.suffix.lower() == ".jsonl":
        yield from ((f"{path.name}:{row.line}", dict(row.values)) for row in rowfiles.read(path))
        return
    number = 0
    try:
        for value in _array(path):
            if not isinstance(value, dict):
                raise SourceError(f"{path}: object {number} is no object {{...}} but {type(value).__name__}")
            yield f"{path.name}:{number}", value
            number += 1
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}, after object {number}: not UTF-8 ({error.reason})") from error
    except ValueError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path}, after object {number}: not JSON ({error})") from error


def _array(path: Path) -> Iterator[Any]:
    """The values of an array. Raises ValueError where it is none."""
    decoder, first = json.JSONDecoder(), True
    with path.open(encoding="utf-8-sig") as stream:
        text = stream.read(CHUNK).lstrip()
        if not text.startswith("["):
            raise ValueError("expected an array [...] of objects")
        text = text[1:]
        while True:
            text = text.lstrip() or stream.read(CHUNK).lstrip()
            if not text:
                raise ValueError("it ends before the array does")
            if text[0] == "]":
                return
            if not first and text[0] != ",":
                raise ValueError(f"expected ',' or ']' between objects, got {text[0]!r}")
            body = text if first else text[1:].lstrip()
            try:
                value, end = decoder.raw_decode(body)
            except ValueError:
                more = stream.read(CHUNK)
                if not more or len(text) > MOST:
                    raise
                text += more
                continue
            yield value
            text, first = body[end:], False
