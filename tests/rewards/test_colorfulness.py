"""Colourfulness is Hasler and Suesstrunk's formula, to the last digit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from pairwright import plugins
from pairwright.records import Prompt
from pairwright.rewards import colorfulness
from tests.miniatures import pictures


def test_two_pixels_worked_by_hand():
    # rg = 200, 0 and yb = 50, -100: means 100 and -25, variances 10000 and 5625.
    pixels = np.array([[[250, 50, 100], [0, 0, 100]]], dtype=np.uint8)
    assert colorfulness.measure(Image.fromarray(pixels)) == pytest.approx(125.0 + 0.3 * math.sqrt(10_000 + 625), rel=1e-15)


def test_grey_is_zero():
    assert colorfulness.measure(Image.new("RGB", (5, 7), (113, 113, 113))) == 0


def test_a_plain_colour_has_no_spread():
    # Pure blue: rg = 0, yb = -255.
    pixels = np.zeros((9, 4, 3), dtype=np.uint8)
    pixels[..., 2] = 255
    assert colorfulness.measure(Image.fromarray(pixels)) == pytest.approx(0.3 * 255, rel=1e-15)


def test_a_large_picture_is_as_exact_as_the_textbook_formula():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    red, green, blue = pixels.astype(np.float64).transpose(2, 0, 1)
    rg, yb = red - green, (red + green) / 2 - blue
    expected = np.sqrt(rg.var() + yb.var()) + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    assert colorfulness.measure(Image.fromarray(pixels)) == pytest.approx(expected, rel=1e-12)


def test_sums_of_many_bright_pixels_do_not_overflow():
    # Pure yellow, rg = 0 and yb = 255: 40 million pixels would overflow 32 bits in one sum over a channel.
    picture = Image.new("RGB", (8000, 5000), (255, 255, 0))
    assert colorfulness.measure(picture) == pytest.approx(0.3 * 255, rel=1e-15)


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1), (3, 257)])
def test_long_and_odd_pictures_do_not_overflow_either(size):
    assert colorfulness.measure(Image.new("RGB", size, (255, 255, 0))) == pytest.approx(0.3 * 255, rel=1e-15)


def test_rows_keep_their_order_and_what_cannot_be_decoded_has_its_reason():
    reward = plugins.load("rewards", "colorfulness")
    shown = [pictures.picture(1), pictures.broken(), pictures.picture(2)]
    rows = reward.score(shown, [Prompt("")] * 3)
    assert rows[0] == (colorfulness.measure(shown[0].image),)
    assert rows[2] == (colorfulness.measure(shown[2].image),)
    assert "decoded" in rows[1].reason
    assert "0x" not in rows[1].reason
    assert [column.name for column in reward.columns] == ["colorfulness"]


def test_pictures_and_prompts_must_be_as_many():
    with pytest.raises(ValueError, match="1 pictures and 2 prompts"):
        plugins.load("rewards", "colorfulness").score([pictures.picture(0)], [Prompt("")] * 2)
