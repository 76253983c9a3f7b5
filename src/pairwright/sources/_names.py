"""Names of files that stand in tables and archives: data, which must not lead out of the folder that they belong to."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath


def refused(name: str) -> str:
    """Why a path out of a table is not followed; ``""`` where it stays inside."""
    if not name.strip() or not name.isprintable():
        return "its path is not readable text"
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        return "its path is absolute; paths are read below the table's own folder, or below the source's option 'root'"
    if ".." in PurePosixPath(name).parts or ".." in PureWindowsPath(name).parts:
        return "its path leads out of its folder"
    return ""


def inside(root: Path, name: str) -> Path:
    """The file that an accepted name stands for."""
    return root / PurePosixPath(name)


def shown(name: str) -> str:
    """A name as text that can be printed."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()
