"""A folder of pictures with captions: ``metadata.jsonl``, ``metadata.csv``, or a ``.txt`` beside each picture.

Metadata have a column ``file_name`` (relative to their own folder) and one of ``text``, ``caption`` or ``prompt``; ``license``,
``author`` and ``source`` are kept. Subfolders are read; hidden files and linked folders are not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath

from pydantic import PositiveInt

from pairwright import images
from pairwright.records import Picture, Rejected
from pairwright.rowfiles import RowError
from pairwright.sources import _remote
from pairwright.sources._captions import METADATA, Entry, beside, entries, same_name, walk
from pairwright.sources._errors import SourceError

DECODED = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
OTHER_PICTURES = (
    *(".heic", ".heif", ".jxl", ".jp2", ".svg", ".psd", ".ico", ".tga", ".ppm", ".pgm", ".eps", ".exr", ".hdr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
"""Pictures that are not decoded here: they are listed with that reason, not passed over."""


@dataclass(frozen=True)
class Item:
    """One picture that is there, or that metadata speak of."""

    name: str
    """Relative path with forward slashes."""
    caption: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    step: str = ""
    """Where it leaves the road before it is read; ``""`` where it does not."""
    reason: str = ""


@dataclass(frozen=True)
class ImageFolder:
    """The pictures of a folder in the order of their names. See :class:`pairwright.protocols.Source`."""

    folder: Path
    items: tuple[Item, ...]

    @cached_property
    def _fingerprint(self) -> str:
        listing = [(asdict(item), "" if item.step else _digest(self.folder / item.name)) for item in self.items]
        return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()[:16]

    def fingerprint(self) -> str:
        """A digest of names, captions, provenance and of all content: times do not matter, a single changed pixel does."""
        return self._fingerprint

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Picture | Rejected]:
        first: dict[str, str] = {}  # only what was accepted: a copy with a caption stands in for one without
        for item in self.items:
            result = self._read(item, first)
            if isinstance(result, Picture):
                first[result.id] = item.name
            yield result

    def part(self, start: int, stop: int) -> ImageFolder:
        """See :class:`pairwright.protocols.Divisible`."""
        return ImageFolder(self.folder, self.items[start:stop])

    def alone(self) -> Iterator[Picture | Rejected]:
        """See :class:`pairwright.protocols.Part`."""
        return (self._read(item, {}) for item in self.items)

    def _read(self, item: Item, first: Mapping[str, str]) -> Picture | Rejected:
        if item.step:
            return Rejected(item.name, item.step, item.reason)
        try:
            content = images.file_bytes(self.folder / item.name)
            identity = images.content_id(content)
            if identity in first:
                return Rejected(item.name, "duplicate", f"same content as {first[identity]}")
            data = images.trusted(content)
        except images.ImageError as error:
            return Rejected(item.name, "decode", str(error))
        return Picture(identity, data, item.caption, {"file": item.name, **item.provenance})


def load(*, path: Path | str, only: str = "*", uncaptioned: bool = False, limit: PositiveInt | None = None) -> ImageFolder:
    """Pictures below a folder.

    Args:
        path: the folder; ``tiny:photos`` are those that come with the package; one elsewhere (``s3://bucket/photos``) is read
            through fsspec, and its files are told apart by what the store there says of them.
        only: pictures whose relative path matches this pattern (``2024/*.jpg``; ``*`` stands for any characters, ``/`` among
            them); the others are not looked at.
        uncaptioned: pictures without a caption come all the same, for somebody who writes one (see ``captioned``).
        limit: only the first so many, by name; rejected ones count.

    Raises:
        SourceError: no such folder, or nothing in it.
        RowError: a malformed line of metadata; names file and line.
    """
    folder = _remote.located(path)
    if not folder.is_dir():
        raise SourceError(
            f"{folder} is {'a file, not a folder' if folder.exists() else 'not there'}: expected a folder of pictures"
        )
    names = walk(folder)
    items = [each for each in _items(folder, names, uncaptioned=uncaptioned) if fnmatchcase(each.name, only)]
    if not items and only != "*":
        raise SourceError(f"{folder} holds no picture whose path matches only = {only!r}")
    if not items:
        raise SourceError(
            f"{folder} holds no pictures. Looked for {', '.join(DECODED)} in it and in its subfolders "
            f"({len(names)} other files), and for pictures named by {' or '.join(METADATA)}."
        )
    return ImageFolder(folder, tuple(items[:limit]))


def _items(folder: Path, names: list[str], *, uncaptioned: bool) -> list[Item]:
    there = {same_name(name): name for name in names}
    described: dict[str, Entry] = {}
    problems: list[Item] = []
    for entry in entries(folder, names):
        name = there.get(same_name(entry.name))
        if name is None:
            problems.append(Item(entry.name, step="missing", reason=f"{entry.where} names {entry.name}, which is not there"))
        elif name in described:
            problems.append(Item(name, step="duplicate", reason=f"{entry.where} names {name} again, after {described[name].where}"))
        else:
            described[name] = entry
    pictures = [name for name in names if name in described or PurePosixPath(name).suffix.lower() in DECODED + OTHER_PICTURES]
    found = (_item(folder, name, described.get(name), uncaptioned=uncaptioned) for name in pictures)
    return sorted([*found, *problems], key=lambda item: item.name)


def _item(folder: Path, name: str, entry: Entry | None, *, uncaptioned: bool) -> Item:
    if not name.isprintable():
        return Item(name.encode("utf-8", "backslashreplace").decode(), step="name", reason="its name is not readable text")
    caption = entry.caption if entry else ""
    text = PurePosixPath(name).with_suffix(".txt").name
    try:
        caption = caption or beside(folder, name)
    except RowError:  # its message holds the folder, and a reason must be the same wherever the folder is
        return Item(name, step="caption", reason=f"{text} beside it is not UTF-8")
    if not caption and not uncaptioned:
        described = f"{entry.where} has no text, caption or prompt for it" if entry else "no table of captions names it"
        return Item(name, step="caption", reason=f"{described}, and {text} beside it is missing or empty")
    return Item(name, caption, entry.provenance if entry else {})


def _digest(path: Path) -> str:
    try:
        if _remote.is_remote(path):
            return _remote.digest(path)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:  # reading will reject it with this reason; here it only has to stay the same
        return f"unreadable: {error.strerror}"
