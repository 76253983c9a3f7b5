"""The client against a real server that misbehaves: what is retried, what is a reason, what is an error; and what it keeps."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pairwright.servers import BROKEN, Answer, Client, NoAnswer, Request, Server, ServerError, key, objects
from tests.fakes.server import Reply, Running, serving

SECRET = "sk-very-secret-1234"
SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.02)


def client(running: Running, tmp_path: Path, **options: object) -> Client:
    given = {"retries": 2, "timeout": 5.0, "cache": tmp_path / "answers", **options}
    return Client(Server("m", running.address, **given))  # type: ignore[arg-type]


def one(asking: Client, request: Request | None = None) -> Answer | NoAnswer:
    return asking.ask([request or Request("how good?")])[0]


def test_answers_come_in_the_order_of_the_questions_and_no_more_than_so_many_at_once(tmp_path: Path) -> None:
    def late(body, number):
        text = body["messages"][-1]["content"][-1]["text"]
        return Reply(f"to {text}", delay=0.05 if text == "0" else 0.02)

    with serving(late) as running:
        answers = client(running, tmp_path, concurrent=3).ask([Request(str(number)) for number in range(9)])
    assert answers == [Answer(f"to {number}", 7) for number in range(9)]
    assert 2 <= running.most <= 3


def test_a_request_has_pictures_first_then_text_temperature_zero_and_a_seed(tmp_path: Path) -> None:
    with serving(lambda *_: Reply("yes")) as running:
        one(client(running, tmp_path), Request("what?", (b"\x89PNGx", b"\xff\xd8y"), "be brief", SCHEMA, max_tokens=9, seed=3))
    (body,) = running.seen
    assert [each["role"] for each in body["messages"]] == ["system", "user"]
    first, second, text = body["messages"][1]["content"]
    assert first["image_url"]["url"] == "data:image/png;base64,iVBOR3g="
    assert second["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert text == {"type": "text", "text": "what?"}
    assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("m", 0.0, 3, 9)
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert running.keys == [f"Bearer {SECRET}"]


def test_what_was_answered_is_not_asked_again_and_equal_questions_are_asked_once(tmp_path: Path) -> None:
    with serving(lambda *_: Reply("yes")) as running:
        asking = client(running, tmp_path)
        assert asking.ask([Request("a"), Request("a"), Request("b")]) == [Answer("yes", 7)] * 3
        assert client(running, tmp_path).ask([Request("b"), Request("a")]) == [Answer("yes", 7)] * 2
        assert len(running.seen) == 2
        client(running, tmp_path, cache=None).ask([Request("a")])
    assert len(running.seen) == 3, "without a cache it is asked"


def test_pictures_words_model_and_parameters_are_the_key_but_not_the_address_or_the_secret() -> None:
    server, request = Server("m", "http://one/v1"), Request("t", (b"p",), "s", None)
    same = key(request, server)
    assert key(request, Server("m", "http://two/v1", "OTHER_KEY", concurrent=2)) == same
    others = [
        key(Request("u", (b"p",), "s", None), server), key(Request("t", (b"q",), "s", None), server),
        key(Request("t", (b"p",), "z", None), server), key(Request("t", (b"p",), "s", {}), server),
        key(Request("t", (b"p",), "s", None, 5), server), key(Request("t", (b"p",), "s", None, seed=1), server),
        key(request, Server("n")), key(request, Server("m", revision="2")),
    ]  # fmt: skip
    assert len({same, *others}) == 9


def test_a_damaged_entry_of_the_cache_is_asked_for_again(tmp_path: Path) -> None:
    with serving(lambda *_: Reply("yes")) as running:
        one(client(running, tmp_path))
        (entry,) = (tmp_path / "answers").rglob("*.json")
        entry.write_text('{"answer": "ye')
        assert one(client(running, tmp_path)) == Answer("yes", 7)
        assert len(running.seen) == 2
        assert one(client(running, tmp_path)) == Answer("yes", 7)
    assert len(running.seen) == 2


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_a_passing_failure_is_asked_again(status: int, tmp_path: Path) -> None:
    with serving(lambda _, number: Reply("busy", status=status) if number < 2 else Reply("yes")) as running:
        assert one(client(running, tmp_path)) == Answer("yes", 7)
    assert len(running.seen) == 3


def test_retry_after_is_waited_for(tmp_path: Path) -> None:
    wait = Reply("slow down", status=429, headers={"Retry-After": "0.4"})
    with serving(lambda _, number: wait if number == 0 else Reply("yes")) as running:
        assert one(client(running, tmp_path)) == Answer("yes", 7)
    assert 0.4 <= running.times[1] - running.times[0] < 5, "the client's own wait would have been 0.02 s"


def test_a_connection_that_breaks_off_and_half_a_document_are_asked_again(tmp_path: Path) -> None:
    bad = [Reply("yes", drop=True), Reply(body=b'{"id": "x", "choices": [{"ind'), Reply(body=b"<html>proxy</html>"), Reply("yes")]
    with serving(lambda _, number: bad[number]) as running:
        assert one(client(running, tmp_path, retries=3)) == Answer("yes", 7)
    assert len(running.seen) == 4


def test_a_server_that_never_speaks_the_protocol_is_an_error(tmp_path: Path) -> None:
    with (
        serving(lambda *_: Reply(body=b'{"hello": "world"}')) as running,
        pytest.raises(ServerError, match="no answer of an OpenAI"),
    ):
        one(client(running, tmp_path))
    assert len(running.seen) == 3


def test_a_server_that_is_silent_is_an_error_after_its_time(tmp_path: Path) -> None:
    with serving(lambda *_: Reply("late", delay=0.6)) as running, pytest.raises(ServerError, match=r"within 0\.1 s, asked 2 times"):
        one(client(running, tmp_path, timeout=0.1, retries=1))


def test_overload_that_outlasts_the_retries_is_an_error_and_no_score(tmp_path: Path) -> None:
    with serving(lambda *_: Reply("busy", status=503)) as running, pytest.raises(ServerError, match=r"overloaded .*\(503\)"):
        one(client(running, tmp_path))
    assert not list((tmp_path / "answers").rglob("*.json"))


def test_a_server_that_dies_in_the_middle_keeps_what_it_has_answered(tmp_path: Path) -> None:
    requests = [Request(str(number)) for number in range(6)]
    with serving(lambda _, number: Reply("yes") if number < 4 else Reply(drop=True, text="no")) as running:
        with pytest.raises(ServerError, match="run the same command again"):
            client(running, tmp_path, concurrent=1, retries=1).ask(requests)
        assert len(list((tmp_path / "answers").rglob("*.json"))) == 4
    with serving(lambda *_: Reply("yes")) as revived:
        assert client(revived, tmp_path).ask(requests) == [Answer("yes", 7)] * 6
    assert len(revived.seen) == 2, "only what was not answered is asked again, at another address"


def test_nobody_there_is_an_error_that_names_the_address(tmp_path: Path) -> None:
    with serving(lambda *_: Reply("yes")) as running:
        pass
    with pytest.raises(ServerError, match=f"m at {running.address} cannot be reached"):
        one(client(running, tmp_path, retries=0))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply('{"score": 1', finish="length"), "the answer was cut at 300 tokens"),
        (Reply(None, refusal="I will not"), "the model refused: I will not"),
        (Reply("", finish="content_filter"), "the model refused: content filter"),
        (Reply("  \n"), "the answer was empty"),
        (Reply(None), "the answer was empty"),
    ],
)
def test_what_is_no_answer_is_a_reason_that_is_kept_and_not_asked_for_again(reply: Reply, reason: str, tmp_path: Path) -> None:
    with serving(lambda *_: reply) as running:
        assert one(client(running, tmp_path)) == NoAnswer(reason)
        assert one(client(running, tmp_path)) == NoAnswer(reason)
    assert len(running.seen) == 1


def test_a_picture_that_the_server_cannot_take_is_a_reason_that_is_not_kept(tmp_path: Path) -> None:
    with serving(lambda *_: Reply("image too large", status=400)) as running:
        assert one(client(running, tmp_path)) == NoAnswer("the server refused the request (400): image too large", final=False)
        one(client(running, tmp_path))
    assert len(running.seen) == 2


def test_what_a_server_does_not_have_is_left_out_from_then_on(tmp_path: Path) -> None:
    def old(body, number):
        if "response_format" in body:
            return Reply("response_format is not supported", status=400)
        if "max_tokens" in body:
            return Reply("Use 'max_completion_tokens' instead", status=400)
        return Reply("yes")

    with serving(old) as running:
        asking = client(running, tmp_path, concurrent=1)
        assert asking.ask([Request("a", schema=SCHEMA), Request("b", schema=SCHEMA)]) == [Answer("yes", 7)] * 2
    assert len(running.seen) == 4, "two refusals, then both answers"
    assert running.seen[-1]["max_completion_tokens"] == 300


def test_the_key_is_in_no_message_no_log_and_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refusal = Reply(f"Incorrect API key provided: {SECRET}", status=401)
    with serving(lambda _, number: Reply("yes") if number == 0 else refusal) as running:
        one(client(running, tmp_path))
        with pytest.raises(ServerError) as raised:
            one(client(running, tmp_path), Request("another"))
    assert "does not accept the key in OPENAI_API_KEY (401): Incorrect API key provided: ***" in str(raised.value)
    assert str(raised.value).endswith("***. Set the key, and run the same command again: what was answered is kept")
    assert raised.value.__suppress_context__
    assert SECRET not in caplog.text
    assert not any(SECRET in path.read_text() for path in tmp_path.rglob("*.json"))
    assert SECRET not in repr(client(running, tmp_path).server)


def test_a_key_where_the_name_of_its_variable_belongs_is_refused_without_repeating_it() -> None:
    with pytest.raises(ServerError, match="not the key") as raised:
        Server("m", key_from=SECRET)
    assert SECRET not in str(raised.value)
    with pytest.raises(ServerError, match="without user or password") as raised:
        Server("m", "http://me:hunter2@host/v1")
    assert "hunter2" not in str(raised.value)


def test_objects_are_found_among_words_fences_and_broken_ones() -> None:
    assert objects('Well: ```json\n{"score": 3, "why": {"a": 1}}\n``` and {"score": 4}') == [
        {"score": 3, "why": {"a": 1}},
        {"score": 4},
    ]
    assert objects('{"score": ') == []
    assert objects('{broken {"score": 2}') == [{"score": 2}]
    assert objects("{" * 5000) == []


def test_a_server_that_fails_at_everything_ends_the_run_and_one_that_fails_at_a_picture_does_not(tmp_path: Path) -> None:
    with (
        serving(lambda *_: Reply("boom", status=500)) as running,
        pytest.raises(ServerError, match=f"failed at {BROKEN} requests in a row"),
    ):
        client(running, tmp_path, retries=0, concurrent=1).ask([Request(str(number)) for number in range(BROKEN)])
    assert len(running.seen) == BROKEN

    def sometimes(body, number):
        return Reply("boom", status=500) if body["messages"][-1]["content"][-1]["text"] != "good" else Reply("yes")

    with serving(sometimes) as running:
        asking = client(running, tmp_path / "other", retries=0, concurrent=1)
        for start in range(0, 2 * BROKEN, BROKEN - 1):
            answers = asking.ask([*(Request(str(start + number)) for number in range(BROKEN - 1)), Request("good", seed=start)])
            assert [isinstance(each, NoAnswer) for each in answers] == [True] * (BROKEN - 1) + [False]
