"""TensorBoard, Weights & Biases and trackio, for those who have them: they get what ``steps.jsonl`` gets.

Nothing that happens there ends a training: a tracker that fails is left out from then on.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pairwright.errors import Explained
from pairwright.options import Train
from pairwright.store import Node

PROJECT = "pairwright"
_EXTRA = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}
"""Name in ``report_to`` and the package that it needs."""


class TrackerError(Explained, RuntimeError):
    """A tracker whose library is not installed."""


class Tracker(Protocol):
    """Where numbers go."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers by name, of one step."""
        ...

    def picture(self, name: str, path: Path, step: int) -> None:
        """A picture in a file, of one step."""
        ...

    def close(self) -> None:
        """There is no more."""
        ...


def check(names: Sequence[str]) -> None:
    """Before anything is loaded: are the libraries there?

    Raises:
        TrackerError: one is not.
    """
    for name in names:
        if importlib.util.find_spec(_EXTRA[name]) is None:
            raise TrackerError(f"report_to names {name!r}, which is not installed: pip install {_EXTRA[name]}, or leave it out")


class TensorBoard:
    """Event files in ``<result>/tensorboard``."""

    def __init__(self, node: Node, options: Train) -> None:  # noqa: ARG002 - like the others
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._writer = writer(str(node.path / "tensorboard"))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`Tracker`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, path: Path, step: int) -> None:
        """See :class:`Tracker`."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """See :class:`Tracker`."""
        self._writer.close()


class Hosted:
    """Weights & Biases and trackio, which share their functions' names. A training that goes on continues its run."""

    def __init__(self, module: str, node: Node, options: Train) -> None:
        self._module = importlib.import_module(module)
        name = f"{options.objective}-{node.fingerprint}"
        again = {"id": node.fingerprint} if module == "wandb" else {}
        self._run = self._module.init(project=PROJECT, name=name, config=options.meaning(), resume="allow", **again)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`Tracker`."""
        self._run.log(dict(values), step=step)

    def picture(self, name: str, path: Path, step: int) -> None:
        """See :class:`Tracker`."""
        self._run.log({name: self._module.Image(str(path))}, step=step)

    def close(self) -> None:
        """See :class:`Tracker`."""
        self._run.finish()


def _open(name: str, node: Node, options: Train) -> Tracker:
    return TensorBoard(node, options) if name == "tensorboard" else Hosted(name, node, options)


@dataclass
class Trackers:
    """Those that are in use."""

    say: Callable[[str], object]
    using: dict[str, Tracker] = field(default_factory=dict)

    def log(self, row: Mapping[str, Any]) -> None:
        """Send a line of the log."""
        numbers = {
            name: float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and name != "step"
        }  # fmt: skip
        self._each(lambda tracker: tracker.log(numbers, int(row["step"])))

    def pictures(self, paths: Sequence[Path], step: int) -> None:
        """Send previews."""

        def send(tracker: Tracker) -> None:
            for path in paths:
                tracker.picture(f"previews/{path.stem}", path, step)

        self._each(send)

    def close(self) -> None:
        """There is no more."""
        self._each(lambda tracker: tracker.close())

    def _each(self, act: Callable[[Tracker], object]) -> None:
        for name, tracker in list(self.using.items()):
            try:
                act(tracker)
            except Exception as error:  # noqa: BLE001 - no tracker's trouble may end a training
                del self.using[name]
                self.say(f"  {name} failed and is left out from now on: {type(error).__name__}: {error}")


@contextmanager
def opened(node: Node, options: Train, say: Callable[[str], object]) -> Iterator[Trackers]:
    """The trackers that ``report_to`` names."""
    found = Trackers(say)
    for name in options.report_to:
        try:
            found.using[name] = _open(name, node, options)
        except Exception as error:  # noqa: BLE001 - see Trackers
            say(f"  {name} could not be started and is left out: {type(error).__name__}: {error}")
    try:
        yield found
    finally:
        found.close()
