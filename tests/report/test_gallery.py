"""The page to look at pairs: who may ask, what may be asked for, and vetoes that are on the disk when they are acknowledged."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairwright import pairsets, vetoes
from pairwright.report.gallery import Gallery
from tests.miniatures import browser
from tests.miniatures.run_folder import write_run
from tests.report.test_report import EVIL

EXECUTABLE = browser.find()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path, until="pairs", pairs=20, captions=[*EVIL, "a red poppy in tall grass", "two tulips"])


@pytest.fixture
def gallery(folder: Path) -> Iterator[Gallery]:
    with Gallery(pairsets.find(folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(gallery: Gallery, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gallery.server_address[1], timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def listing(gallery: Gallery) -> dict[str, Any]:
    return dict(json.loads(ask(gallery, f"/{gallery.token}/pairs.json")[2]))


def post(gallery: Gallery, key: object, reason: object, **headers: str) -> int:
    given = {"Origin": gallery.origin, "Content_Type": "application/json", **headers}
    return ask(gallery, f"/{gallery.token}/veto", "POST", json.dumps({"key": key, "reason": reason}).encode(), **given)[0]


def test_it_listens_on_this_machine_alone_and_the_address_is_a_secret(gallery):
    assert gallery.server_address[0] == "127.0.0.1"
    assert len(gallery.token) >= 20
    assert ask(gallery, f"/{gallery.token}/")[0] == 200
    for path in ("/", "/pairs.json", f"/{gallery.token[:-1]}/", f"/x{gallery.token}/", "/%c3%a9/"):
        assert ask(gallery, path)[0] == 404
    assert ask(gallery, f"/{gallery.token}/", Host="evil.example")[0] == 404, "another name that leads here is refused"


def test_every_answer_forbids_what_it_does_not_need(gallery):
    for path in (f"/{gallery.token}/", f"/{gallery.token}/gallery.js", f"/{gallery.token}/pairs.json", "/"):
        headers = ask(gallery, path)[1]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"


def test_pictures_have_names_that_say_nothing_and_no_path_leads_to_a_file(gallery, folder):
    pairs = listing(gallery)["pairs"]
    assert len({each["key"] for each in pairs}) == 20
    outlines = pairsets.find(folder).outlines
    assert not {each.id for each in outlines} & {each["key"] for each in pairs}
    key = pairs[3]["key"]
    for side in ("winner", "loser", "small"):
        status, headers, data = ask(gallery, f"/{gallery.token}/{key}/{side}")
        assert status == 200
        assert headers["Content-Type"].startswith("image/")
        assert Image.open(io.BytesIO(data)).size == (48, 48)
    wrong = [f"{key}/../../run.json", f"{key}/mask", f"{outlines[3].id}/winner", f"{key}/winner/", f"{key}//winner"]
    wrong += ["../run.json", "..%2f..%2frun.json", "run.json", "%2e%2e/vetoes.json", "server.py", "./gallery.js"]
    for path in wrong:
        assert ask(gallery, f"/{gallery.token}/{path}")[0] == 404, path


def test_captions_travel_as_data_and_the_page_holds_none(gallery):
    page = ask(gallery, f"/{gallery.token}/")[2].decode()
    found = listing(gallery)
    assert {each["caption"] for each in found["pairs"]} >= set(EVIL)
    assert not any(text in page for text in EVIL)
    script = ask(gallery, f"/{gallery.token}/gallery.js")[2].decode()
    assert not any(word in script for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("))


def test_numbers_shape_and_funnel(gallery):
    found = listing(gallery)
    assert found["sides"] == ["photograph", "repainted"]
    assert found["measure"] == "pickscore"
    assert found["pairs"][4]["numbers"]["rank"] == 4
    assert ["by", "inpaint"] in found["pairs"][4]["facts"]
    assert [each["name"] for each in found["funnel"]][:2] == ["read", "2 views each"]
    shape = json.loads(ask(gallery, f"/{gallery.token}/{found['pairs'][0]['key']}/shape.json")[2])
    assert (shape["width"], shape["height"]) == (48, 48)
    assert shape["outline"].startswith("M")


def test_a_veto_is_on_the_disk_when_it_is_acknowledged_and_can_be_taken_back(gallery, folder):
    key = listing(gallery)["pairs"][2]["key"]
    name = pairsets.find(folder).outlines[2].id
    assert post(gallery, key, "  the loser\n is better ") == 200
    assert vetoes.read(folder / "vetoes.json") == {"pairs": {name: "the loser is better"}}
    assert listing(gallery)["pairs"][2]["veto"] == "the loser is better"
    assert post(gallery, key, None) == 200
    assert vetoes.read(folder / "vetoes.json") == {}
    vetoes.change(folder / "vetoes.json", "pairs", "feedfeedfeedfeed", "gone since")
    (gone,) = listing(gallery)["gone"]
    assert (gone["id"], gone["reason"]) == ("feedfeedfeedfeed", "gone since")
    assert post(gallery, gone["key"], None) == 200
    assert vetoes.read(folder / "vetoes.json") == {}


def test_a_veto_comes_from_the_page_itself(gallery, folder):
    key = listing(gallery)["pairs"][0]["key"]
    assert post(gallery, key, "", Origin="http://evil.example") == 403
    assert post(gallery, key, "", Content_Type="text/plain") == 403
    assert post(gallery, key, "", Host="evil.example") == 404
    assert post(gallery, "0" * 16, "") == 404
    assert post(gallery, 7, "") == 400
    assert post(gallery, key, ["x"]) == 400
    assert post(gallery, key, "x" * 5000) == 413
    path, given = f"/{gallery.token}/veto", {"Origin": gallery.origin, "Content_Type": "application/json"}
    assert ask(gallery, path, "POST", b"not json", **given)[0] == 400
    assert ask(gallery, f"/{gallery.token}/pairs.json", "POST", b"{}", **given)[0] == 404
    assert ask(gallery, path, "DELETE")[0] == 501
    assert not (folder / "vetoes.json").exists()


def test_a_damaged_file_of_vetoes_is_said_before_anything_is_served(folder):
    (folder / "vetoes.json").write_text("{")
    with pytest.raises(vetoes.VetoError, match=r"vetoes\.json is not a file of vetoes"):
        Gallery(pairsets.find(folder))


def test_the_command_serves_until_it_is_killed_and_what_was_vetoed_stays(folder):
    command = [sys.executable, "-m", "pairwright", "pairs", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("open ").strip()
        port, token = address.removeprefix("http://127.0.0.1:").rstrip("/").split("/")
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        connection.request("GET", f"/{token}/pairs.json")
        key = json.loads(connection.getresponse().read())["pairs"][5]["key"]
        body = json.dumps({"key": key, "reason": "dull"})
        headers = {"Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/json"}
        connection.request("POST", f"/{token}/veto", body, headers)
        assert connection.getresponse().status == 200
        os.kill(process.pid, signal.SIGKILL)
        connection.close()
    assert list(vetoes.read(folder / "vetoes.json")["pairs"].values()) == ["dull"]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    if EXECUTABLE is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with browser.Browser(EXECUTABLE, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def page(chromium: browser.Browser, gallery: Gallery) -> Iterator[browser.Page]:
    with chromium.page() as opened:
        opened.size(1280, 900)
        opened.visit(gallery.address)
        opened.wait_until("!document.getElementById('compare').hidden")
        yield opened
        assert opened.events("Log.entryAdded", "Runtime.exceptionThrown") == [], "nothing was blocked and nothing failed"
        reached = [event["request"]["url"] for event in opened.events("Network.requestWillBeSent")]
        assert all(url.startswith((gallery.address, "data:")) for url in reached), "nothing was asked of anybody else"
        assert opened.evaluate("document.title") == "pairs \u00b7 pairwright", "no caption ran as a script"


def count(page: browser.Page) -> str:
    return str(page.evaluate("document.getElementById('count').textContent"))


@pytest.mark.browser
def test_the_keyboard_goes_through_the_pairs_and_vetoes(page, folder):
    names = [each.id for each in pairsets.find(folder).outlines]
    captions = "document.getElementById('caption').textContent"
    assert page.evaluate(captions) == EVIL[0]
    page.press("j", 74)
    page.press("j", 74)
    page.press("k", 75)
    assert page.evaluate(captions) == EVIL[1]
    assert count(page).startswith("2 of 20 pairs")
    page.press("r", 82)
    page.send("Input.insertText", text="nothing changed")
    page.press("Enter", 13)
    page.wait_until("document.getElementById('compare').classList.contains('vetoed')")
    assert vetoes.read(folder / "vetoes.json") == {"pairs": {names[1]: "nothing changed"}}
    assert "1 vetoed" in count(page)
    page.press("End", 35)
    page.press("v", 86)
    page.wait_until("document.getElementById('veto').getAttribute('aria-pressed') === 'true'")
    assert vetoes.read(folder / "vetoes.json")["pairs"] == {names[1]: "nothing changed", names[19]: ""}
    page.press("v", 86)
    page.wait_until("document.getElementById('veto').getAttribute('aria-pressed') === 'false'")
    assert list(vetoes.read(folder / "vetoes.json")["pairs"]) == [names[1]]


@pytest.mark.browser
def test_the_slider_the_other_side_and_the_outline(page):
    at = "document.getElementById('compare').style.getPropertyValue('--at')"
    page.press("ArrowLeft", 37)
    assert page.evaluate(at) == "46%"
    page.press(" ", 32)
    assert page.evaluate(at) == "100%"
    page.press(" ", 32)
    assert page.evaluate(at) == "0%"
    shown = "getComputedStyle(document.getElementById('outline')).display"
    assert page.evaluate(shown) == "none"
    page.press("m", 77)
    assert page.evaluate(shown) == "block"
    page.wait_until("document.querySelector('#outline path').getAttribute('d')?.startsWith('M')")
    left, top, width = page.evaluate(
        "(() => { const b = document.getElementById('compare').getBoundingClientRect(); return [b.left, b.top + 40, b.width]; })()"
    )
    page.drag((left + 0.5 * width, top), (left + 0.25 * width, top))
    assert page.evaluate("Math.abs(document.querySelector('#compare input').value - 25) <= 1")


def put(page: browser.Page, where: str, what: str) -> None:
    page.evaluate(f"(() => {{ const e = document.querySelector('{where}'); {what}; e.dispatchEvent(new Event('input')); }})()")


@pytest.mark.browser
def test_filters_and_order(page, folder):
    tulips = sum(each.prompt == "two tulips" for each in pairsets.find(folder).outlines)
    put(page, "#text", "e.value = 'TULIPS'")
    assert tulips > 1
    assert count(page).startswith(f"1 of {tulips} pairs")
    put(page, "#text", "e.value = ''")
    put(page, "#ranges fieldset[data-name=gap] input", "e.value = '1.0'")
    assert " of 7 pairs" in count(page), "2.5 / (1 + n / 4) is at least 1 for n up to 6"
    put(page, "#sort", "e.value = 'rank'")
    put(page, "#backwards", "e.checked = true")
    page.press("Home", 36)
    rank = "[...document.querySelectorAll('#facts div')].find(d => d.firstChild.textContent === 'rank').lastChild.textContent"
    assert page.evaluate(rank) == "7"
    put(page, "#which", "e.value = 'vetoed'")
    assert count(page).startswith("no pair")
    assert page.evaluate("document.getElementById('nothing').textContent") == "No pair is as asked for."


@pytest.mark.browser
def test_the_photograph_is_left_of_the_divider_and_the_repainted_one_right(page):
    page.wait_until("['winner', 'loser'].every(id => document.getElementById(id).complete)")

    def pixels(at: int) -> np.ndarray:
        page.evaluate(f"document.getElementById('compare').style.setProperty('--at', '{at}%')")
        with Image.open(io.BytesIO(page.screenshot("#compare"))) as shot:
            return np.asarray(shot.convert("RGB"), dtype=float)

    photograph, repainted, half = pixels(110), pixels(-10), pixels(50)
    rows, columns = (length // 3 for length in photograph.shape[:2])
    assert np.abs(photograph - repainted).mean() > 1
    assert np.abs(half - photograph)[:rows, :columns].mean() < 0.1
    assert np.abs(half - repainted)[:rows, -columns:].mean() < 0.1


@pytest.mark.browser
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_nothing_sticks_out_of_a_screen(page, width):
    page.size(width, 800)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") == width
