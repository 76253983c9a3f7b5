"""What every source may raise."""

from __future__ import annotations

from pairwright.errors import Explained


class SourceError(Explained, ValueError):
    """A source that cannot be read at all; the message names the folder or file and what was looked for."""
