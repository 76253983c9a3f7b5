"""WebDataset: tars of samples, each a picture and its caption under one name (``0001.jpg``, ``0001.txt`` or ``0001.json``).

The tars are read as streams. A caption is the text of ``.txt`` or ``.caption``, or stands in ``.json`` under ``caption``,
``text`` or ``prompt``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import PositiveInt

from pairwright import digests
from pairwright.records import Picture, Rejected
from pairwright.sources import _names, _remote, _tar
from pairwright.sources._captions import PROVENANCE_COLUMNS, walk
from pairwright.sources._errors import SourceError
from pairwright.sources._preferences import PROMPTS, text
from pairwright.sources._records import picture
from pairwright.sources._tar import Member
from pairwright.sources.imagefolder import DECODED

TEXTS = ("txt", "caption")
MOST_TEXT = 2**20
"""Bytes of a caption's file."""


def load(*, path: Path | str, limit: PositiveInt | None = None) -> WebDataset:
    """Pictures with captions out of tars.

    Args:
        path: one ``.tar``, or a folder of them (read in the order of their names); also elsewhere (``s3://bucket/shards``),
            through fsspec.
        limit: only the first so many samples; rejected ones count.

    Raises:
        SourceError: no such file, no tars in the folder, or compressed ones.
    """
    given = _remote.located(path)
    files = (
        [given] if given.is_file() else [given / name for name in walk(given) if name.endswith(".tar")] if given.is_dir() else []
    )
    if not files:
        raise SourceError(f"{given} {'holds no .tar' if given.is_dir() else 'is not there'}: expected a .tar or a folder of them")
    if given.is_file() and given.suffix != ".tar":
        raise SourceError(f"{given} is not a plain .tar; unpack what is compressed (gunzip) and name the .tar")
    return WebDataset(given if given.is_dir() else given.parent, tuple(files), limit)


@dataclass(frozen=True)
class Sample:
    """The entries of one name, by suffix; or an entry that is none of a sample."""

    name: str
    members: dict[str, Member] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class WebDataset:
    """See :class:`pairwright.protocols.Source`."""

    folder: Path
    files: tuple[Path, ...]
    limit: int | None

    @cached_property
    def _fingerprint(self) -> str:
        seen = [_remote.digest(file) if _remote.is_remote(file) else digests.of_file(file) for file in self.files]
        listing = [f"{self._name(file)} {each}" for file, each in zip(self.files, seen, strict=True)]
        return hashlib.sha256("\n".join([*listing, str(self.limit)]).encode()).hexdigest()[:16]

    def fingerprint(self) -> str:
        """Names and content of the tars."""
        return self._fingerprint

    def __len__(self) -> int:
        count = sum(self._counts)
        return count if self.limit is None else min(self.limit, count)

    def __iter__(self) -> Iterator[Picture | Rejected]:
        first: dict[str, str] = {}
        for (file, sample), _ in zip(self._samples(), range(len(self)), strict=False):
            name = f"{self._name(file)}/{_names.shown(sample.name)}"
            found = _read(file, sample, name)
            if isinstance(found, Picture):
                if found.id in first:
                    yield Rejected(name, "duplicate", f"same content as {first[found.id]}")
                    continue
                first[found.id] = name
            yield found

    def part(self, start: int, stop: int) -> Part:
        """See :class:`pairwright.protocols.Divisible`. What lies in earlier tars is not looked at again."""
        first, before = 0, 0
        while first < len(self._counts) and before + self._counts[first] <= start:
            before += self._counts[first]
            first += 1
        names = [self._name(file) for file in self.files[first:]]
        last = next((place for place, count in enumerate(accumulate(self._counts[first:])) if before + count >= stop), len(names))
        return Part(tuple(zip(self.files[first:], names, strict=True))[: last + 1], start - before, stop - before)

    @cached_property
    def _counts(self) -> tuple[int, ...]:
        return tuple(sum(1 for _ in samples(file)) for file in self.files)

    def _samples(self) -> Iterator[tuple[Path, Sample]]:
        return ((file, sample) for file in self.files for sample in samples(file))

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()


@dataclass(frozen=True)
class Part:
    """Samples ``start .. stop - 1`` of some tars, which have names; see :class:`pairwright.protocols.Part`."""

    files: tuple[tuple[Path, str], ...]
    start: int
    stop: int

    def alone(self) -> Iterator[Picture | Rejected]:
        """Each sample looked at by itself."""
        entries = ((file, name, sample) for file, name in self.files for sample in samples(file))
        for file, name, sample in islice(entries, self.start, self.stop):
            yield _read(file, sample, f"{name}/{_names.shown(sample.name)}")


def samples(file: Path) -> Iterator[Sample]:
    """Entries of the same name, which lie together; what is no file or whose name leads out of its folder stands alone."""
    current: Sample | None = None
    for member in _tar.members(file):
        reason = member if isinstance(member, str) else member.refused or _names.refused(member.name)
        name = "" if isinstance(member, str) else member.name
        key, _, suffix = name.rpartition("/")[2].partition(".")
        key = str(PurePosixPath(name).with_name(key)) if key else name
        if current is not None and (reason or key != current.name):
            yield current
            current = None
        if reason:
            yield Sample(name, reason=reason)
        elif isinstance(member, Member):
            current = current or Sample(key)
            current.members.setdefault(suffix.lower(), member)
    if current is not None:
        yield current


def _read(file: Path, sample: Sample, name: str) -> Picture | Rejected:
    if sample.reason:
        return Rejected(name, "name" if "path" in sample.reason else "tar", sample.reason)
    kind = next((suffix for suffix in sample.members if f".{suffix.rpartition('.')[2]}" in DECODED), None)
    if kind is None:
        return Rejected(name, "missing", f"no picture among its files: {', '.join(sample.members) or 'none'}")
    try:
        caption, provenance = _caption(file, sample)
        if not caption:
            return Rejected(name, "caption", f"no {', '.join(TEXTS)} and no {', '.join(PROMPTS)} in a json")
        content = _tar.read(file, sample.members[kind])
    except OSError as error:
        return Rejected(name, "decode", str(error))
    except ValueError as error:
        return Rejected(name, "caption", f"its text cannot be read: {error}")
    return picture(content, None, name, caption, {"file": name, **provenance}) if content else Rejected(name, "decode", "empty")


def _caption(file: Path, sample: Sample) -> tuple[str, dict[str, str]]:
    """Caption, and what is known of the picture besides.

    Raises:
        ValueError: a text that is too long, not UTF-8, or not JSON.
    """
    said: dict[str, Any] = {}
    for suffix, member in sample.members.items():
        if suffix not in {*TEXTS, "json"}:
            continue
        if member.size > MOST_TEXT:
            raise ValueError(f"{member.size:,} bytes of text")
        content = _tar.read(file, member).decode()
        if suffix == "json":
            found = json.loads(content)
            said = {**(found if isinstance(found, dict) else {}), **said}
        else:
            said["caption"] = " ".join(content.split())
    names = ("caption", *PROMPTS)
    return text(said, names), {each: str(said[each]) for each in PROVENANCE_COLUMNS if said.get(each)}
