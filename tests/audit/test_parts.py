"""The parts of an audit, each against a plain computation."""

from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from pairwright import overlaps
from pairwright.audit import cues
from pairwright.audit.duplicates import close
from pairwright.records import Picture
from tests.miniatures.made_pairs import jpeg, png, scene


@pytest.mark.parametrize("quality", [5, 20, 50, 75, 90, 95, 100])
def test_a_jpegs_quality_is_read_from_its_tables(quality):
    assert cues.measure(Picture("a", jpeg(quality)(scene(0), 0)))["JPEG quality"] == quality


def test_a_grey_jpeg_has_a_quality_and_a_png_has_none():
    stream = io.BytesIO()
    scene(1).convert("L").save(stream, "JPEG", quality=33)
    assert cues.measure(Picture("a", stream.getvalue()))["JPEG quality"] == 33
    assert "JPEG quality" not in cues.measure(Picture("a", png(scene(1))))


def test_the_cues_of_a_plain_picture():
    data = png(Image.new("RGB", (8, 4), (200, 100, 40)))
    found = cues.measure(Picture("a", data))
    assert found == {
        "resolution": 32,
        "file format": 0,
        "file size": len(data),
        "brightness": pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 40),
        "red against green": 100,
        "yellow against blue": 110,
        "sharpness": 0,
    }
    assert "sharpness" not in cues.measure(Picture("a", png(Image.new("RGB", (1, 1)))))


def test_near_captions_are_those_that_all_comparisons_would_find():
    random = np.random.default_rng(0)
    vocabulary = [f"w{number}" for number in range(14)]

    def text() -> str:
        return " ".join(random.choice(vocabulary, size=random.integers(2, 10), replace=False))

    prompts, captions = [text() for _ in range(300)], [text() for _ in range(300)]
    found = {match.caption: match for match in overlaps.matches(captions, prompts)}
    expected = 0
    for caption in dict.fromkeys(captions):
        own = set(caption.split())
        alike = [len(own & set(each.split())) / len(own | set(each.split())) for each in prompts if len(set(each.split())) >= 4]
        exact = caption in prompts
        near = not exact and len(own) >= 4 and max(alike) >= 0.8
        expected += near
        assert (caption in found) == (exact or near), caption
        if near:
            assert found[caption].likeness == pytest.approx(max(alike))
            assert not found[caption].exact
    assert expected > 20


def test_case_and_punctuation_do_not_hide_a_prompt():
    (match,) = overlaps.matches(["  A Red, rose!"], ["a red rose", "x"])
    assert match.exact
    assert overlaps.matches(["a red rose"], ["a rose red"]) == [], "three words are too few to be nearly another text"
    assert overlaps.matches(["", "..."], ["", "!"]) == []


def test_close_codes_are_those_that_all_comparisons_would_find(monkeypatch):
    random = np.random.default_rng(1)
    codes = [int(each) for each in random.integers(0, 2**63, 60, dtype=np.int64)]
    codes += [code ^ (1 << int(random.integers(64))) ^ (1 << int(random.integers(64))) for code in codes[:20]] + codes[:3]
    expected = [(one, other) for one, other in combinations(range(len(codes)), 2) if (codes[one] ^ codes[other]).bit_count() <= 6]
    monkeypatch.setattr("pairwright.audit.duplicates._BLOCK", 7)
    assert sorted(close(codes, 6)) == expected
    assert len(expected) >= 23
    assert close([], 6) == []
