"""As ``tint``, but an editor that reads a caption and no instruction."""

from __future__ import annotations

from tests.fakes.tint import Deaf


def load() -> Deaf:
    """No options."""
    return Deaf()
