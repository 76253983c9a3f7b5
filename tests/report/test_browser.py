"""The page in a real browser: keys, pointer, narrow screens, dark, print, and what hostile captions can do."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairwright.report import report
from tests.miniatures import browser
from tests.miniatures.run_folder import write_run
from tests.report.test_report import EVIL

EXECUTABLE = browser.find()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]
FIRST = "document.querySelector('.compare')"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    assert EXECUTABLE is not None
    with browser.Browser(EXECUTABLE, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(write_run(tmp_path_factory.mktemp("runs"), captions=[*EVIL, "a red poppy in tall grass " * 6], prompts=14))


@pytest.fixture
def page(chromium: browser.Browser, written: Path) -> Iterator[browser.Page]:
    with chromium.page() as opened:
        opened.size(1280, 900)
        opened.open(written)
        yield opened
        assert opened.events("Log.entryAdded", "Runtime.exceptionThrown") == [], "nothing was blocked and nothing failed"
        reached = [event["request"]["url"] for event in opened.events("Network.requestWillBeSent")]
        assert {url.split(":")[0] for url in reached} <= {"file", "data"}, "nothing was asked of a network"
        assert opened.evaluate("document.title") == "demo · pairwright", "no caption ran as a script"


def test_the_keyboard_moves_the_divider(page: browser.Page) -> None:
    page.evaluate(f"{FIRST}.querySelector('input').focus()")
    page.press("ArrowRight", 39)
    page.press("ArrowRight", 39)
    assert page.evaluate(f"{FIRST}.style.getPropertyValue('--at')") == "52%"
    assert page.evaluate(f"{FIRST}.querySelector('input').getAttribute('aria-valuetext')") == "52 % photograph"
    page.press("Home", 36)
    assert page.evaluate(f"getComputedStyle({FIRST}.querySelector('.loser')).clipPath") == "inset(0px 0px 0px 0%)"
    assert page.evaluate(f"getComputedStyle({FIRST}).outlineStyle") == "solid", "it is seen where the keyboard is"


def test_the_pointer_moves_the_divider_anywhere_on_the_picture(page: browser.Page) -> None:
    page.evaluate(f"{FIRST}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    left, top, width = page.evaluate(
        f"(() => {{ const b = {FIRST}.getBoundingClientRect(); return [b.left, b.top + b.height / 3, b.width]; }})()"
    )
    page.drag((left + 0.5 * width, top), (left + 0.2 * width, top))
    assert page.evaluate(f"Math.abs({FIRST}.querySelector('input').value - 20) <= 1")
    page.drag((left + 0.9 * width, top), (left + 2 * width, top))
    assert page.evaluate(f"{FIRST}.querySelector('input').value") == "100", "it stops at the border"


def test_the_outline_can_be_put_away(page: browser.Page) -> None:
    shown = f"getComputedStyle({FIRST}.querySelector('.outline')).display"
    assert page.evaluate(shown) == "block"
    page.evaluate("document.querySelector('.outlines').click()")
    assert page.evaluate(shown) == "none"


def test_another_noise_shows_the_other_pictures(page: browser.Page) -> None:
    pictures = "[...document.querySelectorAll('.grid [role=cell] img')]"
    visible = f"{pictures}.filter(each => getComputedStyle(each).display != 'none').map(each => each.dataset.n)"
    assert set(page.evaluate(visible)) == {"0"}
    page.evaluate("document.querySelector('.noises input[value=\"1\"]').click()")
    assert set(page.evaluate(visible)) == {"1"}


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_nothing_sticks_out_of_a_screen(page: browser.Page, width: int) -> None:
    page.size(width, 800)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") == width


def test_sections_are_reached_from_the_navigation(page: browser.Page) -> None:
    assert page.evaluate("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.getAttribute('href')))")


def contrast(page: browser.Page, selector: str) -> float:
    """WCAG contrast of an element's colour against the page's."""

    def luminance(colour: str) -> float:
        channels = np.array([float(each) for each in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    front, back = (
        luminance(page.evaluate(f"getComputedStyle(document.querySelector('{where}')).{what}"))
        for where, what in ((selector, "color"), ("body", "backgroundColor"))
    )
    return (max(front, back) + 0.05) / (min(front, back) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_light_and_dark(page: browser.Page, scheme: str) -> None:
    page.media(prefers_color_scheme=scheme)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 22, 26)"
    assert dark == (scheme == "dark")
    for selector in (
        "body",
        ".lead",
        ".about",
        ".verdict .figure",
        ".chip",
        ".pair dd",
        ".pair small",
        ".chart p",
        ".funnel i",
        "footer",
    ):
        assert contrast(page, selector) >= 4.5, selector


def test_print_shows_both_sides_of_a_pair(page: browser.Page) -> None:
    page.media("print")
    for side in ("winner", "loser"):
        assert page.evaluate(f"getComputedStyle({FIRST}.querySelector('.{side}')).position") == "static"
    assert page.evaluate(f"getComputedStyle({FIRST}.querySelector('.loser')).clipPath") == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_the_photograph_is_left_of_the_divider_and_the_repainted_one_right(page: browser.Page) -> None:
    page.evaluate(f"{FIRST}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    page.evaluate("document.querySelector('.outlines').click()")

    def pixels(at: int) -> np.ndarray:
        page.evaluate(f"{FIRST}.style.setProperty('--at', '{at}%')")
        with Image.open(io.BytesIO(page.screenshot(".compare"))) as shot:
            return np.asarray(shot.convert("RGB"), dtype=float)

    photograph, repainted, half = pixels(110), pixels(-10), pixels(50)
    rows, columns = (length // 3 for length in photograph.shape[:2])  # above the handle and its labels
    assert np.abs(photograph - repainted).mean() > 1
    assert np.abs(half - photograph)[:rows, :columns].mean() < 0.1
    assert np.abs(half - repainted)[:rows, -columns:].mean() < 0.1
