from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import constants

from pairwright import doctor, hardware, recipe
from pairwright.hardware import Device


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("PAIRWRIGHT_TINY", str(tmp_path / "pack"))


def line(report: str, label: str) -> str:
    return next(each for each in report.splitlines() if each.split()[:1] == label.split()[:1])


def test_the_report_names_what_is_installed_and_what_is_there() -> None:
    import torch

    report = doctor.doctor()
    assert torch.__version__ in line(report, "torch")
    assert str(hardware.cores()) in line(report, "cpu")
    assert re.search(r"\d+\.\d GB", line(report, "memory"))
    assert "optional" in line(report, "datasets")


def test_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    report = doctor.doctor()
    assert "hf_secret" not in report
    assert line(report, "token").split() == ["token", "present"]


def test_a_pack_that_is_not_whole_is_said_to_lack_its_parts(tmp_path: Path) -> None:
    (tmp_path / "pack" / "base").mkdir(parents=True)
    (tmp_path / "pack" / "base" / "weights").write_bytes(bytes(2_000_000))
    report = doctor.doctor()
    assert "2.0 MB" in line(report, "tiny")
    assert "it lacks inpaint, controlnet, pickscore" in line(report, "tiny")
    assert "-> PAIRWRIGHT_TINY points there" in report


def test_a_whole_pack_is_complete(tmp_path: Path) -> None:
    for part in doctor.TINY_PARTS:
        (tmp_path / "pack" / part).mkdir(parents=True)
    (tmp_path / "pack" / "base" / "weights").write_bytes(b"1")
    assert "complete" in line(doctor.doctor(), "tiny")


def test_every_part_that_a_shipped_recipe_names_is_looked_for() -> None:
    for path in recipe.shipped().values():
        text = str(tomllib.loads(path.read_text(encoding="utf-8")))
        assert set(re.findall(r"tiny:([\w.-]+)", text)) <= set(doctor.TINY_PARTS)


def test_cached_models_are_listed_with_their_size(tmp_path: Path) -> None:
    root = tmp_path / "hub" / "models--THUDM--ImageReward"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    (root / "snapshots" / "abc").mkdir(parents=True)
    (root / "snapshots" / "abc" / "ImageReward.pt").write_bytes(bytes(100_000_000))
    assert line(doctor.doctor(), "cached").split() == ["cached", "THUDM/ImageReward,", "0.1", "GB"]


def test_a_missing_library_has_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", ("torch", "no-such-library"))
    report = doctor.doctor()
    assert "MISSING" in line(report, "no-such-library")
    assert "pip install pairwright" in report


def test_an_accelerator_is_listed_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Device("cuda:0", "Some GPU", 24_000_000_000, 20_000_000_000), Device("cpu", "CPU", None, None)]
    monkeypatch.setattr(hardware, "devices", lambda: found)
    assert "Some GPU, 24.0 GB, 20.0 GB free" in line(doctor.doctor(), "cuda:0")


def test_little_memory_has_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "memory", lambda: (4_000_000_000, 1_000_000_000))
    assert "close something" in doctor.doctor()


def test_what_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "memory", lambda: (None, None))
    assert "cannot be read" in line(doctor.doctor(), "memory")


def test_the_probe_measures_something_that_this_processor_can_do() -> None:
    speed = hardware.throughput("cpu", "float32", 0.02)
    assert 1e8 < speed < 1e15
