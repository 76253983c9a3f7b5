"""Who works on what. Locks are the operating system's and go with their process, kill -9 included.

A run is worked on by one process, and a second one is refused. A result of the store may be wanted by several runs at once,
such as the rows of a sweep on as many machines: one computes it, and the others wait and take it over where it stands.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from pairwright.errors import Explained
from pairwright.progress import Progress
from pairwright.store import Node, write_json

POLL_SECONDS = 0.5
_WAITED: list[float] = []


class HeldError(Explained, RuntimeError):
    """Another process works on this run."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other processes off a folder.

    Raises:
        HeldError: says who holds it.
    """

    def refuse(who: str) -> None:
        raise HeldError(f"{folder} is being worked on by {who}; wait for it or stop it")

    with _locked(folder, refuse):
        yield


@contextmanager
def claimed(nodes: Sequence[Node], progress: Progress) -> Iterator[list[Node]]:
    """Keep other processes off unfinished results; wait for whoever works on one of them.

    Whoever claims several names those first that others are made from, so that no two wait for each other.

    Yields:
        those that are unfinished now: what another process has finished meanwhile is not computed again.
    """
    with ExitStack() as held:
        for path in dict.fromkeys(each.path for each in nodes if not each.complete):
            held.enter_context(_locked(path, partial(_wait, progress, path)))
        yield [each for each in nodes if not each.complete]


@contextmanager
def _locked(folder: Path, meet: Callable[[str], object]) -> Iterator[None]:
    """Inside, the folder is this process's. ``meet`` is told who has it, if somebody has; what it does not refuse waits."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / ".lock"), folder / ".holder.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        meet(_who(holder))
        started = time.monotonic()
        try:
            lock.acquire(poll_interval=POLL_SECONDS)
        finally:
            _WAITED.append(time.monotonic() - started)
    try:
        write_json(holder, {"pid": os.getpid(), "host": socket.gethostname(), "since": now()})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def worked() -> float:
    """A clock in seconds that stands still while this process waits for another one: what a step costs is its own work."""
    return time.monotonic() - sum(_WAITED)


def _wait(progress: Progress, path: Path, who: str) -> None:
    progress.say(f"  {path} is being computed by {who}: waiting for it")


def _who(holder: Path) -> str:
    try:
        said = json.loads(holder.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "another process"
    return f"process {said['pid']} on {said['host']} since {said['since']}"


def now() -> str:
    """The time as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
