"""Texture is the variance of OpenCV's Laplacian."""

from __future__ import annotations

import numpy as np
import pytest

from pairwright import plugins
from pairwright.records import Prompt
from pairwright.rewards import texture
from tests.miniatures import pictures


def test_one_bright_pixel_worked_by_hand():
    # In the middle of 3 x 3: the Laplacian is -400 there, 100 beside it (four times) and 0 in the corners. Mirrored without
    # its edge, the border sees the middle twice: 200 beside it.
    pixels = np.zeros((3, 3, 3), dtype=np.uint8)
    pixels[1, 1] = 100
    values = [0, 200, 0, 200, -400, 200, 0, 200, 0]
    assert texture.measure(pixels) == pytest.approx(np.var(values), rel=1e-15)


def test_a_plain_area_has_none():
    assert texture.measure(np.full((6, 6, 3), (10, 200, 90), dtype=np.uint8)) == 0


def test_it_is_what_opencv_computes():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    pixels = np.random.default_rng(0).integers(0, 256, (37, 52, 3), dtype=np.uint8)
    expected = cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
    assert texture.measure(pixels) == pytest.approx(expected, rel=1e-12)


def test_a_line_of_pixels_is_unscored():
    line = pictures.encoded(np.zeros((1, 9, 3), dtype=np.uint8))
    rows = plugins.load("rewards", "texture").score([line, pictures.picture(0)], [Prompt("")] * 2)
    assert "no Laplacian" in rows[0].reason
    assert rows[1] == (texture.measure(pictures.picture(0).pixels),)
