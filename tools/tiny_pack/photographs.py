"""The photographs: read from a tar or a folder, split for good by the hash of their names."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .captions import SPECIES

SOURCE = "flower_photos"  # the TensorFlow flower photographs, CC-BY
STORED = 128  # pixels: crops are taken from these and resized to 64
# What each split is for, and its share of a thousand.
SPLITS = {"base": 400, "judge": 300, "photos": 200, "test": 100}


@dataclass(frozen=True)
class Photographs:
    """All photographs: uint8 [n, 128, 128, 3], their file names and species."""

    pixels: NDArray[np.uint8]
    names: list[str]
    species: list[str]

    def indices(self, split: str) -> list[int]:
        """Which photographs belong to `split`, in file order."""
        return [index for index, name in enumerate(self.names) if split_of(name) == split]


def split_of(name: str) -> str:
    """The split of a file, by its name alone: the same on every machine and for good."""
    digest = hashlib.sha256(Path(name).name.encode()).digest()
    place = int.from_bytes(digest[:8], "big") % 1000
    for split, share in SPLITS.items():
        if place < share:
            return split
        place -= share
    raise AssertionError("the shares add up to a thousand")


def read_photographs(source: Path) -> Photographs:
    """Read the tar or folder, which holds ``metadata.jsonl`` and JPEG files beside it."""
    files = dict(_tar_files(source) if source.is_file() else _folder_files(source))
    metadata = next(name for name in files if name.endswith("metadata.jsonl"))
    root = metadata.removesuffix("metadata.jsonl")
    rows = [json.loads(line) for line in files[metadata].splitlines()]
    rows = [row for row in rows if row["source"] == SOURCE]
    pixels = [_decode(files[root + row["file_name"]]) for row in rows]
    return Photographs(
        np.stack(pixels),
        [row["file_name"] for row in rows],
        [SPECIES[row["flower"]] for row in rows],
    )


def _decode(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        square = picture.convert("RGB").resize((STORED, STORED), Image.Resampling.LANCZOS)
    return np.asarray(square)


def _tar_files(source: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(source) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None:
                yield member.name, stream.read()


def _folder_files(source: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(source.rglob("*")):
        if path.suffix in {".jpg", ".jpeg", ".jsonl"}:
            yield path.relative_to(source).as_posix(), path.read_bytes()
