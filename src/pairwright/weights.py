"""Where weights are: in the package, on this disk, or on the hub.

A model is named by one string everywhere in a recipe:

- ``tiny:base`` - a part of the tiny pack that comes with the package;
- ``./path`` or ``/path`` - a folder or a file;
- ``owner/name`` or ``owner/name@revision`` - a repository of the Hugging Face hub, read from ``HF_HOME`` where it
  is cached, else downloaded (never when ``HF_HUB_OFFLINE`` is set).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from pairwright.errors import Explained

TINY_PREFIX = "tiny:"
_HUB_ID = re.compile(r"^\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?$")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ONLY_HERE: ContextVar[bool] = ContextVar("only_here", default=False)


class WeightsError(Explained, RuntimeError):
    """Weights that cannot be found; the message says what was looked for and what to do."""


@contextmanager
def only_here() -> Iterator[None]:
    """Inside, the hub is not asked and nothing is downloaded: what is not cached is not there."""
    before = _ONLY_HERE.set(True)
    try:
        yield
    finally:
        _ONLY_HERE.reset(before)


def may_download() -> bool:
    """Whether the hub may be asked; see :func:`only_here`."""
    return not _ONLY_HERE.get()


def tiny_pack() -> Path:
    """The folder of the tiny pack: ``PAIRWRIGHT_TINY`` where it is set, else the one inside the package."""
    override = os.environ.get("PAIRWRIGHT_TINY")
    return Path(override) if override else Path(__file__).parent / "tiny"


def untrained() -> str:
    """What the tiny pack says of itself where it has learned nothing; else ``""``."""
    mark = tiny_pack() / "UNTRAINED"
    return mark.read_text(encoding="utf-8").strip() if mark.is_file() else ""


def is_local(name: str) -> bool:
    """Whether ``name`` is in the package or on this disk, so that nothing would be downloaded."""
    return name.startswith(TINY_PREFIX) or Path(name).expanduser().exists()


def tiny(name: str | Path) -> Path:
    """The path that ``name`` stands for, where ``tiny:`` is the pack's folder. Nothing is looked up or downloaded."""
    text = str(name)
    return tiny_pack() / text.removeprefix(TINY_PREFIX) if text.startswith(TINY_PREFIX) else Path(text).expanduser()


def locate(name: str, *, patterns: Sequence[str] | None = None) -> Path:
    """The folder or file that ``name`` stands for, downloaded where necessary.

    Args:
        name: see the module's docstring.
        patterns: file patterns to download (hub only); everything where None.

    Raises:
        WeightsError: there is no such thing, or it would have to be downloaded and cannot be.
    """
    if name.startswith(TINY_PREFIX):
        path = tiny_pack() / name.removeprefix(TINY_PREFIX)
        if not path.exists():
            known = sorted(each.name for each in tiny_pack().iterdir() if each.is_dir()) if tiny_pack().is_dir() else []
            raise WeightsError(f"The tiny pack at {tiny_pack()} has no {path.name!r}; it has: {', '.join(known) or 'nothing'}.")
        return path
    path = Path(name).expanduser()
    if path.exists():
        return path
    _check_id(name)
    return _snapshot(name, patterns)


def _check_id(name: str) -> None:
    if not _HUB_ID.match(name):
        raise WeightsError(f"{name!r} is neither a file or folder on this disk nor a hub id (owner/name).")


def split_revision(name: str) -> tuple[str, str | None]:
    """``owner/name@revision`` -> ``(owner/name, revision)``."""
    repository, _, revision = name.partition("@")
    return repository, revision or None


def _snapshot(name: str, patterns: Sequence[str] | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    repository, revision = split_revision(name)
    # What is cached stays what it is: a branch that moved on the hub must not change a run between two of its steps.
    commit = _cached_commit(repository, revision or "main") or revision
    try:
        wanted = list(patterns) if patterns else None
        return Path(snapshot_download(repository, revision=commit, allow_patterns=wanted, local_files_only=_ONLY_HERE.get()))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise WeightsError(
            f"{name} is not cached (HF_HOME) and could not be downloaded: {error}. "
            f"Download it where there is a network (hf download {repository}) or give a local path."
        ) from error


def identity(name: str) -> str:
    """What a fingerprint says of weights: hub ids by their commit, everything local by its content.

    A commit that is named stands for itself. Else it is the cached one, or the hub's. Where neither is known (offline), the
    revision as given stands for it: such weights cannot be loaded either.

    Raises:
        WeightsError: a name that can be neither.
    """
    if is_local(name):
        return f"sha256:{_digest(locate(name))}"
    _check_id(name)
    repository, revision = split_revision(name)
    if revision and _COMMIT.fullmatch(revision):
        return name
    commit = _cached_commit(repository, revision or "main")
    if commit is None and not _ONLY_HERE.get():
        commit = _hub_commit(repository, revision)
    return f"{repository}@{commit or revision or 'main'}"


@cache
def _hub_commit(repository: str, revision: str | None) -> str | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return HfApi().model_info(repository, revision=revision, timeout=10).sha
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError):
        return None


def _cached_commit(repository: str, revision: str) -> str | None:
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    reference = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model") / "refs" / revision
    return reference.read_text().strip() if reference.is_file() else None


def file_digest(path: Path) -> str:
    """sha256 of a file's content in hexadecimal digits; read once per process and state of the file."""
    return _file_digest(path, *_stamp(path))


def _digest(path: Path) -> str:
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    listing = [(str(each.relative_to(path)) if path.is_dir() else "", file_digest(each)) for each in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@cache
def _file_digest(path: Path, _size: int, _modified: int) -> str:
    # Size and time are part of the cache's key, so that a file that changes is read again.
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
