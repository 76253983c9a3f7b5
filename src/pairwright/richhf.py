"""RichHF-18K: what people said is wrong with pictures of Pick-a-Pic v1: scores, heat maps, and the prompt's words that are missed.

Liang et al. 2024, "Rich Human Feedback for Text-to-Image Generation" (arXiv 2312.10240); files ``train.tfrecord``, ``dev.tfrecord``
and ``test.tfrecord`` of google-research-datasets/richhf-18k. There are no pictures and no prompts in them: both are
Pick-a-Pic's, by the picture's uid, which is the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from pairwright import images, tfrecords
from pairwright.errors import Explained

SCORES = ("aesthetics_score", "artifact_score", "misalignment_score", "overall_score")
"""Higher is better, of all of them."""
MAPS = {"artifact": "artifact_map", "misalignment": "misalignment_map"}
MOST_PIXELS = 4096 * 4096
"""Of a heat map: published ones are 512 x 512."""
T = TypeVar("T", bytes, float)
_SEPARATORS = re.compile(r"""[,.?!":; ]""")


class RichHFError(Explained, ValueError):
    """Files that are not RichHF-18K's; the message names file and field."""


@dataclass(frozen=True)
class Feedback:
    """What was said of one picture."""

    filename: str
    """As published: ``train/<uid>.png``."""
    scores: Mapping[str, float]
    aligned: tuple[bool, ...]
    """For each of :func:`words` of the prompt whether the picture shows it."""
    encoded: Mapping[str, bytes]
    """Heat maps by name (``artifact``, ``misalignment``), as encoded pictures of one channel."""

    @property
    def uid(self) -> str:
        """Pick-a-Pic's name for the picture."""
        return uid(self.filename)

    def maps(self) -> dict[str, np.ndarray]:
        """Heat maps by name, ``float32 [h, w]`` in 0..1, 1 where all who looked saw a fault.

        Raises:
            pairwright.images.ImageError: one cannot be decoded.
        """
        found = {}
        for name, data in self.encoded.items():
            grey = images.to_array(images.read(data, max_pixels=MOST_PIXELS))[..., 0]
            found[name] = grey.astype(np.float32) / 255
        return found


def uid(filename: str) -> str:
    """Pick-a-Pic's name for the picture in a file of this name."""
    return PurePosixPath(filename).name.partition(".")[0]


def words(prompt: str) -> list[str]:
    """The words that labels are for, as the authors' code splits a prompt: at ``, . ? ! " : ;`` and at spaces."""
    return [each for each in _SEPARATORS.split(prompt) if each]


def files(path: Path) -> list[Path]:
    """The file itself, or a folder's ``*.tfrecord`` in the order of their names.

    Raises:
        RichHFError: there are none.
    """
    path = path.expanduser()
    found = sorted(path.glob("*.tfrecord")) if path.is_dir() else [path] if path.is_file() else []
    if not found:
        raise RichHFError(f"{path} is no TFRecord file and no folder with *.tfrecord in it (RichHF-18K's train, dev, test)")
    return found


def index(path: Path) -> dict[str, tuple[Path, int]]:
    """Where the feedback on each picture lies, by its file's name, in the files' order. Every record's checksum is checked.

    Raises:
        RichHFError: as :func:`files`, or a record is not RichHF-18K's.
        pairwright.tfrecords.TFRecordError: a file is damaged.
    """
    found: dict[str, tuple[Path, int]] = {}
    for file in files(path):
        for start, data in tfrecords.records(file):
            found.setdefault(feedback(data, f"{file}, byte {start:,}").filename, (file, start))
    return found


def every(path: Path) -> Iterator[Feedback]:
    """All feedback, in the files' order.

    Raises:
        RichHFError: as :func:`index`.
        pairwright.tfrecords.TFRecordError: a file is damaged.
    """
    for file in files(path):
        for start, data in tfrecords.records(file):
            yield feedback(data, f"{file}, byte {start:,}")


def feedback(data: bytes, where: str) -> Feedback:
    """One record.

    Args:
        data: a ``tf.Example``.
        where: for messages.

    Raises:
        RichHFError: a field is missing or of another kind.
        pairwright.tfrecords.TFRecordError: it is no ``tf.Example``.
    """
    try:
        found = tfrecords.example(data)
    except tfrecords.TFRecordError as error:
        raise tfrecords.TFRecordError(f"{where}: {error}") from error
    label = _text(found, "prompt_misalignment_label", where).split()
    if not set(label) <= {"0", "1"}:
        raise RichHFError(f"{where}: prompt_misalignment_label is not made of 0 and 1: {' '.join(label)[:40]!r}")
    scores = {name: _one(found, name, float, where) for name in SCORES}
    encoded = {name: _one(found, field, bytes, where) for name, field in MAPS.items()}
    return Feedback(_text(found, "filename", where), scores, tuple(each == "1" for each in label), encoded)


def _text(found: Mapping[str, tfrecords.Values], name: str, where: str) -> str:
    try:
        return _one(found, name, bytes, where).decode()
    except UnicodeDecodeError as error:
        raise RichHFError(f"{where}: {name} is not text") from error


def _one(found: Mapping[str, tfrecords.Values], name: str, kind: type[T], where: str) -> T:
    values = found.get(name, [])
    if len(values) != 1 or not isinstance(values[0], kind):
        there = ", ".join(sorted(found)) or "nothing"
        raise RichHFError(f"{where}: the field {name!r} is not there once as {kind.__name__}; the record has: {there}")
    return values[0]
