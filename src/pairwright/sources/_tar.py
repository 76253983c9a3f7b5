"""Tar files read as streams: what is in them is looked at in place and never written to the disk under its own name."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pairwright.untrusted import MAX_PIXELS

MOST_HEADER = 2**20
"""Bytes of one header: names have a few hundred, and a header that claims gigabytes would be read whole into memory."""
MOST_MEMBER = 8 * MAX_PIXELS
"""Bytes of one member: no picture within the limit of pixels has a reason to be larger."""


@dataclass(frozen=True)
class Member:
    """One entry of a tar."""

    name: str
    start: int
    size: int
    refused: str = ""
    """Why its content is not read."""


def members(path: Path) -> Iterator[Member | str]:
    """Every entry in order, folders left out; a text says why what follows cannot be read.

    Only plain tars are read: in a compressed one, a few kilobytes can claim to be terabytes, and nothing can be skipped.
    """
    try:
        with path.open("rb") as stream, tarfile.open(fileobj=_Capped(stream), mode="r:") as archive:
            while (entry := archive.next()) is not None:
                if not entry.isdir():
                    yield Member(entry.name, entry.offset_data, entry.size, _refused(entry))
                archive.members.clear()  # type: ignore[attr-defined] # it would keep every header
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        yield f"damaged or not a plain tar: {error}"


def read(path: Path, member: Member) -> bytes:
    """The content of an entry that is not refused.

    Raises:
        OSError: the file ends before the entry does, or cannot be read.
    """
    with path.open("rb") as stream:
        stream.seek(member.start)
        content = stream.read(member.size)
    if len(content) < member.size:
        raise OSError("the tar ends within it")
    return content


def _refused(entry: tarfile.TarInfo) -> str:
    if entry.issym() or entry.islnk():
        return "a link, not a file"
    if not entry.isfile() or entry.issparse():
        return "a sparse file" if entry.issparse() else "not a file"
    return f"{entry.size:,} bytes, more than the limit of {MOST_MEMBER:,}" if entry.size > MOST_MEMBER else ""


class _Capped(io.RawIOBase):
    """A file whose reads are small: tarfile reads headers whole, however large they say they are."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()
