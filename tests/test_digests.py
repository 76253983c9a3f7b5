"""A large file is read once, and again when it has changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pairwright import digests


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "LARGE", 10)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read: list[Path] = []
    inner = digests._read
    monkeypatch.setattr(digests, "_read", lambda path: read.append(path) or inner(path))  # type: ignore[func-returns-value]
    return read


def test_the_digest_is_that_of_the_content_and_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read, path = counted(monkeypatch), tmp_path / "x.tar"
    path.write_bytes(b"0123456789")
    assert digests.of_file(path) == digests.of_file(path) == hashlib.sha256(b"0123456789").hexdigest()
    assert len(read) == 1
    path.write_bytes(b"0123456780")
    os.utime(path, ns=(0, 1))
    assert digests.of_file(path) == hashlib.sha256(b"0123456780").hexdigest()
    assert len(read) == 2


def test_a_damaged_note_is_read_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read, path = counted(monkeypatch), tmp_path / "x.tar"
    path.write_bytes(b"0123456789")
    digests.of_file(path)
    next((tmp_path / "cache").rglob("*.json")).write_text("{")
    assert digests.of_file(path) == hashlib.sha256(b"0123456789").hexdigest()
    assert len(read) == 2


def test_small_files_leave_no_note(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"1")
    assert digests.of_file(tmp_path / "x") == hashlib.sha256(b"1").hexdigest()
    assert not (tmp_path / "cache").exists()
