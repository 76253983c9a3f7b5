"""Realism: one picture, two texts, the difference of two PickScores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from pairwright import plugins
from pairwright.records import Picture, Prompt
from pairwright.rewards import _clip
from tests.miniatures import pictures
from tests.miniatures.clip import write_clip

PROMPTS = [Prompt(text) for text in ("a red rose", "Two &amp; horses", "")]


def shown() -> list[Picture]:
    return [pictures.picture(number, width=40 + 9 * number) for number in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("realism"))


@pytest.fixture(scope="module")
def reward(folder):
    return plugins.load("rewards", "realism", model=str(folder), dtype="float32", device="cpu")


def pickscore(folder: Path, picture: Picture, text: str) -> float:
    model = CLIPModel.from_pretrained(folder).eval()
    processor, tokenizer = CLIPImageProcessorPil.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    inputs = {**processor(images=picture.image, return_tensors="pt"), **tokenizer(text, return_tensors="pt")}
    with torch.no_grad():
        return float(model(**inputs).logits_per_image)


def test_it_is_the_difference_of_two_pickscores(folder, reward):
    rows = reward.score(shown(), PROMPTS)
    expected = [
        pickscore(folder, picture, f"Realistic photo. {prompt.text}") - pickscore(folder, picture, f"CG render. {prompt.text}")
        for picture, prompt in zip(shown(), PROMPTS, strict=True)
    ]
    assert [score for (score,) in rows] == pytest.approx(expected, abs=2e-3)
    assert max(abs(each) for each in expected) > 0.1
    assert reward.columns[0].name == "realism"


def test_a_picture_is_seen_once_for_both_texts(reward, monkeypatch):
    seen: list[int] = []
    original = _clip.Clip._see

    def listening(clip, images):
        seen.append(len(images))
        return original(clip, images)

    monkeypatch.setattr(_clip.Clip, "_see", listening)
    reward.score(shown(), PROMPTS)
    assert seen == [3]


def test_alone_is_as_in_a_batch_and_a_broken_picture_is_unscored(reward):
    together = reward.score(shown(), PROMPTS)
    for picture, prompt, row in zip(shown(), PROMPTS, together, strict=True):
        broken, alone = reward.score([pictures.broken(), picture], [prompt] * 2)
        assert "decoded" in broken.reason
        assert alone == pytest.approx(row, abs=1e-4)
