"""A server that is killed again and again while 18 raters vote: what was acknowledged is there, once."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairwright import seeds
from pairwright.study.database import FILE, Database
from tests.miniatures.study import call, tokens, vote_of, write_study

RATERS, PROMPTS, KILLS = 18, 104, 10
VOTES = RATERS * (PROMPTS + 6 + 6)
"""With attention checks and repeats; what is taken back comes on top."""
LIMIT_SECONDS = 900


class Server:
    """``pairwright study serve`` in a process, which dies and comes back on the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [sys.executable, "-m", "pairwright.cli", "study", "serve", str(folder), "--port", str(self.port)]
        self.kills = 0
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert any(line.startswith("listening on ") for line in self._process.stdout)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)
        self.kills += 1
        self._start()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        os.kill(self._process.pid, how)
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Rater(threading.Thread):
    """Votes to the end; what has no answer is sent again, as the page does, and now and then a vote is taken back."""

    def __init__(self, server: Server, number: int, token: str) -> None:
        super().__init__(daemon=True)
        self._server, self._number, self._token = server, number, token
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.undone: set[str] = set()
        self.resent = 0

    def ask(self, path: str, body: Any = None) -> Any:
        while True:
            try:
                found = call(self._server.port, f"/api/{self._token}/{path}", body)
            except (OSError, http.client.HTTPException):
                self.resent += 1
                time.sleep(0.02)
                continue
            assert found.status == 200, found.text
            return found.json

    def run(self) -> None:
        self.ask("consent", {})
        state = self.ask("state")
        turn = 0
        while state["pair"] is not None:
            turn += 1
            answer = "left" if seeds.uniform(0, "answer", self._number, turn) < 0.5 else "right"
            vote = vote_of(state, answer)
            state = self.ask("vote", vote)
            self.acknowledged[vote["id"]] = vote
            if seeds.uniform(0, "undo", self._number, turn) < 0.03:
                state = self.ask("undo", {"vote": vote["id"]})
                self.undone.add(vote["id"])


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.slow
def test_no_acknowledged_vote_is_lost_or_doubled_whenever_the_server_dies(tmp_path: Path) -> None:
    folder = write_study(tmp_path, prompts=PROMPTS, per_prompt=1, side=16, raters=RATERS, per_category=60)
    with started(folder) as server:
        raters = [Rater(server, number, token) for number, token in enumerate(tokens(folder), 1)]
        for rater in raters:
            rater.start()
        began = time.monotonic()
        while any(rater.is_alive() for rater in raters):
            assert time.monotonic() - began < LIMIT_SECONDS
            time.sleep(0.001)
            # By votes and not by the clock: on a fast machine the raters are done before so many deaths of some seconds.
            next_death = (server.kills + seeds.uniform(0, "kill", server.kills)) / KILLS * VOTES
            if server.kills < KILLS and sum(len(rater.acknowledged) for rater in raters) >= next_death:
                server.kill()
        assert server.kills == KILLS
    with Database(folder / FILE) as database:
        rows = database.votes()
        assert database._rows("PRAGMA integrity_check")[0][0] == "ok"
        progress = database.overview()
    said = {name: vote for rater in raters for name, vote in rater.acknowledged.items()}
    undone = {name for rater in raters for name in rater.undone}
    kept = {row["vote"]: row for row in rows}
    assert len(kept) == len(rows) == len(said) > 2000
    assert kept.keys() == said.keys(), "none lost, none made up"
    assert {name for name, row in kept.items() if row["undone"] is not None} == undone
    assert all(kept[name]["answer"] == vote["answer"] for name, vote in said.items())
    standing = Counter((row["rater"], row["position"]) for row in rows if row["undone"] is None)
    assert set(standing.values()) == {1}, "none doubled"
    assert len(standing) == sum(row["total"] for row in progress) == VOTES
    assert sum(rater.resent for rater in raters) > KILLS
