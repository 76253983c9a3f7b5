"""A human study of drawn pictures, its server in a thread, and raters who answer as they are told."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairwright import options, study
from pairwright.store import Node, Store
from pairwright.study.ballots import Vote
from pairwright.study.database import FILE, Database
from pairwright.study.serve import server_of
from tests.miniatures.run_folder import CAPTIONS, write_pictures

Chooser = Callable[[Mapping[str, Any]], str]
"""From what is known of a showing (``left`` and ``right`` model, ``role``, ``rater``, ``prompt_id``) to an answer."""


def write_study(
    root: Path, *, prompts: int = 8, per_prompt: int = 1, side: int = 24, captions: Sequence[str] = CAPTIONS, **chosen: Any
) -> Path:
    """A study named ``study`` in the run ``demo``; two models, no waiting and no attention for time unless asked for."""
    store = Store(root)
    node = write_pictures(store, captions, prompts, per_prompt, side)
    return make(node, store, root / "demo", **chosen)


def make(node: Node, store: Store, run: Path, *, name: str = "study", **chosen: Any) -> Path:
    wanted = {"models": ("base", "stage 1"), "raters": 3, "least_seconds": 0.0, **chosen}
    return study.create(node, store, run, name, options.Study.model_validate(wanted))


def tokens(folder: Path) -> list[str]:
    with Database(folder / FILE) as database:
        return [row["token"] for row in database.overview()]


def showings(folder: Path) -> dict[str, dict[str, Any]]:
    """By assignment: what the server keeps to itself."""
    query = (
        "SELECT a.id, a.rater, a.position, a.role, a.first_left, p.prompt_id, p.category, p.first_model, p.second_model "
        "FROM assignments a JOIN pairs p ON p.number = a.pair"
    )
    with Database(folder / FILE) as database:
        rows = [dict(row) for row in database._rows(query)]
    for row in rows:
        models = (row["first_model"], row["second_model"])
        row["left"], row["right"] = models if row["first_left"] else models[::-1]
    return {row["id"]: row for row in rows}


def prefer(model: str) -> Chooser:
    """A rater who always knows which one it is, and who passes every check."""

    def choose(shown: Mapping[str, Any]) -> str:
        if shown["role"] == "check":
            return "left" if shown["right"] == "damaged" else "right"
        return "left" if shown["left"] == model else "right"

    return choose


def answer_all(folder: Path, choose: Chooser, *, only: Sequence[int] | None = None, milliseconds: int = 3000) -> int:
    """Every rater answers everything, straight into the database; the number of votes."""
    shown, given = showings(folder), 0
    with Database(folder / FILE) as database:
        ties = database.design()["ties"]
        for row in database.overview():
            if only is not None and row["number"] not in only:
                continue
            database.consent(row["number"])
            state = database.state(row["number"])
            while state["pair"] is not None:
                name = state["pair"]["assignment"]
                vote = Vote(secrets.token_urlsafe(18), name, choose(shown[name]), milliseconds, "side")
                state = database.vote(row["number"], vote, least_seconds=0, ties=ties)
                given += 1
    return given


@dataclass(frozen=True)
class Answer:
    """Of the server."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def text(self) -> str:
        return self.data.decode()


def call(
    port: int, path: str, body: Any = None, *, method: str = "", headers: Mapping[str, str] | None = None, raw: bytes | None = None
) -> Answer:
    """One request on a connection of its own, its path sent as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    said = {"Content-Type": "application/json"} if data is not None and raw is None else {}
    try:
        connection.request(method or ("GET" if data is None else "POST"), path, data, {**said, **(headers or {})})
        found = connection.getresponse()
        return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
    finally:
        connection.close()


def vote_of(state: Mapping[str, Any], answer: str = "left", **changes: Any) -> dict[str, Any]:
    """The body of a vote on the pair that is shown."""
    found = {"id": secrets.token_urlsafe(18), "assignment": state["pair"]["assignment"], "answer": answer, "milliseconds": 1200}
    return {**found, "layout": "side", **changes}


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """The study's server in a thread; its port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    with Database(folder / FILE) as database:
        server = server_of(database)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            listener.close()
