"""The field's prompt sets: where each is to be had, how many prompts it has and what their checksum is.

None is shipped. A set is read from a path that is named, else from the folder ``PAIRWRIGHT_PROMPTS``, else from the hub, and is
then the same set whichever copy it came from: texts are normalised (Unicode NFC, runs of white space one blank), so that a prompt
has the same id, noise and pictures everywhere, and count and checksum are verified.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pairwright.prompts import hub, reading
from pairwright.prompts.reading import PromptError
from pairwright.records import Prompt

FOLDER = "PAIRWRIGHT_PROMPTS"
"""The environment variable that names a folder with copies of the sets."""


@dataclass(frozen=True)
class KnownSet:
    """A prompt set that others report numbers on."""

    name: str
    count: int
    digest: str
    """SHA-256 over the normalised prompts, sorted, one per line."""
    source: str
    """Where it is to be had, for people."""
    hub: str = ""
    """``hub:owner/name@revision``; empty where the hub has no copy that is known."""
    patterns: tuple[str, ...] = ()
    """Its files there."""
    copies: tuple[str, ...] = ()
    """What its published files and folders are called."""
    categories: Mapping[str, int] = field(default_factory=dict)
    """Prompts by category, where the set has any."""
    distinct: bool = False
    """Published with a row per picture or question: a prompt counts once."""
    quoted: bool = True
    """See :func:`pairwright.prompts.reading.read`."""


def normalised(text: str) -> str:
    """Unicode NFC, every run of white space one blank."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def digest(texts: Iterable[str]) -> str:
    """SHA-256 over normalised texts, whatever their order: 64 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(normalised(each) for each in texts)).encode()).hexdigest()


def find(known: KnownSet, path: str | None = None) -> list[Prompt]:
    """The prompts of a known set, without ids.

    Raises:
        PromptError: it is nowhere, or what is there is not it.
        RowError: see :func:`pairwright.prompts.reading.read`.
    """
    files = _files(known, path)
    found = [replace(each, text=normalised(each.text)) for file in files for each in _read(known, file, alone=len(files) == 1)]
    prompts = list({each.text: each for each in reversed(found)}.values())[::-1] if known.distinct else found
    _verify(known, prompts, files)
    return prompts


def _files(known: KnownSet, path: str | None) -> list[Path]:
    if path is not None and path.startswith(hub.PREFIX):
        return hub.files(path, known.patterns)
    if path is not None:
        given = Path(path).expanduser()
        if not given.exists():
            raise PromptError(f"{known.name}: there is no {given.absolute()}. The set is to be had from {known.source}.")
        return _below(known, given)
    folder = os.environ.get(FOLDER)
    if folder and (copy := _copy(known, Path(folder).expanduser())):
        return _below(known, copy)
    if known.hub:
        return hub.files(known.hub, known.patterns)
    looked = f"looked in {folder} for {', '.join(_names(known))}" if folder else f"{FOLDER} names no folder"
    raise PromptError(
        f"{known.name} is not on this disk ({looked}). It is to be had from {known.source}; give its place: "
        f'prompts = {{ name = "{known.name}", path = "..." }}, or put it into the folder that {FOLDER} names.'
    )


def _names(known: KnownSet) -> list[str]:
    return [*(f"{known.name}{suffix}" for suffix in reading.SUFFIXES), known.name, *known.copies]


def _copy(known: KnownSet, folder: Path) -> Path | None:
    return next((folder / each for each in _names(known) if (folder / each).exists()), None)


def _below(known: KnownSet, path: Path) -> list[Path]:
    """The file itself, or a folder's files: those that the set is published as, else all that hold prompts."""
    if path.is_file():
        return [path]
    named = [each for pattern in known.patterns for each in sorted(path.glob(pattern))]
    found = named or sorted(each for each in path.iterdir() if each.suffix.lower() in reading.SUFFIXES)
    if not found:
        raise PromptError(f"{known.name}: the folder {path} holds none of {', '.join(reading.SUFFIXES)}.")
    return found


def _read(known: KnownSet, file: Path, *, alone: bool) -> Iterator[Prompt]:
    if file.suffix.lower() == ".txt" and not alone:  # DPG-Bench: a file per prompt
        yield Prompt(file.read_text(encoding="utf-8"))
        return
    for each in reading.read(file, quoted=known.quoted):
        yield each if each.category or alone else replace(each, category=file.stem)  # HPDv2: a file per style


def _verify(known: KnownSet, prompts: list[Prompt], files: list[Path]) -> None:
    where = files[0] if len(files) == 1 else files[0].parent
    if len(prompts) != known.count:
        raise PromptError(f"{where} holds {len(prompts):,} prompts; {known.name} has {known.count:,}. {_OTHER}")
    if digest(each.text for each in prompts) != known.digest:
        raise PromptError(f"{where} holds other prompts than {known.name}: their checksum differs. {_OTHER}")
    found = Counter(each.category for each in prompts)
    if any(found) and known.categories and found != Counter(known.categories):
        raise PromptError(f"{where}: {known.name} has {dict(known.categories)} prompts by category, found {dict(found)}. {_OTHER}")


_OTHER = "Give its path as the name to use it as a set of your own: its numbers are then not those of the known set."

_PARTI = {"Animals": 314, "Artifacts": 287, "World Knowledge": 214, "People": 177, "Outdoor Scenes": 131, "Illustrations": 124}
_PARTI |= {"Vehicles": 104, "Food & Beverage": 74, "Arts": 66, "Abstract": 51, "Produce & Plants": 50, "Indoor Scenes": 40}

_SETS = (
    KnownSet(
        "pickapic_v2_test",
        487,
        "42003f091f1ebb3697476f527d27b2e7a049fe5afebe318e14f2521c1de2f3fb",
        "a copy of Pick-a-Pic v2 (split test_unique, column caption); the original has left the hub",
        copies=("pickapic_v2_test_unique.jsonl", "pickapic_v2_test_unique.parquet"),
        distinct=True,
    ),
    KnownSet(
        "drawbench",
        200,
        "1ccb4f9e51c9fd05bca5b34d04f8aa0460919be1e4b2cc233bf1abcb4c2bb618",
        "https://huggingface.co/datasets/sayakpaul/drawbench",
        hub="hub:sayakpaul/drawbench@ad794cba698c253ffdb6d18eff3fc87b004c1135",
        patterns=("*.csv", "*.tsv", "data/*.parquet"),
        copies=("DrawBench.csv", "drawbench.csv"),
    ),
    KnownSet(
        "partiprompts",
        1632,
        "5a639eb2e33da63a74d244cb67fabf91dcb7c7aea729984c2c046e880cbdb145",
        "https://github.com/google-research/parti (PartiPrompts.tsv)",
        hub="hub:nateraw/parti-prompts@944b156abfdad7627c3221b5ec4f6a6fb060a197",
        patterns=("PartiPrompts.tsv",),
        copies=("PartiPrompts.tsv",),
        categories=_PARTI,
        quoted=False,
    ),
    KnownSet(
        "hpdv2",
        3200,
        "427a2c90eba95520bcf63fb8d2d6fc4b60beb5c4c1a4513b4a43ed171010ea56",
        "https://huggingface.co/datasets/zhwang/HPDv2 (benchmark/)",
        hub="hub:zhwang/HPDv2@b9517430f34b1080d4f741118d2a440155a165cd",
        patterns=tuple(f"benchmark/{style}.json" for style in ("anime", "concept-art", "paintings", "photo")),
        copies=("hpdv2_benchmark.jsonl", "HPDv2"),
        categories=dict.fromkeys(("anime", "concept-art", "paintings", "photo"), 800),
    ),
    KnownSet(
        "dpg_bench",
        1065,
        "835793d936e83c08ad87d77841645c0666c442b2ca1a27d334a289d80f4c9ed6",
        "https://github.com/TencentQQGYLab/ELLA (dpg_bench/prompts/ or dpg_bench/dpg_bench.csv)",
        copies=("dpg_bench/prompts", "ELLA/dpg_bench/prompts"),
        distinct=True,
    ),
    KnownSet(
        "geneval",
        553,
        "db13d3b9aa8c662809a99c92f2af07b46958f6017d12755e52462a5a9fc428d7",
        "https://github.com/djghosh13/geneval (prompts/evaluation_metadata.jsonl)",
        copies=("evaluation_metadata.jsonl", "geneval/prompts/evaluation_metadata.jsonl"),
        categories={"position": 100, "color_attr": 100, "two_object": 99, "colors": 94, "single_object": 80, "counting": 80},
    ),
)
KNOWN: Mapping[str, KnownSet] = {each.name: each for each in _SETS}
"""By name."""
