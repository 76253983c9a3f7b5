"""CLIPScore: three published forms of one cosine, told apart by their columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from pairwright import plugins
from pairwright.plugins import PluginError
from pairwright.records import Picture, Prompt
from tests.miniatures import pictures
from tests.miniatures.clip import write_clip

TEXTS = ["a red rose", "Two horses", "", "zebra", "0 1 2"]


def shown() -> list[Picture]:
    return [pictures.picture(number, width=40 + 8 * number) for number in range(len(TEXTS))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clipscore"), seed=4, openai=True)


def load(folder: Path, **options: object) -> Any:
    return plugins.load("rewards", "clipscore", **{"model": str(folder), "dtype": "float32", "device": "cpu", **options})


def cosine(folder: Path, picture: Picture, text: str) -> float:
    """One picture, one text, transformers' own functions. No remainder is odd here, so that both preprocessings agree."""
    model = CLIPModel.from_pretrained(folder).eval()
    processor, tokenizer = CLIPImageProcessorPil.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    with torch.no_grad():
        image = model.get_image_features(**processor(images=picture.image, return_tensors="pt")).pooler_output[0]
        words = model.get_text_features(**tokenizer(text, return_tensors="pt")).pooler_output[0]
    return float(image @ words / image.norm() / words.norm())


@pytest.fixture(scope="module")
def cosines(folder):
    return [cosine(folder, picture, text) for picture, text in zip(shown(), TEXTS, strict=True)]


def scores(reward: Any, texts: list[str] = TEXTS) -> list[float]:
    return [score for (score,) in reward.score(shown(), [Prompt(text) for text in texts])]


def test_the_default_is_100_times_the_cosine_and_never_negative(folder, cosines):
    reward = load(folder)
    assert scores(reward) == pytest.approx([100 * max(each, 0) for each in cosines], abs=1e-4)
    assert [(column.name, column.unit) for column in reward.columns] == [("clipscore_percent", "100 * max(cosine, 0)")]
    assert min(cosines) < -0.01
    assert max(cosines) > 0.01


def test_the_cosine_keeps_its_sign(folder, cosines):
    reward = load(folder, variant="cosine")
    assert scores(reward) == pytest.approx(cosines, abs=1e-6)
    assert [(column.name, column.unit) for column in reward.columns] == [("clipscore_cosine", "cosine")]


def test_the_papers_form_has_its_own_weight_and_words(folder):
    reward = load(folder, variant="hessel")
    expected = [2.5 * max(cosine(folder, each, f"A photo depicts {text}"), 0) for each, text in zip(shown(), TEXTS, strict=True)]
    assert scores(reward) == pytest.approx(expected, abs=1e-5)
    assert max(expected) > 0
    assert reward.columns[0].name == "clipscore_hessel"


def test_alone_is_as_in_a_batch_and_a_broken_picture_is_unscored(folder):
    reward = load(folder, variant="cosine")
    together = scores(reward)
    for picture, text, score in zip(shown(), TEXTS, together, strict=True):
        rows = reward.score([pictures.broken(), picture], [Prompt(text)] * 2)
        assert "decoded" in rows[0].reason
        assert rows[1][0] == pytest.approx(score, abs=1e-6)


def test_an_unknown_variant_is_an_error(folder):
    with pytest.raises(PluginError, match=r"option 'variant'.*'percent', 'cosine' or 'hessel'"):
        load(folder, variant="paper")
