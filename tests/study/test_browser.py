"""A study in a real browser: keys, buttons, phone, zoom, undo, a lost connection, captions that attack, 18 raters."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pairwright import study
from pairwright.study.analysis import Bootstrap
from pairwright.study.database import FILE, Database
from tests.miniatures import browser
from tests.miniatures.study import prefer, served, showings, tokens, write_study
from tests.report.test_report import EVIL

EXECUTABLE = browser.find()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]
KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "ArrowUp": 38, "ArrowDown": 40, "t": 84, "u": 85, "z": 90, "Escape": 27}
VOTING = "!document.getElementById('vote').hidden && ready"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    assert EXECUTABLE is not None
    with browser.Browser(EXECUTABLE, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs"), prompts=6, side=48, captions=EVIL, raters=9, ties=True)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page(chromium: browser.Browser) -> Iterator[browser.Page]:
    with chromium.page() as opened:
        opened.size(1280, 800)
        yield opened
        assert opened.events("Log.entryAdded", "Runtime.exceptionThrown") == [], "nothing was blocked and nothing failed"
        hosts = {event["request"]["url"].split("/")[2] for event in opened.events("Network.requestWillBeSent")}
        assert len(hosts) <= 1, "nothing was asked of another server"


def press(page: browser.Page, key: str) -> None:
    page.press(key, KEYS[key])


def begin(page: browser.Page, address: str, token: str) -> None:
    page.visit(f"{address}/r/{token}")
    page.wait_until("!document.getElementById('consent').hidden")
    page.evaluate("document.getElementById('agree').click()")
    page.wait_until(VOTING)


def votes(folder: Path, token: str) -> list[dict[str, Any]]:
    with Database(folder / FILE) as database:
        number = database.rater(token)
        return [row for row in database.votes() if row["rater"] == number]


def test_a_rater_agrees_answers_with_keys_and_buttons_and_comes_to_the_end(page: browser.Page, folder: Path, address: str) -> None:
    token = tokens(folder)[0]
    page.visit(f"{address}/r/{token}")
    page.wait_until("!document.getElementById('consent').hidden")
    assert votes(folder, token) == []
    page.evaluate("document.getElementById('agree').click()")
    given = []
    for turn, (what, key) in enumerate(
        [("left", "ArrowLeft"), ("right", "ArrowRight"), ("tie", "t"), ("left", ""), ("tie", ""), ("right", "")]
    ):
        page.wait_until(f"{VOTING} && state.done === {turn}")
        assert page.evaluate("document.getElementById('count').textContent") == f"{turn + 1} of 8"
        assert page.evaluate("document.getElementById('prompt').textContent === state.pair.prompt")
        assert page.evaluate("pictures.left.naturalWidth") == 48
        given.append(what)
        if key:
            press(page, key)
        else:
            page.evaluate(f"document.querySelector('[data-answer={what}]').click()")
    for turn in (6, 7):
        page.wait_until(f"{VOTING} && state.done === {turn}")
        press(page, "ArrowLeft")
    page.wait_until("!document.getElementById('end').hidden")
    assert [row["answer"] for row in votes(folder, token)] == [*given, "left", "left"]
    assert {row["layout"] for row in votes(folder, token)} == {"side"}
    assert page.evaluate("document.title") == "Which picture?", "no caption ran as a script"
    page.evaluate("document.getElementById('undo-end').click()")
    page.wait_until(f"{VOTING} && state.done === 7")


def test_captions_are_shown_as_text(page: browser.Page, folder: Path, address: str) -> None:
    begin(page, address, tokens(folder)[1])
    for turn in range(8):
        page.wait_until(f"{VOTING} && state.done === {turn}")
        shown = page.evaluate("document.getElementById('prompt').innerHTML")
        assert "<script" not in shown
        assert "<img" not in shown
        press(page, "ArrowLeft")
    page.wait_until("!document.getElementById('end').hidden")
    assert page.evaluate("document.title") == "Which picture?"


def test_the_last_answer_is_taken_back_with_a_key(page: browser.Page, folder: Path, address: str) -> None:
    token = tokens(folder)[2]
    begin(page, address, token)
    assert page.evaluate("document.getElementById('undo').disabled") is True
    first = page.evaluate("state.pair.assignment")
    press(page, "ArrowLeft")
    page.wait_until(f"{VOTING} && state.done === 1")
    press(page, "u")
    page.wait_until(f"{VOTING} && state.done === 0")
    assert page.evaluate("state.pair.assignment") == first
    press(page, "ArrowRight")
    page.wait_until(f"{VOTING} && state.done === 1")
    assert [(row["answer"], row["undone"] is None) for row in votes(folder, token)] == [("left", False), ("right", True)]


def test_a_link_goes_on_where_it_was(page: browser.Page, folder: Path, address: str) -> None:
    token = tokens(folder)[3]
    begin(page, address, token)
    press(page, "ArrowLeft")
    page.wait_until(f"{VOTING} && state.done === 1")
    pair = page.evaluate("state.pair.assignment")
    page.visit(f"{address}/r/{token}")
    page.wait_until(VOTING)
    assert (page.evaluate("state.done"), page.evaluate("state.pair.assignment")) == (1, pair)


def test_the_next_pair_is_loaded_before_it_is_asked_for(page: browser.Page, folder: Path, address: str) -> None:
    begin(page, address, tokens(folder)[4])
    following = page.evaluate("[state.next.left, state.next.right]")
    page.wait_until(
        f"{VOTING} && performance.getEntriesByType('resource').filter(each => each.name.includes('/picture/')).length >= 4"
    )
    asked = [event["request"]["url"].rsplit("/", 1)[1] for event in page.events("Network.requestWillBeSent")]
    assert set(following) <= set(asked)


def test_keys_do_nothing_before_the_least_time(page: browser.Page, tmp_path: Path) -> None:
    slow = write_study(tmp_path, prompts=3, raters=1, least_seconds=1.5, checks=0)
    with served(slow) as port:
        page.visit(f"http://127.0.0.1:{port}/r/{tokens(slow)[0]}")
        page.wait_until("!document.getElementById('consent').hidden")
        page.evaluate("document.getElementById('agree').click()")
        page.wait_until("!document.getElementById('vote').hidden")
        press(page, "ArrowLeft")
        assert page.evaluate("document.querySelector('[data-answer=left]').getAttribute('aria-disabled')") == "true"
        page.wait_until(VOTING)
        assert page.evaluate("state.done") == 0
        press(page, "t")
        assert page.evaluate("document.querySelector('[data-answer=tie]')") is None, "this study has no ties"
        press(page, "ArrowLeft")
        page.wait_until("state.done === 1")
        (row,) = votes(slow, tokens(slow)[0])
    assert row["milliseconds"] >= 1500
    assert row["seconds"] >= 1.5


def test_pictures_are_enlarged_and_changed_in_place(page: browser.Page, folder: Path, address: str) -> None:
    begin(page, address, tokens(folder)[5])
    small = page.evaluate("pictures.left.getBoundingClientRect().height")
    press(page, "z")
    page.wait_until("document.getElementById('zoom').open && document.getElementById('large').complete")
    assert page.evaluate("document.getElementById('large').getBoundingClientRect().height") > small
    left = page.evaluate("document.getElementById('large').src")
    press(page, "ArrowRight")
    assert page.evaluate("document.getElementById('large').src") != left
    assert page.evaluate("document.querySelector('[data-large=right]').getAttribute('aria-pressed')") == "true"
    assert page.evaluate("state.done") == 0, "while enlarged, arrows do not answer"
    press(page, "Escape")
    page.wait_until("!document.getElementById('zoom').open")
    page.evaluate("document.querySelector('[data-side=right]').click()")
    page.wait_until("document.getElementById('zoom').open")


def test_on_a_phone_pictures_stand_above_each_other_and_everything_fits(page: browser.Page, folder: Path, address: str) -> None:
    token = tokens(folder)[6]
    page.size(390, 844)
    begin(page, address, token)
    assert page.evaluate("document.scrollingElement.scrollWidth") == 390
    assert page.evaluate("document.scrollingElement.scrollHeight") == 844
    top, below = page.evaluate("[pictures.left, pictures.right].map(each => each.getBoundingClientRect().top)")
    assert below > top + 100
    assert page.evaluate("document.querySelector('[data-answer=left]').innerText").strip() == "Upper"
    assert page.evaluate("Math.min(...answers.map(each => each.getBoundingClientRect().height))") >= 44
    page.evaluate("document.querySelector('[data-answer=right]').click()")
    page.wait_until("state.done === 1")
    assert votes(folder, token)[0]["layout"] == "stacked"
    assert votes(folder, token)[0]["answer"] == "right", "the lower one"


@pytest.mark.parametrize(("width", "height"), [(320, 568), (844, 390), (768, 1024), (1920, 1080)])
def test_nothing_sticks_out_of_a_screen(page: browser.Page, folder: Path, address: str, width: int, height: int) -> None:
    page.size(width, height)
    page.visit(f"{address}/r/{tokens(folder)[8]}")
    page.wait_until("!document.getElementById('consent').hidden || !document.getElementById('vote').hidden")
    if page.evaluate("!document.getElementById('consent').hidden"):  # of whichever size comes first in this process
        begin(page, address, tokens(folder)[8])
    page.wait_until(VOTING)
    assert page.evaluate("[document.scrollingElement.scrollWidth, document.scrollingElement.scrollHeight]") == [width, height]
    assert page.evaluate("Math.min(pictures.left.clientHeight, pictures.left.clientWidth)") >= 100
    with Database(folder / FILE) as database:
        secret = database.secret()
    page.visit(f"{address}/research?token={secret}")
    assert page.evaluate("document.scrollingElement.scrollWidth") == width


def test_everything_has_a_name_and_is_reached_by_tab(page: browser.Page, folder: Path, address: str) -> None:
    begin(page, address, tokens(folder)[7])
    assert page.evaluate("Object.values(pictures).every(each => each.alt.includes(state.pair.prompt))")
    reached = []
    for _ in range(8):
        page.press("Tab", 9)
        reached.append(page.evaluate("document.activeElement.dataset.answer || document.activeElement.dataset.side || ''"))
    assert reached[:5] == ["left", "right", "left", "tie", "right"]


class Gate:
    """The way to a server, which can be closed: connections are then refused."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder

    @contextmanager
    def open(self) -> Iterator[None]:
        command = [sys.executable, "-m", "pairwright.cli", "study", "serve", str(self._folder), "--port", str(self.port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert any(line.startswith("listening") for line in process.stdout)
        try:
            yield
        finally:
            process.kill()
            process.wait(20)
            process.stdout.close()


def test_an_answer_given_while_the_server_is_away_is_saved_when_it_is_back(chromium: browser.Browser, tmp_path: Path) -> None:
    away = write_study(tmp_path, prompts=3, raters=1, checks=0)
    gate, token = Gate(away), tokens(away)[0]
    with chromium.page() as page:
        with gate.open():
            begin(page, f"http://127.0.0.1:{gate.port}", token)
        press(page, "ArrowRight")
        page.wait_until("document.getElementById('notice').textContent.startsWith('Not saved yet')")
        assert votes(away, token) == []
        assert page.evaluate("JSON.parse(localStorage.getItem(kept)).answer") == "right", "also if the page is closed now"
        with gate.open():
            page.wait_until("state.done === 1 && document.getElementById('notice').textContent === ''")
        assert [row["answer"] for row in votes(away, token)] == ["right"]
        assert page.evaluate("localStorage.getItem(kept)") is None


@pytest.mark.slow
def test_eighteen_raters_in_a_browser_make_a_report(chromium: browser.Browser, tmp_path: Path) -> None:
    whole = write_study(tmp_path, prompts=8, raters=18, repeats=0.1, checks=0.1)
    shown, choose = showings(whole), prefer("stage 1")
    with served(whole) as port, chromium.page() as page:
        for place, token in enumerate(tokens(whole)):
            page.size(*((1280, 800) if place % 2 else (390, 844)))
            begin(page, f"http://127.0.0.1:{port}", token)
            for turn in range(10):
                page.wait_until(f"{VOTING} && state.done === {turn}")
                answer = choose(shown[page.evaluate("state.pair.assignment")])
                page.evaluate(f"document.querySelector('[data-answer={answer}]').click()")
            page.wait_until("!document.getElementById('end').hidden")
            time.sleep(0.05)
    text = study.report(whole, study.Rules(fast_seconds=0), Bootstrap(resamples=400))
    assert "| stage 1 | base | all | 8 | 144 | 8/8 | 0 | 0 |" in text
    assert "No rater is flagged." in text
