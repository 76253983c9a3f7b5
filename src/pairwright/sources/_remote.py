"""Folders and files that lie elsewhere (``s3://bucket/photos``, ``gs://``, ``https://``), through fsspec."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from pairwright import weights
from pairwright.sources._errors import SourceError

_MARK = "://"


def located(path: Path | str) -> Path:
    """The path that a source was given: on this disk, in the package, or elsewhere, where it can be used like the others.

    Raises:
        SourceError: it lies elsewhere, and what reads such places is not installed.
    """
    text = str(path)
    if _MARK not in text:
        return weights.tiny(path)
    try:
        from upath import UPath
    except ImportError as error:
        raise SourceError(f"{text} is read through fsspec: pip install 'pairwright[remote]' ({error})") from error
    try:
        found: Any = UPath(text)
        _ = found.fs
    except (ImportError, ValueError) as error:  # fsspec names the package that speaks to such places
        raise SourceError(f"{text} cannot be read: {error}") from error
    remote: Path = found
    return remote


def is_remote(path: Path) -> bool:
    """Whether a located path lies elsewhere."""
    return not isinstance(path, Path)


def walk(folder: Path) -> list[str]:
    """As :func:`pairwright.sources._captions.walk`, of a folder elsewhere, in one listing."""
    place: Any = folder
    root = str(place.path).rstrip("/")
    names = (str(each)[len(root) :].lstrip("/") for each in place.fs.find(place.path))
    return sorted(name for name in names if name and not any(part.startswith(".") for part in PurePosixPath(name).parts))


def digest(path: Path) -> str:
    """What the store elsewhere says of a file (size, time, checksum), which is not read for it."""
    place: Any = path
    return str(place.fs.ukey(place.path))
