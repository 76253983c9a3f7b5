"""A curation that can be killed: run as a script, one life per line of its input, forked off so that imports are paid once.

    python lives.py LOG < "<seconds> <root>" lines

A life is killed (SIGKILL) after so many seconds, and its end is printed: ``killed`` or ``finished``. What is repainted or
scored goes into the log at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pairwright.context import Context
from pairwright.curate import curate
from pairwright.options import Curate
from pairwright.store import Store
from tests.fakes import dye

OPTIONS: dict[str, Any] = {
    "source": {"name": "tests.fakes.colours", "count": 300},
    "resolution": 32,
    "filters": [{"reward": "colorfulness", "rule": "above_mean"}],
    "saliency": "tests.fakes.middle",
    "perturbation": "tests.fakes.dye",
    "gap": {"reward": "tests.fakes.red", "at_least": 0.02},
    "keep": {"reward": "tests.fakes.red", "top": 40},
    "eager": True,
}


def logged(edit: Callable[..., Any], log: Path) -> Callable[..., Any]:
    """Write down whom a perturbation changes before it does."""

    def wrapped(self: object, edits: Any) -> Any:
        with log.open("a") as stream:
            stream.write("".join(f"{each.picture.id}\n" for each in edits))
        return edit(self, edits)

    return wrapped


def live(root: Path) -> None:
    curate(Curate.model_validate(OPTIONS), Context(Store(root)))


def main(log: Path) -> None:
    dye.Dye.edit = logged(dye.Dye.edit, log)  # type: ignore[method-assign]
    for line in sys.stdin:
        seconds, root = line.split(maxsplit=1)
        child = os.fork()
        if not child:
            live(Path(root.strip()))
            os._exit(0)
        timer = threading.Timer(float(seconds), os.kill, (child, signal.SIGKILL))
        timer.start()
        _, status = os.waitpid(child, 0)
        timer.cancel()
        timer.join()
        print("killed" if os.WIFSIGNALED(status) else f"finished {os.waitstatus_to_exitcode(status)}", flush=True)  # noqa: T201 - the other side reads it


if __name__ == "__main__":
    main(Path(sys.argv[1]))
