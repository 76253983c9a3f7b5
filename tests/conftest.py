"""Fixtures for all tests."""

from __future__ import annotations

import pytest

from pairwright import hardware


@pytest.fixture
def every_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks have the number format that they are asked for, also where the processor can only imitate it."""
    monkeypatch.setattr(hardware, "multiplies", lambda _: True)
