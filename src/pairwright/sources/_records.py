"""A preference before its pictures are read, and the way to a pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pairwright import images, tables
from pairwright.records import Pair, Picture, Rejected
from pairwright.sources import _names

Cell = bytes | str | None
"""A picture in a table: the encoded file, or its path below the table's root."""


@dataclass(frozen=True)
class Record:
    """For ``prompt``, ``winner`` is better than ``loser``."""

    name: str
    """What it is called where it is rejected: file and row."""
    prompt: str
    winner: Cell
    loser: Cell
    lineage: Mapping[str, object] = field(default_factory=dict)
    mask: bytes | None = None


def cell(value: Any) -> Cell:
    """A column's value as a picture: ``datasets.Image`` (a struct with ``bytes``), plain binary, or a path.

    A struct's own path is not followed: it says where the file once was, on somebody's disk.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes")
    return value if isinstance(value, (bytes, str)) and value else None


def picture(
    found: Cell, root: Path | None, name: str, caption: str = "", provenance: Mapping[str, str] | None = None
) -> Picture | Rejected:
    """Read and check one picture.

    Args:
        found: the picture, or where it is.
        root: folder of paths; None: paths are not followed.
        name: what it is called where it is rejected.
        caption: of the picture.
        provenance: of the picture.
    """
    if found is None:
        return Rejected(name, "missing", "no picture: the column holds no encoded file")
    if isinstance(found, str) and (refusal := _unreachable(found, root, name)):
        return refusal
    try:
        content = images.file_bytes(_names.inside(root, found)) if isinstance(found, str) and root else found
        assert isinstance(content, bytes), "paths without a root were refused"
        data = images.trusted(content)
    except images.ImageError as error:
        return Rejected(name, "decode", f"{found}: {error}" if isinstance(found, str) else str(error))
    return Picture(images.content_id(content), data, caption, provenance or {})


def _unreachable(found: str, root: Path | None, name: str) -> Rejected | None:
    """Why the file that a path names is not opened."""
    if root is None:
        return Rejected(name, "missing", "no picture: the column holds text, not an encoded file")
    if reason := _names.refused(found):
        return Rejected(name, "name", f"{_names.shown(found)}: {reason}")
    return None if _names.inside(root, found).is_file() else Rejected(name, "missing", f"{found} is not there")


def pair(record: Record, root: Path | None) -> Pair | Rejected:
    """Read both pictures of a record. Its id is of the pictures' content and the prompt."""
    if not record.prompt:
        return Rejected(record.name, "caption", "it has no prompt")
    sides = []
    for side, found in (("winner", record.winner), ("loser", record.loser)):
        opened = picture(found, root, record.name, record.prompt)
        if isinstance(opened, Rejected):
            return Rejected(opened.id, opened.step, f"{side}: {opened.reason}")
        sides.append(opened)
    winner, loser = sides
    if winner.id == loser.id:
        return Rejected(record.name, "same", "winner and loser are the same file")
    mask = None
    if record.mask is not None:
        try:
            mask = tables.decode_mask(images.trusted(record.mask))
        except images.ImageError as error:
            return Rejected(record.name, "decode", f"mask: {error}")
    identity = images.content_id(f"{winner.id}/{loser.id}/{record.prompt}".encode())
    return Pair(identity, record.prompt, winner, loser, mask, {**record.lineage, "row": record.name})
