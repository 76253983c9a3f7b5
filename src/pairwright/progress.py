"""Progress of long work: live bars on a terminal, plain lines in a log, nothing in tests."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

LINE_EVERY_SECONDS = 15.0


class Task(Protocol):
    """One piece of work that advances."""

    def advance(self, by: int = 1, **facts: float | str) -> None:
        """``facts`` are shown beside the bar (``loss=0.12``)."""
        ...


class Progress(Protocol):
    """Where tasks are shown."""

    def task(self, label: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        """Work of ``total`` units, ``done`` of which an earlier run has finished already."""
        ...

    def say(self, text: str) -> None:
        """One line that stays."""
        ...


class _Silent:
    """Shows nothing."""

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:  # noqa: ARG002 - the protocol's
        yield self

    def say(self, text: str) -> None:
        """See :class:`Progress`."""

    def advance(self, by: int = 1, **facts: float | str) -> None:
        """See :class:`Task`."""


SILENT: Progress = _Silent()


@dataclass
class _Line:
    """A task in a log: one line now and then, with units per second and time left."""

    label: str
    total: int
    done: int
    started: float = field(default_factory=time.monotonic)
    first: int = 0
    printed: float = 0.0

    def __post_init__(self) -> None:
        self.first = self.done
        self.printed = self.started

    def advance(self, by: int = 1, **facts: float | str) -> None:
        self.done += by
        now = time.monotonic()
        if now - self.printed >= LINE_EVERY_SECONDS or self.done >= self.total:
            self.printed = now
            _print(self.line(now, facts))

    def line(self, now: float, facts: dict[str, float | str]) -> str:
        rate = (self.done - self.first) / max(now - self.started, 1e-9)
        left = f"{_clock(max(0, self.total - self.done) / rate)} left" if rate > 0 else "? left"
        shown = " ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in facts.items())
        return f"  {self.label}: {self.done}/{self.total}, {rate:.3g}/s, {left} {shown}".rstrip()


class _Log:
    """Plain lines on standard error: for logs, CI and terminals without a cursor."""

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        yield _Line(label, total, done)

    def say(self, text: str) -> None:
        _print(text)


def _print(text: str) -> None:
    """A line on standard error. Where nobody reads on (``2>&1 | head``), the work goes on all the same."""
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


class _Live:
    """Bars with the time left, through rich."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        from rich import progress as bars

        columns = (
            bars.TextColumn("  {task.description:<22}"),
            bars.BarColumn(bar_width=28),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
            _speed(),
            bars.TextColumn("[dim]{task.fields[facts]}"),
        )
        with bars.Progress(*columns, console=self._console) as shown:
            number = shown.add_task(label, total=total, completed=done, facts="")
            yield _Bar(shown, number)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)


def _speed() -> ProgressColumn:
    """A column with units per second."""
    from rich.progress import ProgressColumn
    from rich.progress import Task as Shown
    from rich.text import Text

    class Speed(ProgressColumn):
        """See :func:`_speed`."""

        def render(self, task: Shown) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "", style="dim")

    return Speed()


class _Bar:
    def __init__(self, shown: object, number: object) -> None:
        self._shown, self._number = shown, number

    def advance(self, by: int = 1, **facts: float | str) -> None:
        text = " ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in facts.items())
        self._shown.update(self._number, advance=by, facts=text)  # type: ignore[attr-defined]


def choose() -> Progress:
    """Bars where standard error is a terminal, lines elsewhere."""
    return _Live() if sys.stderr.isatty() else _Log()


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
