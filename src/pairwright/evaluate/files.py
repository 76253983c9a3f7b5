"""Pictures in files of their own, each with its prompt, as a set to score: a folder with captions, or a list of files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property, partial
from pathlib import Path

from pairwright import images, rowfiles, untrusted
from pairwright.errors import Explained
from pairwright.records import Picture, Prompt, Unscored
from pairwright.scoring import NO_PROMPT, Closed, Content
from pairwright.sources import imagefolder

SHARD = 64
FILE_COLUMNS = ("file", "file_name", "image", "path")
PROMPT_COLUMNS = ("prompt", "text", "caption")


class CollectionError(Explained, ValueError):
    """Pictures that cannot be found or listed; the message names the file or folder and what was looked for."""


@dataclass(frozen=True)
class Described:
    """What is known of a picture besides its scores."""

    id: str
    file: str
    prompt: str


@dataclass(frozen=True)
class Entry:
    """One picture of a set."""

    id: str
    file: str
    """Relative to the set's folder."""
    prompt: str
    problem: str = ""
    """Why it cannot be read; ``""`` where nothing is known against it."""
    silent: str = ""
    """Why it has no prompt; ``""`` where it has one."""


@dataclass(frozen=True)
class Files:
    """Pictures in files; see :class:`pairwright.scoring.PictureSet`. Nothing is copied: files are read where they are."""

    folder: Path
    entries: tuple[Entry, ...]

    @cached_property
    def fingerprint(self) -> str:
        """Names, prompts and content: a changed pixel or prompt is another set, a changed time is not."""
        return hashlib.sha256(json.dumps([astuple(each) for each in self.entries]).encode()).hexdigest()[:16]

    @property
    def choice(self) -> Mapping[str, str]:
        """All of them."""
        return {}

    @property
    def whole(self) -> bool:
        """The list is made, so that none can arrive."""
        return True

    def sizes(self) -> dict[int, int]:
        """64 pictures to a shard, in order."""
        return {shard: len(self._part(shard)) for shard in range(-(-len(self.entries) // SHARD))}

    def read(self, shard: int) -> list[tuple[str, Closed]]:
        """See :meth:`pairwright.scoring.PictureSet.read`. Files pass the same checks as every untrusted picture."""
        return [(each.id, partial(self._read, each)) for each in self._part(shard)]

    def described(self) -> Iterator[Described]:
        """Every picture, in order."""
        return (Described(each.id, each.file, each.prompt) for each in self.entries)

    def _part(self, shard: int) -> Sequence[Entry]:
        return self.entries[shard * SHARD : (shard + 1) * SHARD]

    def _read(self, entry: Entry) -> Content:
        if entry.problem:
            return Unscored(entry.problem)
        return checked(self.folder / entry.file, entry.id, entry.prompt, entry.silent)


def checked(source: Path | bytes, name: str, prompt: str, silent: str) -> Content:
    """A picture that anybody may have made, and its prompt, as scoring takes them: decoded, since checking it has done that."""
    try:
        data = images.file_bytes(source) if isinstance(source, Path) else source
        developed = untrusted.develop(data)
    except images.ImageError as error:
        return Unscored(f"cannot be decoded: {error}")
    picture = Picture(name, data if developed.as_is else images.encode(developed.image), prompt)
    vars(picture)["image"] = developed.image  # where the picture itself keeps what it has decoded
    return picture, Unscored(f"{NO_PROMPT}: {silent}") if silent else Prompt(prompt)


def folder(path: Path) -> Files:
    """The pictures below a folder, as :mod:`pairwright.sources.imagefolder` lists them; also those without a caption.

    Raises:
        SourceError: nothing in it.
        RowError: a malformed line of metadata; names file and line.
    """
    listed = []
    for item in imagefolder.load(path=path).items:
        mute = item.step == "caption"
        listed.append((item.name, item.caption, "" if mute else item.reason, item.reason if mute else ""))
    return Files(path, tuple(_entries(path, listed)))


def listing(path: Path) -> Files:
    """The files that a ``.jsonl``, ``.csv`` or ``.tsv`` names, with their prompts; relative to the list's own folder.

    Raises:
        CollectionError: it names no file.
        RowError: a malformed line, or one without a file; names file and line.
    """
    listed = []
    for row in rowfiles.read(path):
        name, prompt = row.text(FILE_COLUMNS), row.text(PROMPT_COLUMNS)
        if not name:
            raise row.error(_nameless(row))
        problem = "" if (path.parent / name).is_file() else f"{path.name}:{row.line} names {name}, which is not there"
        listed.append((name, prompt, problem, "" if prompt else f"{path.name}:{row.line} has none"))
    if not listed:
        raise CollectionError(f"{path} names no pictures: expected the columns file and prompt")
    return Files(path.parent, tuple(_entries(path.parent, listed)))


def _nameless(row: rowfiles.Row) -> str:
    columns = list(row.values)
    if len(columns) == 1 and ";" in columns[0]:
        return f"one column, {columns[0]!r}: between columns stands a comma (.csv) or a tab (.tsv)"
    there = [name for name in FILE_COLUMNS if name in columns]
    if there:
        return f"no file: {there[0]!r} is empty"
    return f"no column that names the file: looked for {', '.join(FILE_COLUMNS)}; its columns: {', '.join(columns) or 'none'}"


def _entries(place: Path, listed: Iterable[tuple[str, str, str, str]]) -> Iterator[Entry]:
    """Ids follow from content and prompt; the same picture with the same prompt a second time gets one of its own."""
    digests: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for file, prompt, problem, silent in listed:
        if file not in digests:
            digests[file] = file if problem else _digest(place / file)
        key = json.dumps([digests[file], prompt])
        name = hashlib.sha256(f"{key}\n{seen[key]}".encode()).hexdigest()[:16]
        seen[key] += 1
        yield Entry(name, file, prompt, problem, silent)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:  # reading gives the reason; here it only has to stay the same
        return f"unreadable: {error.strerror}"
