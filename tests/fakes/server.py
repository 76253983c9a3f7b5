"""A small real HTTP server that speaks as much of OpenAI's protocol as a chat needs, and misbehaves when told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    text: str | None = ""
    finish: str = "stop"
    refusal: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent instead of a chat completion."""
    delay: float = 0.0
    drop: bool = False
    """Close the connection in the middle of the body."""

    def content(self) -> bytes:
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps({"error": {"message": self.text}}).encode()
        message = {"role": "assistant", "content": self.text, "refusal": self.refusal}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        said = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        return json.dumps(said).encode()


Script = Callable[[dict[str, Any], int], Reply]
"""The request's body and how many came before it -> what to do."""


@dataclass
class Running:
    """A server that runs."""

    address: str
    seen: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    most: int = 0
    """Requests that were in work at the same time."""
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, body: dict[str, Any], key: str) -> int:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.seen.append(body)
            self.keys.append(key)
            self.times.append(time.monotonic())
            return len(self.seen) - 1

    def leave(self) -> None:
        with self._lock:
            self._now -= 1


@contextmanager
def serving(script: Script) -> Iterator[Running]:
    """A server on the loopback interface at a free port, for as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = running.enter(body, self.headers.get("Authorization", ""))
            try:
                self.reply(script(body, number))
            finally:
                running.leave()

        def reply(self, reply: Reply) -> None:
            time.sleep(reply.delay)
            content = reply.content()
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if reply.drop else content)
            except OSError:
                return  # the client has given up
            self.close_connection = reply.drop

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = Running(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
