"""Ctrl-C and SIGTERM while a step is under way: the step is dropped, the state before it is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pairwright import ranks


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Inside, these signals only make the yielded function answer yes; a second Ctrl-C ends the process's work at once.

    Outside the main thread signals cannot be caught, and the function never does.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler
        # With several processes the launcher passes the terminal's signal on: it comes twice by itself.
        if signal.SIGINT in asked and number == signal.SIGINT and ranks.count() == 1:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
