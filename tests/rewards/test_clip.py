"""Scorers on one network share it: one forward for a picture, and nothing is remembered that is gone."""

from __future__ import annotations

import gc
import os

import pytest
import torch
from PIL import Image

from pairwright import plugins, weights
from pairwright.records import Picture, Prompt
from pairwright.rewards import _clip
from tests.miniatures import pictures
from tests.miniatures.clip import aesthetic_sac_state, aesthetic_state, write_clip, write_head

PROMPTS = [Prompt("a red rose"), Prompt("two horses"), Prompt("")]
EXACT = {"dtype": "float32", "device": "cpu"}


def shown() -> list[Picture]:
    return [pictures.picture(number, width=40 + 5 * number) for number in range(3)]


@pytest.fixture
def folder(tmp_path):
    return write_clip(tmp_path / "clip")


@pytest.fixture
def forwards(monkeypatch):
    """How many pictures each forward saw."""
    seen: list[int] = []
    original = _clip.Clip._see

    def listening(clip, images):
        seen.append(len(images))
        return original(clip, images)

    monkeypatch.setattr(_clip.Clip, "_see", listening)
    return seen


def test_pickscore_and_realism_are_one_network_and_one_forward(folder, forwards):
    pickscore, realism = (plugins.load("rewards", name, model=str(folder), **EXACT) for name in ("pickscore", "realism"))
    assert pickscore.clip is realism.clip
    alone = realism.score(shown(), PROMPTS)
    forwards.clear()
    batch = shown()
    pickscore.score(batch, PROMPTS)
    assert realism.score(batch, PROMPTS) == alone
    assert forwards == [3]


def test_both_aesthetics_and_clipscore_are_one_network_and_one_forward(tmp_path, forwards):
    folder = str(write_clip(tmp_path / "clip", openai=True))
    first = write_head(tmp_path / "one.pth", aesthetic_state())
    second = write_head(tmp_path / "two.pth", aesthetic_sac_state())
    rewards = [
        plugins.load("rewards", "aesthetic", model=str(tmp_path / "one.pth"), sha256=first, backbone=folder, **EXACT),
        plugins.load("rewards", "aesthetic_sac", model=str(tmp_path / "two.pth"), sha256=second, backbone=folder, **EXACT),
        plugins.load("rewards", "clipscore", model=folder, **EXACT),
        plugins.load("rewards", "clipscore", model=folder, variant="hessel", **EXACT),
    ]
    assert len({id(reward.clip) for reward in rewards}) == 1
    batch = shown()
    for reward in rewards:
        assert len(reward.score(batch, PROMPTS)) == 3
    assert forwards == [3]


def test_only_pictures_that_were_not_seen_are_forwarded(folder, forwards):
    clip = _clip.load(str(folder), None, "", dtype="float32", device="cpu")
    images = [picture.image for picture in shown()]
    first = clip.image_features(images[:1])
    both = clip.image_features([images[1], images[0], images[1]])
    assert forwards == [1, 1]
    torch.testing.assert_close(both[1], first[0], atol=0, rtol=0)
    torch.testing.assert_close(both[0], both[2], atol=0, rtol=0)
    # The same picture decoded again is another object; that it gives the same is the forward's doing.
    again = clip.image_features([shown()[1].image])
    assert forwards == [1, 1, 1]
    torch.testing.assert_close(again[0], both[0], atol=1e-6, rtol=0)


def test_features_go_with_their_picture():
    seen = _clip.Seen()
    image, other = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4))
    seen.put(image, torch.ones(2))
    seen.put(other, torch.zeros(2))
    assert image == other
    assert seen.get(image) is not None
    assert [float(features.sum()) for each in (image, other) if (features := seen.get(each)) is not None] == [2, 0]
    del image
    gc.collect()
    assert len(seen) == 1


def test_other_numbers_are_another_network(folder, tmp_path):
    exact = _clip.load(str(folder), None, "", dtype="float32", device="cpu")
    assert _clip.load(str(folder), str(folder), "", dtype="float32", device="cpu") is exact
    assert _clip.load(str(folder), None, "", dtype="bfloat16", device="cpu") is not exact
    assert _clip.load(str(folder), None, "", dtype="float32", device="cpu", original=True) is not exact


def test_weights_that_changed_under_the_same_path_are_loaded_anew(folder):
    before = _clip.load(str(folder), None, "", dtype="float32", device="cpu")
    write_clip(folder, seed=1)
    stamp = (folder / "model.safetensors").stat()
    os.utime(folder / "model.safetensors", ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000))
    after = _clip.load(str(folder), None, "", dtype="float32", device="cpu")
    assert after is not before
    assert not torch.equal(after.network.visual_projection.weight, before.network.visual_projection.weight)


def test_a_network_that_nobody_uses_is_let_go(folder):
    clip = _clip.load(str(folder), None, "", dtype="float32", device="cpu")
    clip.image_features([shown()[0].image])
    number = len(_clip._LOADED)
    del clip
    gc.collect()
    assert len(_clip._LOADED) == number - 1


def test_a_processor_without_a_tokenizer_is_named(tmp_path):
    bare = write_clip(tmp_path / "bare", processor=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(weights.WeightsError, match=r"empty lacks a tokenizer .* and preprocessor_config\.json"):
        _clip.load(str(bare), str(tmp_path / "empty"), "", dtype="float32", device="cpu")
