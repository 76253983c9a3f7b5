"""Outlines, curves, funnels and choices: what the page draws, in numbers."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pairwright.report.charts import HEIGHT, WIDTH, Series, chart, running_mean
from pairwright.report.funnel import Stage, _unreached
from pairwright.report.gather import spread
from pairwright.report.page import flat, typeset
from pairwright.report.pictures import outline, thumbnail
from pairwright.wording import duration, number, percent, probability


def points(path: str) -> list[list[tuple[float, float]]]:
    """The subpaths of ``MxyLxy...Z``."""
    return [
        [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", part)] for part in path.split("M") if part.strip()
    ]


def area(loop: list[tuple[float, float]]) -> float:
    """The shoelace formula."""
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(loop, loop[1:] + loop[:1], strict=True))) / 2


def test_the_outline_of_a_rectangle_is_that_rectangle() -> None:
    mask = np.zeros((64, 64), dtype=np.float32)
    mask[16:48, 8:40] = 1
    (loop,) = points(outline(mask))
    assert min(x for x, _ in loop) == pytest.approx(100 * 8 / 64)
    assert max(x for x, _ in loop) == pytest.approx(100 * 40 / 64)
    assert min(y for _, y in loop) == pytest.approx(100 * 16 / 64)
    assert area(loop) == pytest.approx(100 * 100 / 4, rel=0.01)


def test_the_outline_of_a_ring_in_a_wide_picture_has_two_loops_of_the_right_areas() -> None:
    rows, columns = np.mgrid[:200, :300]
    distance = np.hypot(rows - 100, columns - 150)
    loops = points(outline(((distance < 80) & (distance > 30)).astype(np.float32)))
    scale = 100 * 100 / (200 * 300)
    assert sorted(area(loop) for loop in loops) == pytest.approx([np.pi * 30**2 * scale, np.pi * 80**2 * scale], rel=0.03)


def test_a_mask_up_to_the_border_is_outlined_along_it() -> None:
    (loop,) = points(outline(np.ones((40, 40), dtype=np.float32)))
    assert area(loop) == pytest.approx(100 * 100, rel=0.02)
    assert all(0 <= value <= 100 for spot in loop for value in spot)


def test_an_empty_mask_has_no_outline() -> None:
    assert outline(np.zeros((40, 40), dtype=np.float32)) == ""


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_any_mask_has_closed_outlines(seed: int, height: int, width: int) -> None:
    """Saddles included: every contour comes back to where it began (asserted inside)."""
    outline(np.random.default_rng(seed).integers(0, 2, (height, width)).astype(np.float32))


def test_a_small_picture_is_embedded_as_it_is_and_a_large_one_made_small() -> None:
    def png(side: int) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (side // 2, side, 3), dtype=np.uint8)).save(stream, "PNG")
        return stream.getvalue()

    small = thumbnail(png(64), 128)
    assert (small.width, small.height) == (64, 32)
    assert small.uri.startswith("data:image/png;base64,")
    large = thumbnail(png(600), 128)
    assert (large.width, large.height) == (128, 64)
    assert large.uri.startswith("data:image/jpeg;base64,")
    assert len(large.uri) < 20_000


def path(text: str) -> np.ndarray:
    return np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", text), dtype=float)


def test_a_straight_line_is_drawn_from_corner_to_corner() -> None:
    found = chart("t", [Series("a", "plain", range(1, 102), [float(each) for each in range(101)])], least=0.0, most=100.0)
    assert found is not None
    drawn = path(found.lines[0].raw)
    assert drawn[0] == pytest.approx([0, HEIGHT])
    assert drawn[-1] == pytest.approx([WIDTH, 0])
    assert [tick.label for tick in found.up] == ["0", "50", "100"]
    assert [tick.at for tick in found.up] == pytest.approx([HEIGHT, HEIGHT / 2, 0])
    assert found.zero is None, "0 is on the edge"


def test_a_long_curve_is_averaged_to_what_a_page_can_show() -> None:
    found = chart("t", [Series("a", "plain", range(5000), np.sin(np.arange(5000) / 300).tolist())])
    assert found is not None
    assert len(path(found.lines[0].raw)) == 300


def test_one_outlier_does_not_flatten_a_curve() -> None:
    values = [1.0 + 0.01 * (step % 7) for step in range(200)]
    values[150] = 1e6
    found = chart("t", [Series("a", "plain", range(200), values)])
    assert found is not None
    assert np.ptp(path(found.lines[0].raw)[:140, 1]) > 0.3 * HEIGHT
    assert float(found.lines[0].last) == pytest.approx(1.03, abs=0.02)


def test_what_is_not_a_number_is_left_out_and_nothing_gives_no_chart() -> None:
    found = chart("t", [Series("a", "plain", [1, 2, 3], [1.0, float("nan"), 3.0]), Series("b", "loser", [], [])])
    assert found is not None
    assert [line.name for line in found.lines] == ["a"]
    assert len(path(found.lines[0].raw)) == 2
    assert chart("t", [Series("a", "plain", [1], [float("inf")])]) is None


@pytest.mark.parametrize("values", [[0.5], [0.0, 0.0, 0.0], [-3.0, -3.0], [1e-9, 2e-9], [1e9, 3e9]])
def test_constant_and_extreme_curves_have_axes(values: list[float]) -> None:
    found = chart("t", [Series("a", "plain", range(len(values)), values)])
    assert found is not None
    assert found.up
    assert np.isfinite(path(found.lines[0].smooth)).all()


def test_the_running_mean_is_unbiased_from_its_first_value() -> None:
    assert running_mean([5.0] * 100) == pytest.approx(np.full(100, 5.0))
    mean = running_mean([0.0] * 100 + [1.0] * 100)
    assert mean[0] == 0.0
    assert mean[-1] > 0.99


def test_a_choice_is_evenly_spread_and_holds_both_ends() -> None:
    assert spread(5, 10) == [0, 1, 2, 3, 4]
    assert spread(101, 5) == [0, 25, 50, 75, 100]
    assert spread(7, 1) == [0]
    assert spread(0, 4) == []


@given(st.integers(0, 5000), st.integers(1, 60))
def test_a_choice_never_repeats(count: int, most: int) -> None:
    chosen = spread(count, most)
    assert len(set(chosen)) == len(chosen) == min(count, most)


def test_who_stayed_and_entered_nothing_was_not_reached() -> None:
    stayed = [Stage("colorfulness", 836, 447, ())]
    (gap,) = _unreached(stayed, 96)
    assert (gap.entered, gap.left, gap.stayed, gap.unreached) == (389, 293, 96, True)
    assert _unreached(stayed, 389) == []
    assert _unreached(stayed, 800) == [], "views multiply"
    assert _unreached([], 5) == []


def test_nested_options_are_lines() -> None:
    found = {
        "steps": 3,
        "gap": {"reward": {"name": "pickscore"}},
        "filters": [{"rule": "top"}],
        "betas": [0.9, 0.999],
        "none": None,
    }
    assert flat(found) == [
        ("steps", "3"),
        ("gap.reward.name", "pickscore"),
        ("filters.0.rule", "top"),
        ("betas", "[0.9, 0.999]"),
        ("none", "null"),
    ]


def test_numbers_in_words() -> None:
    assert [number(value) for value in (0.0, 5.0, 0.123456, 1234.5, 21.04, -0.5)] == [
        "0",
        "5.00",
        "0.123",
        "1,234",
        "21.0",
        "-0.500",
    ]
    assert number(0.42, sign=True) == "+0.420"
    assert number(12345.6, sign=True) == "+12,346"
    assert number(float("inf")) == "none"
    assert percent(0.953) == "95 %"
    assert percent(0.9534, 1) == "95.3 %"
    assert [probability(value) for value in (0.0004, 0.04)] == ["<0.001", "0.040"]
    assert [duration(value) for value in (0.214, 75.0, 3700.0, 9.96)] == ["0.21 s", "1 min 15 s", "1 h 01 min", "10 s"]


def test_only_numbers_get_a_minus_sign() -> None:
    assert typeset("-0.5 (95 % interval -1 to +2)") == "\N{MINUS SIGN}0.5 (95\N{NO-BREAK SPACE}% interval \N{MINUS SIGN}1 to +2)"
    assert typeset("CC-BY-4.0, flower-001") == "CC-BY-4.0, flower-001"
