"""The researcher's page: who has come how far, one more rater, all votes."""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from pairwright.study import longform
from pairwright.study.ballots import RefusedError
from pairwright.study.database import Database
from pairwright.study.raters import overview
from pairwright.study.render import render

_COOKIE = "pairwright_research"
_MONTH = 30 * 86400


class _Gate:
    """Who is let in: the token itself as a bearer, or a cookie that is derived from it."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def holds(self, token: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(token.encode(), self._secret)

    def derived(self, purpose: str) -> str:
        """A token for one purpose, from which the first one is not told."""
        return hmac.new(self._secret, purpose.encode(), hashlib.sha256).hexdigest()

    def require(self, request: Request) -> None:
        """Raise for anybody else."""
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.holds(bearer):
            return
        if not hmac.compare_digest(request.cookies.get(_COOKIE, "").encode(), self.derived("session").encode()):
            raise RefusedError(401, "token", "The researcher's side needs the token that `pairwright study links` prints.")

    def require_own_form(self, sent: str) -> None:
        """Raise for a form that another page has sent."""
        if not hmac.compare_digest(sent.encode(), self.derived("forged").encode()):
            raise RefusedError(403, "forged", "This request does not come from the overview.")


def research_routes(database: Database) -> APIRouter:
    """Everything below ``/research``."""
    router, gate = APIRouter(), _Gate(database.secret())

    @router.get("/research")
    def page(request: Request, token: str = "") -> Response:
        if token and gate.holds(token):  # and out of the address bar again
            moved = RedirectResponse("research", status_code=303)
            secure = request.url.scheme == "https"
            moved.set_cookie(_COOKIE, gate.derived("session"), httponly=True, samesite="strict", secure=secure, max_age=_MONTH)
            return moved
        try:
            gate.require(request)
        except RefusedError as error:
            return HTMLResponse(render("message.html.j2", root="", title="Not open", text=str(error)), error.status)
        facts = {"design": database.design(), "raters": overview(database), "pairs": database.pairs()}
        return HTMLResponse(render("research.html.j2", **facts, forged=gate.derived("forged")))

    @router.post("/research/raters")
    async def add(request: Request) -> Response:
        gate.require(request)
        sent = parse_qs((await request.body()).decode("utf-8", "replace"))
        gate.require_own_form(sent.get("forged", [""])[0])
        database.add_rater()
        return RedirectResponse("../research", status_code=303)

    @router.get("/research/votes.{kind}")
    def votes(request: Request, kind: Literal["csv", "parquet"]) -> Response:
        gate.require(request)
        rows = longform.long(database)
        data = longform.csv_bytes(rows) if kind == "csv" else longform.parquet_bytes(rows)
        media = "text/csv; charset=utf-8" if kind == "csv" else "application/vnd.apache.parquet"
        return Response(data, media_type=media, headers={"Content-Disposition": f'attachment; filename="votes.{kind}"'})

    return router
