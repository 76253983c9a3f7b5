"""Digests of files by their content, cheap enough to take at every start.

A large file is read once: its digest is remembered beside its size and time of change, in the user's cache. Whoever changes a
file and sets both back to what they were is believed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pairwright import caches
from pairwright.store import write_json

LARGE = 64 * 2**20
"""Bytes from which on a digest is remembered; a smaller file is read in a tenth of a second."""


def of_file(path: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    status = path.stat()
    if status.st_size < LARGE:
        return _read(path)
    note = caches.folder("digests") / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.json"
    seen = {"bytes": status.st_size, "changed": status.st_mtime_ns}
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
        if {name: kept[name] for name in seen} == seen:
            return str(kept["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or damaged: read again
    digest = _read(path)
    write_json(note, {**seen, "sha256": digest})
    return digest


def _read(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
