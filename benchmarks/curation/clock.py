"""What each step of a run takes by itself: what one step calls another for is not counted twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any


@dataclass
class Clock:
    """Seconds and pictures by step, of one thread."""

    seconds: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    _inner: list[float] = field(default_factory=list)

    @contextmanager
    def step(self, label: str, pictures: int = 1) -> Iterator[None]:
        """Time what happens within."""
        began = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - began
            self.seconds[label] = self.seconds.get(label, 0.0) + whole - self._inner.pop()
            self.pictures[label] = self.pictures.get(label, 0) + pictures
            if self._inner:
                self._inner[-1] += whole

    @contextmanager
    def listening(self, *points: tuple[object, str, str | Callable[..., str], Callable[..., int]]) -> Iterator[None]:
        """Time calls of functions of the project for as long as the context lasts.

        Args:
            points: module or class, the function's name, the step (or what gives it for the call's arguments), and how many
                pictures a call is for.
        """
        before = [(owner, name, getattr(owner, name)) for owner, name, _, _ in points]
        try:
            for owner, name, label, count in points:
                setattr(owner, name, self._timed(getattr(owner, name), label, count))
            yield
        finally:
            for owner, name, function in before:
                setattr(owner, name, function)

    def _timed(
        self, function: Callable[..., Any], label: str | Callable[..., str], count: Callable[..., int]
    ) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            with self.step(label if isinstance(label, str) else label(*args), count(*args)):
                return function(*args, **options)

        return timed

    def rate(self, label: str) -> float | None:
        """Pictures per second of a step; None where there were none."""
        return self.pictures[label] / self.seconds[label] if self.pictures.get(label) else None
