"""What the server grants and what it refuses, over real HTTP."""

from __future__ import annotations

import http.client
import io
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pairwright.study.database import FILE, Database
from tests.miniatures.study import Answer, call, served, tokens, vote_of, write_study
from tests.report.test_report import EVIL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs"), prompts=8, raters=40, question="Which <b>one</b>?", captions=EVIL)


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with served(folder) as found:
        yield found


@pytest.fixture
def api(folder: Path, port: int) -> Api:
    """A rater whom no other test has used."""
    return Api(port, next(link for link in tokens(folder) if link not in Api.used))


class Api:
    """A rater's page without the page."""

    used: ClassVar[set[str]] = set()

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token
        Api.used.add(token)

    def get(self, path: str) -> Answer:
        return call(self.port, f"/api/{self.token}/{path}")

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return call(self.port, f"/api/{self.token}/{path}", body, headers=headers)

    def begun(self) -> dict[str, Any]:
        return dict(self.post("consent", {}).json)


def rows(folder: Path, vote: str) -> list[dict[str, Any]]:
    with Database(folder / FILE) as database:
        return [row for row in database.votes() if row["vote"] == vote]


def test_nothing_is_shown_or_taken_before_consent(api: Api, folder: Path) -> None:
    assert api.get("state").json == {"ties": False, "least_seconds": 0.0, "consented": False}
    with Database(folder / FILE) as database:
        assignment = database._rows("SELECT a.id FROM assignments a JOIN raters r ON r.number = a.rater WHERE token = ?", api.token)
    body = vote_of({"pair": {"assignment": assignment[0]["id"]}})
    assert (api.post("vote", body).status, api.post("vote", body).json["error"]) == (403, "consent")
    assert rows(folder, body["id"]) == []


def test_a_vote_moves_on_to_the_pair_that_was_announced(api: Api) -> None:
    first = api.begun()
    assert (first["done"], first["total"], first["undo"]) == (0, 10, None)
    vote = vote_of(first)
    second = api.post("vote", vote).json
    assert second["pair"] == first["next"], "so its pictures are loaded already"
    assert (second["done"], second["undo"]) == (1, vote["id"])
    assert api.get("state").json["pair"] == second["pair"], "the link alone brings a rater back to where they were"


def test_a_vote_sent_again_is_one_vote(api: Api, folder: Path) -> None:
    vote = vote_of(api.begun())
    answers = [api.post("vote", vote).json for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(rows(folder, vote["id"])) == 1


def test_an_id_does_not_stand_for_two_votes(api: Api) -> None:
    vote = vote_of(api.begun())
    state = api.post("vote", vote).json
    for other in ({**vote, "answer": "right"}, vote_of(state, id=vote["id"])):
        assert (api.post("vote", other).status, api.post("vote", other).json["error"]) == (409, "taken")


def test_a_pair_is_answered_once_and_in_its_turn(api: Api) -> None:
    state = api.begun()
    later = vote_of({"pair": state["next"]})
    assert api.post("vote", later).json["error"] == "elsewhere"
    api.post("vote", vote_of(state))
    again = api.post("vote", vote_of(state, "right"))
    assert (again.status, again.json["error"]) == (409, "elsewhere")


def test_another_raters_pair_is_refused(api: Api, folder: Path, port: int) -> None:
    other = Api(port, next(link for link in tokens(folder) if link not in Api.used))
    theirs = vote_of(other.begun())
    api.begun()
    assert (api.post("vote", theirs).status, api.post("vote", theirs).json["error"]) == (404, "foreign")
    state = other.post("vote", theirs).json
    assert api.post("undo", {"vote": theirs["id"]}).status == 404
    assert api.post("vote", theirs).status == 409, "nor is their vote told to be there"
    assert other.get("state").json["undo"] == state["undo"] == theirs["id"]


def test_the_last_vote_can_be_taken_back_and_stays_on_record(api: Api, folder: Path) -> None:
    first = api.begun()
    votes = [vote_of(first)]
    second = api.post("vote", votes[0]).json
    votes.append(vote_of(second))
    api.post("vote", votes[1])
    assert api.post("undo", {"vote": votes[0]["id"]}).json["error"] == "elsewhere", "not the one before"
    back = api.post("undo", {"vote": votes[1]["id"]}).json
    assert (back["pair"], back["done"], back["undo"]) == (second["pair"], 1, votes[0]["id"])
    assert api.post("undo", {"vote": votes[1]["id"]}).json["done"] == 1, "asked again, nothing more is taken back"
    assert api.post("vote", votes[1]).json["done"] == 1, "a late copy of it does not bring it back"
    corrected = vote_of(back, "right")
    assert api.post("vote", corrected).json["done"] == 2
    assert rows(folder, votes[1]["id"])[0]["undone"] is not None
    assert rows(folder, corrected["id"])[0]["undone"] is None


def test_at_the_end_there_is_no_pair_and_the_last_vote_can_still_be_taken_back(api: Api) -> None:
    state = api.begun()
    for _ in range(10):
        state = api.post("vote", vote_of(state)).json
    assert (state["pair"], state["next"], state["done"]) == (None, None, 10)
    assert api.post("undo", {"vote": state["undo"]}).json["done"] == 9


@pytest.mark.parametrize(
    "change",
    [
        {"answer": "both"},
        {"answer": "tie"},
        {"milliseconds": -1},
        {"milliseconds": "1"},
        {"id": "short"},
        {"id": "a" * 40 + "'; --"},
        {"layout": "x"},
        {"more": 1},
    ],
)
def test_what_is_no_answer_here_is_refused_and_not_repeated(api: Api, change: dict[str, Any]) -> None:
    found = api.post("vote", vote_of(api.begun(), **change))
    assert found.status == 422
    assert set(found.json) == {"error", "message"}
    assert api.get("state").json["done"] == 0


def test_answers_that_come_too_soon_are_refused(tmp_path: Path) -> None:
    slow = write_study(tmp_path, prompts=3, raters=1, least_seconds=0.3, ties=True)
    with served(slow) as port:
        api = Api(port, tokens(slow)[0])
        vote = vote_of(api.begun(), "tie")
        soon = api.post("vote", vote)
        assert (soon.status, soon.json["error"]) == (425, "soon")
        while api.post("vote", vote).status == 425:
            pass
        assert api.get("state").json["done"] == 1
    assert 0.3 <= rows(slow, vote["id"])[0]["seconds"] < 5


def test_pictures_have_nothing_in_them_but_pixels(api: Api) -> None:
    state = api.begun()
    found = call(api.port, f"/picture/{state['pair']['left']}")
    assert (found.status, found.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(found.data)) as image:
        assert (image.size, image.info) == ((24, 24), {})
    assert call(api.port, f"/picture/{secrets.token_urlsafe(18)}").status == 404


def test_a_raters_page_and_state_do_not_tell_models_or_checks(api: Api) -> None:
    state = api.begun()
    page = call(api.port, f"/r/{api.token}").text
    for word in ("base", "stage 1", "damaged", "check", "repeat"):
        assert f'"{word}' not in str(state)
        assert word not in re.sub(r"<link.*?>|<script.*?</script>", "", page)
    assert set(state["pair"]) == {"assignment", "prompt", "left", "right"}


@pytest.mark.parametrize("token", ["x" * 32, "short", "..%2f..%2fetc", "a" * 500])
def test_an_unknown_link_is_told_so_in_a_page(port: int, token: str) -> None:
    found = call(port, f"/r/{token}")
    assert found.status == 404
    assert call(port, f"/api/{token}/state").status in {404, 422}


@pytest.mark.parametrize(
    "path",
    [
        "/static/../study.sqlite",
        "/static/..%2fstudy.sqlite",
        "/static/%2e%2e/%2e%2e/server.py",
        "/static/....//server.py",
        "/static/rater.html.j2",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/picture/../../study.sqlite",
        "/picture/..%2f..%2fstudy.sqlite",
        "/study.sqlite",
        "/../study.sqlite",
        "/docs",
        "/redoc",
        "/openapi.json",
    ],
)
def test_no_path_leads_out_of_the_study(port: int, path: str) -> None:
    assert call(port, path).status in {404, 422}


def test_every_answer_carries_the_policies(api: Api) -> None:
    state = api.begun()
    paths = [
        f"/r/{api.token}",
        f"/api/{api.token}/state",
        f"/picture/{state['pair']['left']}",
        "/static/rater.js",
        "/nothing",
        "/research",
    ]
    for found in [*(call(api.port, path) for path in paths), api.post("vote", {}), api.post("vote", {}, Origin="http://evil.test")]:
        policy = found.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "*" not in policy
        assert "frame-ancestors 'none'" in policy
        assert found.headers["referrer-policy"] == "no-referrer"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in found.headers
        assert "server" not in found.headers
    assert call(api.port, f"/r/{api.token}").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.test"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)
def test_requests_of_other_pages_are_refused(api: Api, folder: Path, headers: dict[str, str]) -> None:
    vote = vote_of(api.begun())
    assert (api.post("vote", vote, **headers).status, rows(folder, vote["id"])) == (403, [])
    own = {"Origin": f"http://127.0.0.1:{api.port}", "Sec-Fetch-Site": "same-origin"}
    assert api.post("vote", vote, **own).status == 200


def test_what_a_foreign_form_can_send_is_refused(api: Api) -> None:
    path = f"/api/{api.token}/consent"
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        assert call(api.port, path, raw=b"{}", headers={"Content-Type": kind}).status == 415
    assert api.get("state").json["consented"] is False
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert call(api.port, path, method=method).status == 405


def test_large_bodies_and_bodies_of_unknown_size_are_refused_unread(api: Api) -> None:
    path, kind = f"/api/{api.token}/vote", {"Content-Type": "application/json"}
    assert call(api.port, path, raw=b" " * 5000, headers=kind).status == 413
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=20)
    connection.request("POST", path, iter([b"{}"]), kind, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def secret(folder: Path) -> str:
    with Database(folder / FILE) as database:
        return database.secret()


def cookie(folder: Path, port: int) -> str:
    found = call(port, f"/research?token={secret(folder)}")
    assert (found.status, found.headers["location"]) == (303, "research"), "the token leaves the address bar"
    said = found.headers["set-cookie"]
    assert "HttpOnly" in said
    assert "SameSite=strict" in said
    assert secret(folder) not in said
    return said.split(";")[0]


def test_the_researchers_side_needs_the_token(folder: Path, port: int) -> None:
    wrong: list[tuple[str, dict[str, str]]] = [
        ("", {}),
        ("?token=", {}),
        (f"?token={'x' * 32}", {}),
        ("", {"Cookie": "pairwright_research=x"}),
        ("", {"Cookie": f"pairwright_research={secret(folder)}"}),
        ("", {"Authorization": "Bearer x"}),
        ("", {"Authorization": f"Basic {secret(folder)}"}),
        (f"?token={tokens(folder)[0]}", {}),
    ]
    for query, headers in wrong:
        found = call(port, f"/research{query}", headers=headers)
        assert found.status == 401
        assert tokens(folder)[0] not in found.text
        for path in ("/research/votes.csv", "/research/votes.parquet"):
            assert call(port, path, headers=headers).status == 401
        assert call(port, "/research/raters", raw=b"forged=x", headers={**headers, "Content-Type": FORM}).status == 401
    assert call(port, "/research", headers={"Cookie": cookie(folder, port)}).status == 200


FORM = "application/x-www-form-urlencoded"


def test_the_overview_shows_progress_and_escapes_what_others_wrote(folder: Path, port: int) -> None:
    page = call(port, "/research", headers={"Cookie": cookie(folder, port)}).text
    assert all(f'href="r/{token}"' in page for token in tokens(folder))
    assert "Which &lt;b&gt;one&lt;/b&gt;?" in page
    assert "<b>" not in page
    rater = call(port, f"/r/{tokens(folder)[0]}").text
    assert "Which &lt;b&gt;one&lt;/b&gt;?" in rater


def test_a_rater_is_added_from_the_overview_alone(tmp_path: Path) -> None:
    folder = write_study(tmp_path, prompts=3, raters=1)
    with served(folder) as port:
        mine = {"Cookie": cookie(folder, port), "Content-Type": FORM}
        page = call(port, "/research", headers=mine).text
        forged = re.search(r'name="forged" value="(\w{64})"', page)
        assert forged
        body = f"forged={forged[1]}".encode()
        for wrong, headers in ((b"", {}), (b"forged=" + b"0" * 64, {}), (body, {"Origin": "http://evil.test"})):
            assert call(port, "/research/raters", raw=wrong, headers={**mine, **headers}).status == 403
        assert len(tokens(folder)) == 1
        assert call(port, "/research/raters", raw=body, headers=mine).status == 303
        assert call(port, f"/r/{tokens(folder)[1]}").status == 200


def test_votes_are_downloaded_with_the_token(folder: Path, port: int, api: Api) -> None:
    api.post("vote", vote_of(api.begun()))
    bearer = {"Authorization": f"Bearer {secret(folder)}"}
    text = call(port, "/research/votes.csv", headers=bearer).text
    table = pq.read_table(io.BytesIO(call(port, "/research/votes.parquet", headers=bearer).data))
    assert text.splitlines()[0].split(",") == table.column_names
    assert table.num_rows > 0
    assert not any(token in text for token in tokens(folder))


def test_nothing_is_sent_to_a_telemetry_service(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI passes addresses, which hold the raters' links, to whatever OpenTelemetry is set up in the environment."""
    from pairwright.study.server import application

    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with Database(folder / FILE) as database:
        app = application(database)
    assert app._native_telemetry.enabled() is False
    assert app._telemetry["auto_configure"] is False
