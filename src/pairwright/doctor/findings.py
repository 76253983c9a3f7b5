"""What the doctor's report is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    label: str
    text: str
    hint: str = ""
    """What to do; only where something is off."""
