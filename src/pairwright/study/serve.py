"""Serving a study on this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pairwright.study.database import FILE, Database
from pairwright.study.design import StudyError

if TYPE_CHECKING:
    import uvicorn


def links(folder: Path, address: str) -> list[tuple[str, str]]:
    """Whose link, and the link: ``researcher``, then ``rater 1`` and so on.

    Args:
        folder: of the study.
        address: under which raters reach the server, for instance ``https://study.example.org``.

    Raises:
        StudyError: no study.
    """
    base = address.rstrip("/")
    with Database(folder / FILE) as database:
        raters = [(f"rater {row['number']}", f"{base}/r/{row['token']}") for row in database.overview()]
        return [("researcher", f"{base}/research?token={database.secret()}"), *raters]


def serve(folder: Path, *, host: str, port: int, said: Callable[[str], object]) -> None:
    """Answer raters until interrupted.

    Args:
        folder: of the study.
        host: address to listen on; ``127.0.0.1`` is this machine alone.
        port: 0 takes a free one.
        said: told the address once the server listens: ``http://127.0.0.1:8765``.

    Raises:
        StudyError: no study, the port is taken, or FastAPI and uvicorn are not installed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StudyError(f"cannot listen on {host}, port {port} ({error.strerror}); name another --port") from error
    with Database(folder / FILE) as database, listener:
        server = server_of(database)
        name = f"[{host}]" if ":" in host else host
        said(f"http://{name}:{listener.getsockname()[1]}")
        server.run(sockets=[listener])


def server_of(database: Database) -> uvicorn.Server:
    """The server of a study, not yet running.

    Raises:
        StudyError: FastAPI and uvicorn are not installed.
    """
    try:
        import uvicorn

        from pairwright.study.server import application
    except ImportError as error:
        raise StudyError(f"serving a study needs FastAPI and uvicorn ({error}): pip install 'pairwright[study]'") from error
    settings = uvicorn.Config(
        application(database),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        access_log=False,  # addresses hold the raters' links
        log_level="warning",
        server_header=False,
    )
    return uvicorn.Server(settings)
