"""The flower photographs as the benchmarks use them: a split as a folder with captions, prompts of a split as a file.

Splits, traits and captions are the tiny pack's own (``tools/tiny_pack``), so that what is called held out here is what no
network of the pack was trained on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import random
import tarfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pairwright import seeds
from pairwright.errors import Explained
from pairwright.store import write_folder, write_text
from tools.tiny_pack.captions import Traits, caption, thinned
from tools.tiny_pack.photographs import split_of

LICENCE = "CC-BY (TensorFlow flower photos; authors in the original archive)"
TRAITS = Path(__file__).parent / "flowers.tsv"
"""``traits.jsonl`` of ``tools.tiny_pack`` as a table, of 2026-11-26."""
ROUNDS = 10
"""How often a photograph's caption may be thinned anew in search of a text that is not taken."""


class PhotographsError(Explained, ValueError):
    """Photographs or traits that are not there; the message says how they are made."""


@dataclass(frozen=True)
class Flowers:
    """All captioned photographs."""

    source: Path
    """Tar or folder with ``metadata.jsonl``."""
    traits: dict[str, Traits]
    """By file name, in the order of the source."""

    def split(self, name: str) -> dict[str, Traits]:
        """The photographs of one split."""
        return {file: traits for file, traits in self.traits.items() if split_of(file) == name}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark on the photographs needs to a command line."""
    parser.add_argument("--photos", type=Path, required=True, help="flowers-128.tar, or a folder of the same")
    parser.add_argument("--root", type=Path, default=Path("build/benchmarks"), help="runs and store; go on from there")


def read(source: Path, traits: Path = TRAITS) -> Flowers:
    """The photographs with the traits that the pack's tool has found in them.

    Args:
        source: tar or folder with ``metadata.jsonl``.
        traits: a row per photograph; the default is what the tool wrote, kept so that captions and prompts stay what they are.

    Raises:
        PhotographsError: there is no source.
    """
    if not source.exists():
        raise PhotographsError(f"{source} is not there: give the flower photographs with --photos")
    with traits.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return Flowers(source, {row.pop("file"): Traits(**row) for row in rows})


def folder(flowers: Flowers, split: str, root: Path) -> Path:
    """A split as an imagefolder with captions, files as they are. Named by its content list, so that it is never stale."""
    members = flowers.split(split)
    lines = [
        json.dumps({"file_name": file, "text": caption(traits), "license": LICENCE, "source": file})
        for file, traits in members.items()
    ]
    text = "".join(f"{line}\n" for line in lines)
    place = root / "photographs" / f"{split}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if not place.exists():

        def write(temporary: Path) -> None:
            for name, content in contents(flowers.source, members):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(content)
            (temporary / "metadata.jsonl").write_text(text, encoding="utf-8")

        write_folder(place, write)
    return place


def contents(source: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The named files of a tar or a folder; names are relative to where ``metadata.jsonl`` lies.

    Raises:
        PhotographsError: one is missing.
    """
    found = set()
    for name, content in _tar(source, names) if source.is_file() else _folder(source, names):
        found.add(name)
        yield name, content
    missing = sorted(set(names) - found)
    if missing:
        raise PhotographsError(f"{source} has no {missing[0]!r} ({len(missing)} of {len(names)} are missing)")


def _tar(source: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(source) as archive:
        members = archive.getmembers()
        root = next(each.name for each in members if each.name.endswith("metadata.jsonl")).removesuffix("metadata.jsonl")
        for member in members:
            name = member.name.removeprefix(root)
            stream = archive.extractfile(member) if name in names else None
            if stream is not None:
                yield name, stream.read()


def _folder(source: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    yield from ((name, (source / name).read_bytes()) for name in sorted(names) if (source / name).is_file())


def distinct_captions(flowers: Flowers, split: str, count: int, without: Collection[str] = (), seed: int = 0) -> list[str]:
    """``count`` different texts that describe photographs of a split, none of them in ``without``.

    The photographs in an order that the seed decides give their captions, each text once. Where those are too few, the
    photographs in the same order give captions with words left out as the pack's training leaves them out.

    Raises:
        PhotographsError: there are not so many.
    """
    members = flowers.split(split)
    files = list(members)
    order = [files[place] for place in seeds.permutation(len(files), seed, f"prompts of {split}")]
    taken = set(without)
    chosen: list[str] = []
    for text in _texts(members, order, seed):
        if len(chosen) == count:
            return chosen
        if text not in taken:
            taken.add(text)
            chosen.append(text)
    if len(chosen) < count:
        raise PhotographsError(f"split {split!r} has only {len(chosen)} different captions, {count} were asked for")
    return chosen


def _texts(members: dict[str, Traits], order: Sequence[str], seed: int) -> Iterator[str]:
    yield from (caption(members[file]) for file in order)
    for number in range(ROUNDS):
        for file in order:
            chooser = random.Random(seeds.key(seed, "thinned prompt", file, number))  # noqa: S311 - no secret
            yield caption(thinned(members[file], chooser))


def write_prompts(path: Path, texts: Sequence[str], known: Collection[str] = ()) -> Path:
    """A prompt file; where ``known`` is given, a prompt's category says whether its text is among them."""
    rows = [{"prompt": text, **({"category": "known" if text in known else "new"} if known else {})} for text in texts]
    write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))
    return path
