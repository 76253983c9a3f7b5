"""The classifier's score is the probability of what the prompt names, group by group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoImageProcessor, ResNetForImageClassification

from pairwright import plugins
from pairwright.records import Prompt
from pairwright.rewards import classifier
from tests.miniatures import pictures
from tests.miniatures.classifier import LABELS, write_classifier

GROUPS = classifier.grouped(dict(enumerate(LABELS)))
SHOWN = [pictures.picture(number) for number in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def logits(folder):
    network = ResNetForImageClassification.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    with torch.no_grad():
        return network(processor(images=[picture.image for picture in SHOWN], return_tensors="pt")["pixel_values"]).logits


def load(folder: Path, **options: object) -> Any:
    return plugins.load("rewards", "classifier", model=str(folder), device="cpu", **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a photo of a rose", {"species": {"rose"}}),
        ("Roses and daisies", {"species": {"rose", "daisy"}}),
        ("a red rose", {"species": {"rose"}, "color": {"red"}}),
        ("a red rose on a green background", {"species": {"rose"}, "color": {"red"}, "background": {"green"}}),
        ("a green daisy on a green background", {"species": {"daisy"}, "color": {"green"}, "background": {"green"}}),
        ("a close-up on red backgrounds", {"background": {"red"}}),
        ("a primrose, well-reddened", {}),
    ],
)
def test_what_a_prompt_names(text, expected):
    assert classifier.named(text, GROUPS) == expected


def test_labels_of_several_words_have_plurals_too():
    groups = classifier.grouped({0: "water lily", 1: "dish", 2: "c++ (code)"})
    assert classifier.named("water  lilies on dishes", groups) == {"": {"water lily", "dish"}}
    assert classifier.named("a lily", groups) == {}


def test_the_score_is_the_mean_over_the_named_groups(folder, logits):
    rows = load(folder).score(SHOWN, [Prompt("a red rose"), Prompt("roses or daisies"), Prompt("green daisy, red background")])
    first = logits[0, 0:2].softmax(0)[0].item(), logits[0, 2:4].softmax(0)[0].item()
    third = logits[2, 0:2].softmax(0)[1].item(), logits[2, 2:4].softmax(0)[1].item(), logits[2, 4:6].softmax(0)[1].item()
    assert rows[0][0] == pytest.approx(sum(first) / 2, abs=1e-5)
    assert rows[1][0] == pytest.approx(1, abs=1e-5)
    assert rows[2][0] == pytest.approx(sum(third) / 3, abs=1e-5)


def test_one_group_alone_has_a_column_of_its_own(folder, logits):
    reward = load(folder, groups=("color",))
    assert [column.name for column in reward.columns] == ["classifier_color"]
    rows = reward.score(SHOWN[:2], [Prompt("a red rose"), Prompt("a rose on a red background")])
    assert rows[0][0] == pytest.approx(logits[0, 2:4].softmax(0)[0].item(), abs=1e-5)
    assert "names none" in rows[1].reason


def test_a_prompt_that_names_nothing_is_unscored_and_so_is_a_broken_picture(folder):
    rows = load(folder).score([SHOWN[0], pictures.broken()], [Prompt("a horse"), Prompt("a rose")])
    assert "names none" in rows[0].reason
    assert "decoded" in rows[1].reason


def test_alone_is_as_in_a_batch(folder):
    reward = load(folder)
    prompts = [Prompt("a red rose"), Prompt("a daisy"), Prompt("green")]
    for picture, prompt, row in zip(SHOWN, prompts, reward.score(SHOWN, prompts), strict=True):
        assert reward.score([picture], [prompt])[0] == pytest.approx(row, abs=1e-6)


def test_labels_without_groups_are_one_group(tmp_path):
    reward = load(write_classifier(tmp_path, labels=("cat", "dog", "horse")))
    rows = reward.score(SHOWN[:1] * 3, [Prompt("a cat"), Prompt("dogs"), Prompt("a horse")])
    assert sum(score for (score,) in rows) == pytest.approx(1, abs=1e-6)


def test_an_unknown_group_lists_the_groups(folder):
    with pytest.raises(ValueError, match=r"no group 'colour'.*'species', 'color', 'background'"):
        load(folder, groups=("colour",))
