"""The web server of a study: who may ask what.

A rater is known by their link alone. It never leaves the page: no referrer is sent, nothing else is loaded, nothing is logged,
and FastAPI's telemetry is off, which would pass addresses on. Requests that change something carry JSON and come from the
page itself; the researcher's carry a token against forged ones besides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from pairwright.study.ballots import RefusedError
from pairwright.study.database import Database
from pairwright.study.rater_side import rater_routes
from pairwright.study.research_side import research_routes

MAX_BODY = 4096
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}
_SILENT: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False, "auto_configure": False}


def application(database: Database) -> FastAPI:
    """The study as an ASGI application. Everything that is shown is asked of the database at that moment."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, telemetry=_SILENT)
    _guard(app)
    app.include_router(rater_routes(database))
    app.include_router(research_routes(database))
    return app


def _guard(app: FastAPI) -> None:
    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            await _refuse_forged(request)
            response = await call_next(request)
        except RefusedError as refused:
            response = _refusal(refused)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        return _refusal(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, __: RequestValidationError) -> Response:
        return _refusal(RefusedError(422, "invalid", "This request is not understood."))


def _refusal(error: RefusedError) -> Response:
    return JSONResponse({"error": error.code, "message": str(error)}, status_code=error.status)


async def _refuse_forged(request: Request) -> None:
    """What changes something comes from a page of this very address (as the browser says) and is small."""
    if request.method in {"GET", "HEAD"}:
        return
    if request.method != "POST":
        raise RefusedError(405, "method", "Only GET and POST.")
    origin = request.headers.get("origin")
    elsewhere = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if elsewhere or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise RefusedError(403, "origin", "This request comes from another page.")
    form = request.url.path.endswith("/research/raters")  # the only one; a form of another page cannot send JSON
    wanted = "application/x-www-form-urlencoded" if form else "application/json"
    if request.headers.get("content-type", "").partition(";")[0].strip() != wanted:
        raise RefusedError(415, "type", f"The content must be {wanted}.")
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > MAX_BODY:
        raise RefusedError(413, "large", f"At most {MAX_BODY} bytes, and their number said.")
