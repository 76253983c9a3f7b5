"""PickScore: 100 times a cosine, whatever stands beside it in the batch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from pairwright import plugins, weights
from pairwright.records import Picture, Prompt
from pairwright.rewards import _clip
from tests.miniatures import pictures
from tests.miniatures.clip import write_clip, write_processor

PROMPTS = [Prompt(text) for text in ("a red rose", "Two HORSES &amp; a cat,  on grass", "", "a red rose")]


def shown() -> list[Picture]:
    """Pictures that nobody has seen yet: what has been seen is remembered, and would make some comparisons trivial."""
    return [pictures.picture(number, width=40 + 9 * number) for number in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("pickscore"))


@pytest.fixture(scope="module")
def reward(folder):
    return plugins.load("rewards", "pickscore", model=str(folder), dtype="float32", device="cpu")


def published(folder: Path, picture: Picture, text: str) -> float:
    """The published way: one picture, one text, ``exp(logit_scale) * cosine``."""
    model = CLIPModel.from_pretrained(folder).eval()
    processor, tokenizer = CLIPImageProcessorPil.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    with torch.no_grad():
        image = model.get_image_features(**processor(images=picture.image, return_tensors="pt")).pooler_output
        tokens = tokenizer(text, padding=True, truncation=True, max_length=77, return_tensors="pt")
        words = model.get_text_features(**tokens).pooler_output
        cosine = (image / image.norm(dim=-1, keepdim=True)) @ (words / words.norm(dim=-1, keepdim=True)).T
        return float(model.logit_scale.exp() * cosine)


def test_it_is_the_published_score(folder, reward):
    rows = reward.score(shown(), PROMPTS)
    for picture, prompt, (score,) in zip(shown(), PROMPTS, rows, strict=True):
        assert score == pytest.approx(published(folder, picture, prompt.text), abs=2e-3)
    assert len({round(score, 3) for (score,) in rows}) == 4


def test_alone_is_as_in_a_batch(folder, reward):
    together = reward.score(shown(), PROMPTS)
    for picture, prompt, row in zip(shown(), PROMPTS, together, strict=True):
        assert reward.score([picture], [prompt])[0] == pytest.approx(row, abs=1e-4)
    small = plugins.load("rewards", "pickscore", model=str(folder), dtype="float32", device="cpu", batch_size=3)
    assert [row[0] for row in small.score(shown(), PROMPTS)] == pytest.approx([row[0] for row in together], abs=1e-4)


def test_the_unit_does_not_follow_the_checkpoint(tmp_path, reward):
    other = plugins.load(
        "rewards", "pickscore", model=str(write_clip(tmp_path, logit_scale=math.log(10))), dtype="float32", device="cpu"
    )
    assert other.clip.scale == pytest.approx(10, rel=1e-4)
    assert reward.clip.scale == pytest.approx(100, rel=1e-3)
    assert other.score(shown()[:1], PROMPTS[:1])[0] == pytest.approx(reward.score(shown()[:1], PROMPTS[:1])[0], abs=1e-4)
    assert [(column.name, column.unit) for column in reward.columns] == [("pickscore", "100 * cosine")]


@pytest.mark.usefixtures("every_format")
def test_bfloat16_networks_have_float32_heads(folder, reward):
    half = plugins.load("rewards", "pickscore", model=str(folder), device="cpu")
    assert half.clip.network.vision_model.dtype == half.clip.network.text_model.dtype == torch.bfloat16
    for projection in ("visual_projection", "text_projection"):
        # Not rounded on the way either.
        rows, exact = (getattr(each.clip.network, projection).weight for each in (half, reward))
        torch.testing.assert_close(rows, exact, atol=0, rtol=0)
    assert half.clip.image_features([shown()[0].image]).dtype == torch.float32
    for row, exact in zip(half.score(shown(), PROMPTS), reward.score(shown(), PROMPTS), strict=True):
        assert row == pytest.approx(exact, abs=2.0)


def test_the_text_is_untouched(folder, reward):
    raw, clean = "Two &amp; HALF \u201croses\u201d", 'two & half "roses"'
    rows = reward.score([shown()[0]] * 2, [Prompt(raw), Prompt(clean)])
    assert [score for (score,) in rows] == pytest.approx([published(folder, shown()[0], text) for text in (raw, clean)], abs=2e-3)
    assert abs(rows[0][0] - rows[1][0]) > 0.1


def test_a_broken_picture_is_unscored_and_costs_itself_only(reward):
    alone = reward.score([shown()[1]], [PROMPTS[1]])
    rows = reward.score([pictures.broken(), shown()[1], pictures.broken()], [PROMPTS[0], PROMPTS[1], PROMPTS[2]])
    assert rows[1] == pytest.approx(alone[0], abs=1e-4)
    assert rows[0].reason == rows[2].reason
    assert "decoded" in rows[0].reason


def test_texts_are_embedded_once_and_forgotten_in_the_end(folder, reward, monkeypatch):
    clip = _clip.load(str(folder), None, "", dtype="float32", device="cpu")
    asked = []
    embed = clip._embed

    def listening(texts):
        asked.extend(texts)
        return embed(texts)

    monkeypatch.setattr(clip, "_embed", listening)
    monkeypatch.setattr(_clip, "REMEMBERED", 2)
    assert clip.text_features(["a", "b", "a"]).shape == (3, 16)
    clip.text_features(["b", "c"])
    clip.text_features(["b"])
    clip.text_features(["a"])
    assert asked == ["a", "b", "c", "a"]


def test_a_text_longer_than_77_tokens_is_cut(reward):
    long = "flower " * 60
    rows = reward.score(shown()[:1] * 2, [Prompt(long), Prompt(long + " and a horse")])
    assert rows[0] == pytest.approx(rows[1], abs=1e-5)


def test_tokenizer_and_preprocessing_may_be_elsewhere(tmp_path, reward):
    alone = write_clip(tmp_path / "alone", processor=False)
    (tmp_path / "processor").mkdir()
    write_processor(tmp_path / "processor")
    split = plugins.load(
        "rewards", "pickscore", model=str(alone), processor=str(tmp_path / "processor"), dtype="float32", device="cpu"
    )
    assert split.score(shown()[:1], PROMPTS[:1])[0] == pytest.approx(reward.score(shown()[:1], PROMPTS[:1])[0], abs=1e-4)


def test_weights_that_do_not_fit_are_named(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    write_clip(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["text_projection.bias"] = state.pop("text_projection.weight")
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        weights.WeightsError, match=r"1 missing keys: text_projection\.weight\. 1 unexpected keys: text_projection\.bias"
    ):
        plugins.load("rewards", "pickscore", model=str(tmp_path), device="cpu")


def test_the_original_transform_is_bicubic_then_centre_then_normalised():
    picture = pictures.picture(3, width=64, height=32)
    result = _clip.original_transform([picture.image], 32)
    # The short side is 32 already, so nothing is resampled: columns 16..48 of the picture itself.
    expected = (picture.tensor[:, :, 16:48] - torch.tensor(_clip.MEAN)[:, None, None]) / torch.tensor(_clip.STD)[:, None, None]
    torch.testing.assert_close(result[0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("width", "left"), [(35, 2), (37, 2), (39, 4)])
def test_the_original_transform_rounds_an_odd_remainder_half_to_even(width, left):
    picture = pictures.picture(1, width=width, height=32)
    result = _clip.original_transform([picture.image], 32)
    expected = (picture.tensor[0, :, left : left + 32] - _clip.MEAN[0]) / _clip.STD[0]
    torch.testing.assert_close(result[0, 0], expected, atol=1e-6, rtol=0)
