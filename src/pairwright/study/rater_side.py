"""What a rater's page is and asks for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from pairwright.study.ballots import RefusedError, Vote
from pairwright.study.database import Database
from pairwright.study.render import STATIC, asset, render

Token = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{16,64}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class VoteBody(_Body):
    """An answer."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{16,64}$")
    assignment: str = Field(max_length=64)
    answer: Literal["left", "right", "tie"]
    milliseconds: int = Field(ge=0, le=10**9)
    layout: Literal["side", "stacked"]


class UndoBody(_Body):
    """Which answer is taken back."""

    vote: str = Field(max_length=64)


def rater_routes(database: Database) -> APIRouter:
    """The page, its state, what it sends, and what it loads."""
    router = APIRouter()
    _files(router, database)
    _answers(router, database)
    return router


def _files(router: APIRouter, database: Database) -> None:
    design = database.design()
    paragraphs = [part.strip() for part in design["consent"].split("\n\n") if part.strip()]

    @router.get("/r/{token}")
    def page(token: str) -> Response:
        try:
            consented = database.consented(database.rater(token))
        except RefusedError as error:
            return HTMLResponse(render("message.html.j2", root="../", title="Unknown link", text=str(error)), error.status)
        return HTMLResponse(render("rater.html.j2", design=design, paragraphs=paragraphs, consented=consented))

    @router.get("/picture/{token}")
    def picture(token: Token) -> Response:
        data = database.picture(token)
        if data is None:
            raise RefusedError(404, "unknown", "There is no such picture.")
        return Response(data, media_type="image/png", headers={"Cache-Control": "private, max-age=604800, immutable"})

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            raise RefusedError(404, "unknown", "There is no such file.")
        return Response(asset(name), media_type=f"{STATIC[name]}; charset=utf-8")


def _answers(router: APIRouter, database: Database) -> None:
    design = database.design()
    rules = {"ties": design["ties"], "least_seconds": design["least_seconds"]}

    @router.get("/api/{token}/state")
    def state(token: Token) -> Any:
        rater = database.rater(token)
        if not database.consented(rater):
            return {**rules, "consented": False}
        return {**rules, "consented": True, **database.state(rater)}

    @router.post("/api/{token}/consent")
    def consent(token: Token) -> Any:
        rater = database.rater(token)
        database.consent(rater)
        return {**rules, "consented": True, **database.state(rater)}

    @router.post("/api/{token}/vote")
    def vote(token: Token, body: VoteBody) -> Any:
        return database.vote(database.rater(token), Vote(**body.model_dump()), **rules)

    @router.post("/api/{token}/undo")
    def undo(token: Token, body: UndoBody) -> Any:
        return database.undo(database.rater(token), body.vote)
