"""Files of data sets on the Hugging Face hub: ``hub:owner/name``, ``hub:owner/name@revision/path/in/it.csv``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pairwright import weights
from pairwright.prompts.reading import SUFFIXES, PromptError

PREFIX = "hub:"
_NAME = re.compile(r"hub:(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w.-]+))?(/(?P<path>[^/].*))?")


def files(name: str, patterns: Sequence[str] = ()) -> list[Path]:
    """The files that a name stands for, in the order of their names, downloaded where necessary.

    Args:
        name: see the module's docstring; without a path the data set must hold one file of prompts.
        patterns: which files, where the name has no path.

    Raises:
        PromptError: not such a name, nothing there, several files, or no way to download them.
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise PromptError(f"{name!r}: write hub:owner/name@revision/file.csv (revision and file may be left out)")
    repository, revision, path = found["repository"], found["revision"], found["path"]
    wanted = [path] if path else list(patterns) or [_only(repository, revision)]
    folder = _snapshot(repository, revision, wanted)
    there = sorted(each for pattern in wanted for each in folder.glob(pattern) if each.is_file())
    if not there:
        raise PromptError(f"the data set {repository} has no {', '.join(wanted)}" + (f" at {revision}" if revision else ""))
    return there


def _snapshot(repository: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(
            snapshot_download(
                repository,
                repo_type="dataset",
                revision=revision,
                allow_patterns=patterns,
                local_files_only=not weights.may_download(),
            )
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise PromptError(
            f"the data set {repository} is not cached (HF_HOME) and could not be downloaded: {error}. "
            "Download it where there is a network and give the file's path."
        ) from error


def _only(repository: str, revision: str | None) -> str:
    """The one file of prompts that a data set holds: no more is downloaded, it may hold pictures."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        listed = HfApi().list_repo_files(repository, repo_type="dataset", revision=revision)
    except (OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise PromptError(f"{PREFIX}{repository} cannot be listed ({error}); name the file: {PREFIX}{repository}/FILE") from error
    texts = [each for each in listed if PurePosixPath(each).suffix.lower() in SUFFIXES]
    if len(texts) != 1:
        raise PromptError(
            f"the data set {repository} has {len(texts)} files of prompts; name one: {', '.join(texts[:8]) or 'none'}"
        )
    return texts[0]
