"""What a scorer says of fixed pictures with fixed prompts, and everything that its numbers depend on.

The pictures are photographs that come with the package, so that the same is asked on every machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

import pairwright
from pairwright import hardware, images, literals, places, runtime, weights
from pairwright.options import Plugin
from pairwright.records import Picture, Prompt, Unscored
from pairwright.scoring import Scorer, score_all

PROBES = (
    ("flower.jpg", "a close-up of an orange dahlia flower"),
    ("lomiri_seeding.jpg", "dandelion seed heads in a meadow at golden hour"),
    ("chelsea.jpg", "a close-up of a tabby cat face"),
    ("china.jpg", "a Chinese temple pavilion with ornate roof"),
    ("coffee.jpg", "a red rose on a dark background"),
    ("lomiri_Wine.jpg", "a djembe drum in a living room with a bottle of wine on a table"),
)
"""Photographs and texts. One text is wrong, so that scores lie apart; one picture is upright, four are not square."""

LIBRARIES = ("pairwright", "torch", "transformers", "tokenizers", "numpy", "pillow")
"""Those that scores pass through; Pillow decodes."""
WEIGHTS = ("model", "backbone", "processor")
"""Options that name weights or what belongs to them."""


class Seen(BaseModel):
    """What a scorer said, on what it rests, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe: str
    """Digest of pictures and prompts: other ones do not compare."""
    names: dict[str, str]
    """By option: the weights as they were asked for."""
    revisions: dict[str, str]
    """By option: the commit of what came from the hub."""
    files: dict[str, str]
    """``option/file`` -> sha256 of its content."""
    versions: dict[str, str]
    """By library."""
    device: str
    dtype: str
    """Number format of the network; ``""`` where there is none."""
    scores: dict[str, list[float | None]]
    """By column, in the order of the pictures; None: could not be scored."""
    date: str


def probe() -> tuple[list[Picture], list[Prompt]]:
    """The fixed pictures and their prompts."""
    folder = Path(pairwright.__file__).parent / "tiny" / "photos"
    contents = [(folder / name).read_bytes() for name, _ in PROBES]
    pictures = [Picture(images.content_id(data), data, text) for data, (_, text) in zip(contents, PROBES, strict=True)]
    return pictures, [Prompt(text) for _, text in PROBES]


def ask(plugin: Plugin, found: Mapping[str, places.Place]) -> Seen:
    """Load a scorer, have it score the fixed pictures, and release it.

    Args:
        plugin: the scorer.
        found: by option, where its weights are; all of them on this disk.

    Raises:
        Exception: whatever loading or scoring raises.
    """
    pictures, prompts = probe()
    scorer = Scorer(plugin, len(pictures))
    try:
        columns = [column.name for column in scorer.reward.columns]
        rows = list(score_all(scorer.reward, pictures, prompts, len(pictures)))
    finally:
        if found:  # one without weights holds nothing that is worth a search for garbage
            scorer.release()
    kept = [[None] * len(columns) if isinstance(row, Unscored) else list(row) for row in rows]
    asked = [[picture.id, prompt.text] for picture, prompt in zip(pictures, prompts, strict=True)]
    return Seen(
        probe=hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16],
        names={option: each.name for option, each in found.items()},
        revisions={
            option: weights.identity(each.name).partition("@")[2] for option, each in found.items() if each.state == "cached"
        },
        files={f"{option}/{name}": digest for option, each in found.items() for name, digest in _files(each)},
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
        device=_device(runtime.device() if found else runtime.device("cpu")),
        dtype=str(literals.option("rewards", plugin, "dtype") or ""),
        scores={name: [row[place] for row in kept] for place, name in enumerate(columns)},
        date=datetime.now(UTC).date().isoformat(),
    )


def _files(found: places.Place) -> list[tuple[str, str]]:
    if found.folder is None:
        return []
    if found.folder.is_file():
        return [(found.folder.name, weights.file_digest(found.folder))]
    names = sorted(each.relative_to(found.folder).as_posix() for each in found.folder.rglob("*") if each.is_file())
    return [(name, weights.file_digest(found.folder / name)) for name in places.wanted(found.role, names)]


def _device(where: torch.device) -> str:
    """What computes, by its maker's name and what it can do: two of one name round alike."""
    if where.type != "cpu":
        return hardware.describe(where).label
    found = hardware.processor()
    return f"{found.model} ({', '.join(found.features)})" if found.features else found.model
