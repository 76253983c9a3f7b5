"""What ``pairwright score`` can be pointed at: a folder, a list, Parquet files, a run; each becomes sets of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pairwright import rowfiles, weights
from pairwright.evaluate import files, parquet
from pairwright.evaluate.files import CollectionError, Described
from pairwright.scoring import PictureSet, Stored
from pairwright.sources import imagefolder
from pairwright.store import Store


class Collection(PictureSet, Protocol):
    """A set of pictures that also says what they are."""

    def described(self) -> Iterator[Described]:
        """Every picture, in order."""
        ...


@dataclass(frozen=True)
class Generated(Stored):
    """The pictures of one model of a run."""

    def described(self) -> Iterator[Described]:
        """Every picture, in order."""
        rows = self.node.rows(columns=["id", "caption"])
        return (Described(row["id"], f"{self.node.path.name}:{row['id']}", row["caption"] or "") for row in rows)


def collect(name: str | Path) -> dict[str, Collection]:
    """The sets of pictures that a path stands for, by label; ``""`` labels what is the only one.

    Args:
        name: a folder with captions, a ``.jsonl``, ``.csv`` or ``.tsv`` of files and prompts, Parquet files or a folder of
            them, a run (its generated pictures, a set for each model), or ``tiny:photos``.

    Raises:
        CollectionError: none of these is there, or a run without pictures.
        SourceError, RowError, StoreError: something in it cannot be read.
    """
    path = weights.tiny(name)
    if (path / "run.json").is_file():
        return dict(_run(path))
    if path.is_dir():
        return {"": parquet.dataset(path) if _is_dataset(path) else files.folder(path)}
    if path.suffix.lower() in rowfiles.SUFFIXES and path.is_file():
        return {"": files.listing(path)}
    if path.suffix.lower() == ".parquet" and path.is_file():
        return {"": parquet.dataset(path)}
    kind = "a single picture" if path.suffix.lower() in imagefolder.DECODED else "none of these"
    raise CollectionError(
        f"{path} is {kind if path.exists() else 'not there'}: expected a folder of pictures with captions, a list of "
        f"files and prompts ({', '.join(rowfiles.SUFFIXES)}), Parquet files, or a run's folder"
    )


def _is_dataset(path: Path) -> bool:
    """Parquet files somewhere below, and no pictures of its own at the top."""
    if any(each.suffix.lower() in imagefolder.DECODED for each in path.iterdir() if each.is_file()):
        return False
    return next(path.rglob("*.parquet"), None) is not None


def _run(folder: Path) -> Iterator[tuple[str, Collection]]:
    steps = _steps(folder)
    store = Store(folder.parent)
    found: dict[str, str] = {}
    several = len(steps) > 1
    for step, entry in steps.items():
        listed = store.open(entry["verb"], entry["fingerprint"]).path / "models.json"
        for label, fingerprint in json.loads(listed.read_text(encoding="utf-8")).items():
            found[f"{step}/{label}" if several else label] = fingerprint
    for label, fingerprint in found.items():
        yield label, Generated(store.open("pictures", fingerprint))


def _steps(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "run.json"
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, KeyError) as error:
        raise CollectionError(f"{path} cannot be read: {error}") from error
    found = {name: entry for name, entry in steps.items() if entry["verb"] == "generate" and entry["state"] == "complete"}
    if not found:
        raise CollectionError(f"{folder} has no finished generate step; its steps: {', '.join(steps) or 'none'}")
    return found
