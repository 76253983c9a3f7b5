from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from pairwright import places

PIPELINE = {
    "README.md": 1,
    "model_index.json": 10,
    "v1-5-pruned.ckpt": 10**9,
    "v1-5-pruned.safetensors": 10**9,
    "scheduler/scheduler_config.json": 10,
    "tokenizer/vocab.json": 100,
    "text_encoder/config.json": 10,
    "text_encoder/model.safetensors": 1000,
    "text_encoder/model.fp16.safetensors": 500,
    "safety_checker/model.safetensors": 10**9,
    "unet/config.json": 10,
    "unet/diffusion_pytorch_model.safetensors": 2000,
    "unet/diffusion_pytorch_model.non_ema.safetensors": 2000,
    "unet/diffusion_pytorch_model.bin": 2000,
    "vae/config.json": 10,
    "vae/diffusion_pytorch_model.safetensors": 3000,
}
WITH_TRANSFORMER = (
    *("model_index.json", "tokenizer/vocab.json", "tokenizer_3/spiece.model", "text_encoder/model.safetensors"),
    *(
        "text_encoder_2/model.safetensors",
        "text_encoder_3/model-00001-of-00002.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ),
    "transformer/diffusion_pytorch_model.safetensors",
)
NEEDED = 10 + 10 + 100 + 10 + 1000 + 10 + 2000 + 10 + 3000


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("PAIRWRIGHT_TINY", str(tmp_path / "pack"))


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    """Puts ``answer`` (files and sizes, or an error) in the hub's place; returns what it is asked for."""
    asked: list[str] = []

    def model_info(self: Any, repository: str, **given: Any) -> Any:
        assert given["timeout"] == places.TIMEOUT_SECONDS
        asked.append(repository)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name, size=size) for name, size in answer.items()])

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    return asked


def cached(tmp_path: Path, repository: str, files: dict[str, int]) -> None:
    root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    for name, size in files.items():
        path = root / "snapshots" / "abc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(min(size, 5000)))


def test_of_a_repository_only_the_files_that_are_read_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, PIPELINE)
    found = places.place("owner/model", "pipeline", places.Hub())
    assert (found.state, found.bytes, found.about) == ("download", NEEDED, False)


def test_one_format_of_a_network_is_enough() -> None:
    names = ["config.json", "model.safetensors", "pytorch_model.bin", "logo.png"]
    assert places.wanted("weights", names) == ["config.json", "model.safetensors"]
    assert places.wanted("weights", ["med_config.json", "ImageReward.pt"]) == ["med_config.json", "ImageReward.pt"]
    assert places.wanted("processor", names) == ["config.json"]


def test_a_pipeline_may_have_a_transformer_and_three_text_encoders() -> None:
    names = [*WITH_TRANSFORMER, "text_encoder_3/model.fp16-00001-of-00002.safetensors", "sd3.5_medium.safetensors"]
    assert places.wanted("pipeline", names) == list(WITH_TRANSFORMER)
    assert places.complete("pipeline", names)
    assert not places.complete("pipeline", [each for each in names if not each.startswith("transformer/")])


def test_what_is_cached_whole_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, PIPELINE)
    cached(tmp_path, "owner/model", PIPELINE)
    found = places.place("owner/model", "pipeline", places.Hub())
    assert (found.state, found.bytes, asked) == ("cached", NEEDED, [])


def test_of_what_is_cached_in_part_the_rest_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, PIPELINE)
    cached(tmp_path, "owner/model", {name: size for name, size in PIPELINE.items() if name.startswith(("vae", "tokenizer"))})
    found = places.place("owner/model", "pipeline", places.Hub())
    assert (found.state, found.bytes) == ("download", NEEDED - 3000 - 10 - 100)


def test_a_silent_hub_is_asked_once_and_the_catalogue_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, OSError("no route"))
    hub = places.Hub()
    found = places.place("yuvalkirstain/PickScore_v1", "weights", hub)
    assert (found.state, found.bytes, found.about) == ("download", 986_109_441 * 4, True)
    assert places.place("nobody/nothing", "weights", hub).bytes is None
    assert asked == ["yuvalkirstain/PickScore_v1"]
    assert "OSError" in hub.silent


def test_offline_means_not_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, PIPELINE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub = places.Hub()
    assert places.place("owner/model", "pipeline", hub).bytes is None
    assert (asked, hub.silent) == ([], "HF_HUB_OFFLINE is set")


def test_what_the_hub_refuses_is_a_problem_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = huggingface_hub.errors.RepositoryNotFoundError
    answering(monkeypatch, kind.__new__(kind))  # made without the HTTP response, whose library changes
    hub = places.Hub()
    found = places.place("owner/typo", "weights", hub)
    assert found.state == "missing"
    assert "the hub has no owner/typo" in found.problem
    assert not hub.silent


def test_local_things_are_told_from_the_package_s_and_from_those_that_are_nowhere(tmp_path: Path) -> None:
    (tmp_path / "pack" / "base").mkdir(parents=True)
    (tmp_path / "mine.safetensors").write_bytes(b"12345")
    hub = places.Hub(silent="a test")
    assert places.place("tiny:base", "pipeline", hub).state == "package"
    here = places.place(str(tmp_path / "mine.safetensors"), "weights", hub)
    assert (here.state, here.bytes) == ("disk", 5)
    assert "has no 'absent'" in places.place("tiny:absent", "pipeline", hub).problem
    assert "neither a file" in places.place("./absent", "weights", hub).problem
    assert "github.com/xuebinqin" in places.place("u2net.pth", "weights", hub).problem
