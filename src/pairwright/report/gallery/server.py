"""The page's server: the standard library's, for one person on this machine.

It listens on 127.0.0.1 alone. The address holds a random token, so that no other page and no other user of the machine can ask
for anything; requests under another host's name (DNS rebinding) are refused, and a veto must come from the page itself. What
may be asked for is a handful of fixed words and names drawn at the start: no request ever reaches the file system.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from pairwright.pairsets import PairSet
from pairwright.report.gallery.content import Answer, Content

HOST = "127.0.0.1"
MOST_BYTES = 4096
"""Of a request's body."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


class Gallery(ThreadingHTTPServer):
    """Serves one set of pairs. ``address`` is what to open."""

    daemon_threads = True

    def __init__(self, pairs: PairSet, port: int = 0) -> None:
        """Listen on a port of this machine; 0 takes a free one.

        Raises:
            OSError: the port is taken.
            VetoError, StoreError: the pairs or their vetoes cannot be read.
        """
        self.content = Content(pairs)
        self.token = secrets.token_urlsafe(18)
        self.pages = _pages()
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has moved on breaks off what it asked for; everything else is a fault of ours, and is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://{HOST}:{self.server_address[1]}"

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"{self.origin}/{self.token}/"


def serve(pairs: PairSet, port: int = 0, said: Callable[[str], object] = print) -> None:
    """Serve until interrupted; ``said`` is told the address."""
    with Gallery(pairs, port) as gallery:
        said(gallery.address)
        gallery.serve_forever()


def _pages() -> dict[str, Answer]:
    """Page, scripts and styles, by the last part of their address; the slider is the report's own."""
    here, report = files("pairwright.report.gallery") / "template", files("pairwright.report") / "template"
    named = {
        "": (here, "gallery.html"),
        "gallery.css": (here, "gallery.css"),
        "gallery.js": (here, "gallery.js"),
        "report.css": (report, "style.css"),
        "slider.js": (report, "script.js"),
    }
    return {name: (_TYPES[file.rpartition(".")[2]], folder.joinpath(file).read_bytes()) for name, (folder, file) in named.items()}


class _Handler(BaseHTTPRequestHandler):
    server: Gallery
    protocol_version = "HTTP/1.1"
    timeout = 60
    server_version = "pairwright"
    sys_version = ""

    def do_GET(self) -> None:
        place = self._place()
        answer = self._found(place) if place is not None else None
        if answer is None:
            self._send(HTTPStatus.NOT_FOUND, ("text/plain; charset=utf-8", b"not here"))
        else:
            self._send(HTTPStatus.OK, answer)

    def do_POST(self) -> None:
        place = self._place()
        if place != ["veto"]:
            self._refuse(HTTPStatus.NOT_FOUND, "not here")
        elif self.headers.get("Origin") != self.server.origin or self.headers.get("Content-Type") != "application/json":
            self._refuse(HTTPStatus.FORBIDDEN, "this request comes from elsewhere")
        else:
            self._veto()

    def _veto(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST_BYTES} bytes")
            return
        try:
            asked = json.loads(self.rfile.read(int(length)))
            key, reason = asked["key"], asked["reason"]
        except (ValueError, KeyError, TypeError):
            self._refuse(HTTPStatus.BAD_REQUEST, "expected a key and a reason")
            return
        if not isinstance(key, str) or not (reason is None or isinstance(reason, str)):
            self._refuse(HTTPStatus.BAD_REQUEST, "expected a key and a reason")
        elif not self.server.content.veto(key, " ".join(reason.split())[:200] if reason is not None else None):
            self._refuse(HTTPStatus.NOT_FOUND, "no such pair")
        else:
            self._send(HTTPStatus.OK, _json({"veto": reason}))

    def _place(self) -> list[str] | None:
        """What is asked for, below the token; None where this is not for us."""
        if self.headers.get("Host") != f"{HOST}:{self.server.server_address[1]}":
            return None
        first, *rest = self.path.removeprefix("/").split("/")
        return rest if hmac.compare_digest(first.encode(), self.server.token.encode()) else None

    def _found(self, place: list[str]) -> Answer | None:
        content = self.server.content
        match place:
            case ["pairs.json"]:
                return _json(content.listing())
            case [key, "shape.json"]:
                shape = content.shape(key)
                return _json(shape) if shape is not None else None
            case [key, side]:
                return content.picture(key, side)
            case [name]:
                return self.server.pages.get(name)
            case _:
                return None

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # what was sent along is not read
        self._send(status, _json({"error": why}))

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        kind, content = answer
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Nothing: the address is a secret, and the terminal shows only it."""


def _json(value: Any) -> Answer:
    return "application/json", json.dumps(value, ensure_ascii=False).encode()
