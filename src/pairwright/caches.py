"""Where things are kept that belong to the user and not to a run: answers of servers, the first scores of a checkpoint.

``PAIRWRIGHT_CACHE`` where it is set, else ``pairwright`` in ``XDG_CACHE_HOME``, else ``~/.cache/pairwright``. Whatever is there
may be deleted; it is then computed or asked for again.
"""

from __future__ import annotations

import os
from pathlib import Path


def folder(kind: str) -> Path:
    """The folder for one kind of thing; it need not exist yet."""
    override = os.environ.get("PAIRWRIGHT_CACHE")
    if override:
        return Path(override).expanduser() / kind
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "pairwright" / kind
