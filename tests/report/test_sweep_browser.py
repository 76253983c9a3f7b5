"""Pages of a sweep, and of a run with losses and alarms, in a real browser: narrow, dark, printed, hostile captions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairwright.evaluate import sweeps
from pairwright.report import report, sweep_report
from tests.evaluate.test_sweeps import write_row
from tests.miniatures import browser
from tests.miniatures.run_folder import write_run
from tests.report.test_browser import EXECUTABLE, contrast
from tests.report.test_report import EVIL

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]
CAPTIONS = [*EVIL, "a red poppy in tall grass " * 6]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    assert EXECUTABLE is not None
    with browser.Browser(EXECUTABLE, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    first = write_row(root, "many-8", "8", 8, captions=CAPTIONS)
    second = write_row(root, "many-24", "24", 24, model="stage 1", captions=CAPTIONS)
    _, folder = sweeps.table_of([first, second])
    return sweep_report(folder, root)


@pytest.fixture(scope="module")
def losing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose first models lose against the last, with an alarm."""
    folder = write_run(tmp_path_factory.mktemp("runs"), captions=CAPTIONS, prompts=12)
    path = next(folder.parent.glob("store/compare/*/comparison.json"))
    changed = {"baseline": "stage 1 + 2", "alarms": [{"said": EVIL[0]}], "warnings": [EVIL[1] + " long" * 40]}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    return report(folder)


@pytest.fixture(params=["sweep", "losing"])
def page(request: pytest.FixtureRequest, chromium: browser.Browser) -> Iterator[browser.Page]:
    with chromium.page() as opened:
        opened.size(1280, 900)
        opened.open(request.getfixturevalue(request.param))
        yield opened
        assert opened.events("Log.entryAdded", "Runtime.exceptionThrown") == [], "nothing was blocked and nothing failed"
        reached = [event["request"]["url"] for event in opened.events("Network.requestWillBeSent")]
        assert {url.split(":")[0] for url in reached} <= {"file", "data"}, "nothing was asked of a network"
        assert opened.evaluate("document.title").endswith(" · pairwright"), "no caption ran as a script"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_of_a_screen(page: browser.Page, width: int) -> None:
    page.size(width, 800)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") == width


def test_sections_are_reached_from_the_navigation(page: browser.Page) -> None:
    assert page.evaluate("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.getAttribute('href')))")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_light_and_dark(page: browser.Page, scheme: str) -> None:
    page.media(prefers_color_scheme=scheme)
    for selector in ("body", ".about", ".verdict .figure", ".notes", "footer", ".notice", ".regression small", ".published td"):
        if page.evaluate(f"!!document.querySelector('{selector}')"):
            assert contrast(page, selector) >= 4.5, selector


def test_every_picture_is_drawn_when_it_is_reached(page: browser.Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.evaluate("document.querySelectorAll('.noises input[value=\"1\"]').forEach(each => each.click())")
    pictures = "[...document.querySelectorAll('main img')].filter(each => getComputedStyle(each).display != 'none')"
    assert page.evaluate(f"{pictures}.length") > 8
    page.evaluate(f"Promise.all({pictures}.map(each => {{ each.loading = 'eager'; return each.decode(); }}))")
    assert page.evaluate(f"{pictures}.every(each => each.naturalWidth > 0)")


def test_print_hides_what_cannot_be_pressed(page: browser.Page) -> None:
    page.media("print")
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every(each => getComputedStyle(each).overflow == 'visible')")
