"""Photographs, saliency maps and traits, computed once and kept as arrays."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .captions import Traits
from .photographs import STORED, Photographs, read_photographs
from .teacher import load_teacher, saliency_maps
from .traits import traits_of


@dataclass(frozen=True)
class Data:
    """The photographs with saliency maps uint8 [n, 128, 128] and the traits they show."""

    photographs: Photographs
    saliency: NDArray[np.uint8]
    traits: list[Traits]


def cached(path: Path, compute: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The array in `path`, computed and stored where it is not there yet."""
    if not path.exists():
        fresh = path.with_suffix(".part.npy")
        np.save(fresh, compute())
        fresh.rename(path)
    return np.asarray(np.load(path))


def prepare(source: Path, teacher: Path, work: Path) -> Data:
    """Read everything, or what an earlier call left in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    photographs = read_photographs(source)
    saliency = cached(
        work / "saliency.npy",
        lambda: saliency_maps(load_teacher(teacher), photographs.pixels, STORED),
    )
    traits = [
        traits_of(name, picture[::2, ::2], mask[::2, ::2])
        for name, picture, mask in zip(photographs.species, photographs.pixels, saliency, strict=True)
    ]
    rows = [{"file_name": name} | asdict(seen) for name, seen in zip(photographs.names, traits, strict=True)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (work / "traits.jsonl").write_text(lines, encoding="utf-8")
    return Data(photographs, saliency, traits)
