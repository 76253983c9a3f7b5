"""`pairwright doctor --scorers`: what is here is loaded and compared with what was first seen; what is not is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from pairwright import cli, hardware, literals, plugins, weights
from pairwright.doctor import compare, probes, scorers
from pairwright.doctor.findings import Finding
from pairwright.doctor.probes import Seen
from pairwright.options import Plugin
from tests.miniatures.blip import write_imagereward, write_vocabulary
from tests.miniatures.classifier import write_classifier
from tests.miniatures.clip import write_clip

PICKSCORE, COMMIT = "yuvalkirstain/PickScore_v1", "a4e4367c6dfa7288a00c550414478f865b875800"
FREE = {"chance", "colorfulness", "texture"}
"""Scorers without weights."""
SHELF = plugins.names("rewards")
FEW = ["colorfulness", "imagereward", "pickscore", "texture"]
"""What most tests have on the shelf: loading more takes longer and shows no more."""


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PAIRWRIGHT_TINY", str(tmp_path / "pack"))
    monkeypatch.setattr(plugins, "names", lambda _: FEW)


def snapshot(tmp_path: Path, repository: str, commit: str) -> Path:
    """A repository's folder in the cache; ``main`` is at that commit."""
    root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    folder = root / "snapshots" / commit
    folder.mkdir(parents=True)
    return folder


def cache_imagereward(tmp_path: Path, commit: str, seed: int = 0) -> Path:
    folder = snapshot(tmp_path, "THUDM/ImageReward", commit)
    write_imagereward(folder, seed)
    write_vocabulary(folder)
    return folder


def report() -> dict[str, Finding]:
    return {each.label: each for each in scorers.checked()}


def kept(tmp_path: Path, label: str) -> tuple[Path, dict[str, Any]]:
    path = tmp_path / "cache" / "scorers" / f"{label}.json"
    return path, json.loads(path.read_text())


def test_what_is_cached_is_loaded_and_its_first_scores_are_kept_with_all_they_rest_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "names", lambda _: SHELF)
    write_clip(snapshot(tmp_path, PICKSCORE, COMMIT))
    found = report()
    assert found.keys() == {*FREE, "pickscore", "realism", "not here", "not tried"}
    assert found["pickscore"].text.startswith("loads; its scores are kept from now on")
    assert "imagereward" in found["not here"].text
    assert found["not tried"].text.startswith("classifier (model), openai (served_model)")
    _, record = kept(tmp_path, "pickscore")
    assert record["revisions"] == {"model": COMMIT}
    assert "model/model.safetensors" in record["files"]
    assert record["dtype"] == "bfloat16"
    assert record["versions"]["torch"]
    pictures, prompts = probes.probe()
    with weights.only_here():
        rows = plugins.load("rewards", "pickscore").score(pictures, prompts)
    assert record["scores"]["pickscore"] == [score for (score,) in rows]


def test_an_unchanged_scorer_is_fine_and_one_without_weights_is_the_same_to_the_last_digit(tmp_path: Path) -> None:
    cache_imagereward(tmp_path, "a" * 40)
    report()
    found = report()
    for label in ("imagereward", "colorfulness", "texture"):
        assert found[label].hint == ""
        assert found[label].text.startswith("as first seen on 20")
    assert "the same to the last digit" in found["texture"].text


def test_weights_that_were_silently_updated_are_reported_with_both_revisions(tmp_path: Path) -> None:
    cache_imagereward(tmp_path, "a" * 40)
    report()
    cache_imagereward(tmp_path, "b" * 40, seed=1)
    found = report()["imagereward"]
    assert found.text.startswith("not as first seen on 20")
    assert "largest difference" in found.text
    assert "tolerance" in found.text
    assert f"silently updated weights of THUDM/ImageReward: revision {'a' * 12} -> {'b' * 12} (ImageReward.pt)" in found.hint
    assert "library" not in found.hint
    path, _ = kept(tmp_path, "imagereward")
    assert str(path) in found.hint
    path.unlink()
    report()
    assert report()["imagereward"].hint == "", "removed as the hint says, today's scores count"


def test_other_content_under_the_same_revision_is_reported(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, PICKSCORE, COMMIT)
    write_clip(folder)
    report()
    shutil.rmtree(folder)
    write_clip(folder, seed=1)
    assert "the same revision, other content (model.safetensors)" in report()["pickscore"].hint


def test_other_scores_by_another_library_are_reported_with_both_versions(tmp_path: Path) -> None:
    write_clip(snapshot(tmp_path, PICKSCORE, COMMIT))
    report()
    path, record = kept(tmp_path, "pickscore")
    now = record["versions"]["transformers"]
    record["versions"]["transformers"] = "4.99.0"
    path.write_text(json.dumps(record))
    same = report()["pickscore"]
    assert same.hint == "", "another version that gives the same scores is no fault"
    assert f"although other library version: transformers 4.99.0 -> {now}" in same.text
    record["scores"]["pickscore"][2] += 7
    path.write_text(json.dumps(record))
    found = report()["pickscore"]
    assert "largest difference 7.0 in pickscore" in found.text
    assert f"other library version: transformers 4.99.0 -> {now}. To keep" in found.hint
    assert "weights" not in found.hint


def test_other_hardware_and_a_picture_without_a_score_are_said(tmp_path: Path) -> None:
    report()
    path, record = kept(tmp_path, "colorfulness")
    record |= {"device": "Another CPU", "scores": {"colorfulness": [None, *record["scores"]["colorfulness"][1:]]}}
    path.write_text(json.dumps(record))
    found = report()["colorfulness"]
    assert "1 of 6 pictures had a score in one of the two readings only" in found.text
    assert found.hint.startswith("other hardware: Another CPU -> ")


def test_one_scorer_that_fails_costs_itself_only(tmp_path: Path) -> None:
    write_clip(snapshot(tmp_path, PICKSCORE, COMMIT))
    (cache_imagereward(tmp_path, "a" * 40) / "ImageReward.pt").write_bytes(b"not weights")
    found = report()
    assert found["imagereward"].text == "cannot be loaded or does not score"
    assert "cannot be read as weights" in found["imagereward"].hint
    assert found["pickscore"].hint == ""


def test_what_has_no_tokenizer_here_is_not_tried(tmp_path: Path) -> None:
    write_clip(snapshot(tmp_path, PICKSCORE, COMMIT), processor=False)
    assert "pickscore" in report()["not here"].text


def test_a_scorer_for_which_memory_does_not_suffice_is_skipped_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(snapshot(tmp_path, PICKSCORE, COMMIT))
    monkeypatch.setattr(hardware, "memory", lambda: (16_000_000_000, 50_000))
    found = report()
    assert found["pickscore"].text.startswith("skipped: it needs about 0.0 GB, and 0.0 GB of memory are free")
    assert found["texture"].text.startswith("loads"), "nothing is read for it"


def test_kept_scores_that_are_damaged_are_said_with_what_to_do(tmp_path: Path) -> None:
    report()
    path, _ = kept(tmp_path, "texture")
    path.write_text("{")
    assert report()["texture"].hint.startswith(f"remove {path}")


def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    write_clip(folder / "pickscore")
    write_imagereward(folder / "imagereward")
    write_vocabulary(folder / "imagereward")
    write_classifier(folder / "classifier", ("species:dahlia", "species:rose", "color:red", "color:orange"))
    return folder


def test_a_pack_is_compared_with_the_golden_scores_that_it_brings(tmp_path: Path) -> None:
    folder = pack(tmp_path)
    assert report()["tiny pack"].text == "has no golden.json: nothing to compare with"
    golden = json.loads(scorers.write_golden(folder).read_text())
    assert golden.keys() == set(scorers.TINY)
    assert golden["classifier"]["scores"]["classifier"].count(None) == 4, "four texts name none of its labels"
    found = report()
    for name in scorers.TINY:
        assert found[f"tiny:{name}"].text.startswith("as golden.json says (")
        assert found[f"tiny:{name}"].hint == ""
    shutil.rmtree(folder / "pickscore")
    write_clip(folder / "pickscore", seed=3)
    found = report()
    assert "silently updated weights of tiny:pickscore: other content (model.safetensors)" in found["tiny:pickscore"].hint
    assert found["tiny:imagereward"].hint == ""


def test_nothing_is_said_of_an_untrained_pack_or_of_none(tmp_path: Path) -> None:
    assert "tiny pack" not in report()
    folder = pack(tmp_path)
    (folder / "UNTRAINED").write_text("drawn at random")
    assert not [label for label in report() if label.startswith("tiny")]


def test_nothing_is_downloaded_and_the_hub_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", asked)
    monkeypatch.setattr("huggingface_hub._snapshot_download.HfApi.repo_info", asked)
    write_clip(snapshot(tmp_path, PICKSCORE, COMMIT))
    assert report()["pickscore"].hint == ""
    with weights.only_here(), pytest.raises(weights.WeightsError, match="is not cached"):
        weights.locate("nobody/nothing")


def test_the_command_says_it_at_the_end_of_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    cli.call(["doctor", "--scorers"])
    said = capsys.readouterr().out
    assert said.index("\nModels\n") < said.index("\nScorers\n") < said.index("  texture")
    cli.call(["doctor"])
    assert "Scorers" not in capsys.readouterr().out


def test_the_tolerance_is_a_part_of_the_spread_or_a_step_of_the_format() -> None:
    assert compare.tolerance([18.0, 22.0], "bfloat16") == (22 / 128, "one step of bfloat16 at such scores")
    assert compare.tolerance([-1.0, 1.0], "bfloat16") == (0.05, "0.05 of the spread over the pictures")
    assert compare.tolerance([-1.0, 1.0], "float32")[0] == pytest.approx(0.001)
    assert compare.tolerance([], "float32")[0] == 0


def test_scores_of_other_pictures_are_not_compared() -> None:
    facts: dict[str, Any] = {"names": {}, "revisions": {}, "files": {}, "versions": {}, "device": "", "dtype": "", "date": "d"}
    one, other = (Seen(probe=each, scores={"x": [number]}, **facts) for each, number in (("p", 1.0), ("q", 2.0)))
    assert compare.compare(one, other, "first seen").wrong == ""
    assert "nothing to compare" in compare.compare(one, other, "first seen").text


def test_the_defaults_that_these_tests_write_are_the_published_names() -> None:
    assert f"{PICKSCORE}@{COMMIT}" == literals.option("rewards", Plugin(name="pickscore"), "model")
    assert literals.option("rewards", Plugin(name="imagereward"), "model") == "THUDM/ImageReward"
