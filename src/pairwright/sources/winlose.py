"""Two folders, ``w/`` and ``l/``: pictures of the same name are a pair, the one in ``w/`` wins.

The prompt is in a ``.txt`` of that name beside the winner, or else beside the loser.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import PositiveInt

from pairwright.records import Rejected
from pairwright.rowfiles import RowError
from pairwright.sources import _names
from pairwright.sources._captions import beside, walk
from pairwright.sources._errors import SourceError
from pairwright.sources._listings import FileListing, Preferences
from pairwright.sources._records import Record
from pairwright.sources.imagefolder import DECODED


def load(*, path: Path, winners: str = "w", losers: str = "l", limit: PositiveInt | None = None) -> Preferences:
    """Pairs out of two folders, in the order of names.

    Args:
        path: the folder that holds both.
        winners: name of the folder of winners.
        losers: name of the folder of losers.
        limit: only the first so many, by name; rejected ones count.

    Raises:
        SourceError: a folder is not there, or the winners' holds no pictures.
    """
    folder = path.expanduser()
    for name in (winners, losers):
        if _names.refused(name) or not (folder / name).is_dir():
            raise SourceError(f"{folder / name} is not a folder: expected {winners}/ and {losers}/ with pictures of the same names")
    if not _pictures(folder / winners):
        raise SourceError(f"{folder / winners} holds no pictures ({', '.join(DECODED)})")
    return Preferences(FileListing(lambda: _records(folder, winners, losers), folder), folder, limit)


def _pictures(folder: Path) -> dict[str, str]:
    """Names of pictures, by what they are called without their suffix."""
    names = [name for name in walk(folder) if PurePosixPath(name).suffix.lower() in DECODED]
    return {str(PurePosixPath(name).with_suffix("")): name for name in reversed(names)}


def _records(folder: Path, winners: str, losers: str) -> Iterator[Record | Rejected]:
    better, worse = _pictures(folder / winners), _pictures(folder / losers)
    for key in sorted({*better, *worse}):
        if key not in better or key not in worse:
            there, missing = (winners, losers) if key in better else (losers, winners)
            yield Rejected(_names.shown(f"{there}/{key}"), "missing", f"{missing}/ has no picture of that name")
            continue
        name = f"{winners}/{better[key]}"
        try:
            prompt = beside(folder / winners, better[key]) or beside(folder / losers, worse[key])
        except RowError:
            yield Rejected(_names.shown(name), "caption", "the .txt beside it is not UTF-8")
            continue
        if not prompt:
            yield Rejected(_names.shown(name), "caption", "neither picture has a .txt beside it")
            continue
        yield Record(_names.shown(name), prompt, name, f"{losers}/{worse[key]}")
