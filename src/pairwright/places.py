"""Where weights lie before anything is loaded: in the package, on this disk, cached, or still on the hub; and their size."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pairwright import catalogue, weights

Role = Literal["pipeline", "weights", "processor"]
"""What is read of a repository: a whole pipeline, one network with what belongs to it, or only tokenizer and preprocessing."""
State = Literal["package", "disk", "cached", "download", "missing"]
WORDS: dict[State, str] = {
    "package": "in the package",
    "disk": "on this disk",
    "cached": "cached",
    "download": "to be downloaded",
    "missing": "MISSING",
}
TIMEOUT_SECONDS = 3.0
_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+(@[\w./-]+)?")
_NETWORKS = (("unet", "transformer"), ("vae",), ("text_encoder",))
"""Of a pipeline: one of each is needed."""
_PIPELINE = re.compile(
    r"model_index\.json|(scheduler|tokenizer(_[23])?)/[^/]+"
    r"|(unet|transformer|vae|text_encoder(_[23])?)/(config\.json|(model|diffusion_pytorch_model)(-\d+-of-\d+)?\.safetensors)"
)
_TEXTS = re.compile(r"[^/]+\.(json|txt)")
_SAFE = re.compile(r"(?!.*\.(fp16|non_ema)\.)[^/]+\.safetensors")
_PICKLES = re.compile(r"[^/]+\.(pt|pth|bin|onnx)")


@dataclass(frozen=True)
class Place:
    """Where one named thing is."""

    name: str
    role: Role
    state: State
    bytes: int | None
    """Of what is there, or of what has to be downloaded; None: unknown."""
    about: bool = False
    """The size is computed from the number of parameters, not read."""
    folder: Path | None = None
    """Folder or file, where it is here."""
    problem: str = ""


@dataclass
class Hub:
    """The hub's file lists, asked for with a short time-out, and not again once it did not answer."""

    timeout: float = TIMEOUT_SECONDS
    silent: str = ""
    """Why it is not asked (any more)."""
    _known: dict[str, dict[str, int] | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Being offline is a setting that is respected."""
        from huggingface_hub.constants import HF_HUB_OFFLINE

        if HF_HUB_OFFLINE and not self.silent:
            self.silent = "HF_HUB_OFFLINE is set"

    def files(self, name: str) -> dict[str, int] | str | None:
        """Names and sizes in bytes of a repository's files; a sentence where the hub refuses; None where it is silent."""
        if name not in self._known and not self.silent:
            found = self._ask(name)
            if found is None:
                return None
            self._known[name] = found
        return self._known.get(name)

    def _ask(self, name: str) -> dict[str, int] | str | None:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        repository, revision = weights.split_revision(name)
        try:
            info = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=self.timeout)
        except GatedRepoError:
            return f"{repository} is gated: accept its terms on huggingface.co and set HF_TOKEN"
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return f"the hub has no {name} (or it is private: set HF_TOKEN), and there is no such folder or file here"
        except Exception as error:  # noqa: BLE001 - the client lets its HTTP library's errors through, and has changed it before
            self.silent = f"the hub cannot be reached: {type(error).__name__}"
            return None
        return {each.rfilename: each.size or 0 for each in info.siblings or []}


def place(name: str, role: Role, hub: Hub) -> Place:
    """Where ``name`` is. Nothing is downloaded but a list of files."""
    if weights.is_local(name):
        try:
            path = weights.locate(name)
        except weights.WeightsError as error:
            return Place(name, role, "missing", None, problem=str(error))
        state: State = "package" if name.startswith(weights.TINY_PREFIX) else "disk"
        return Place(name, role, state, size(path, role), folder=path)
    if not _HUB_ID.fullmatch(name):
        elsewhere = catalogue.ELSEWHERE.get(Path(name).name, "")
        said = f"{name!r} is neither a file or folder on this disk nor a hub id (owner/name). {elsewhere}".rstrip()
        return Place(name, role, "missing", None, problem=said)
    return _on_hub(name, role, hub)


def _on_hub(name: str, role: Role, hub: Hub) -> Place:
    folder = snapshot(name)
    here = _names(folder) if folder else []
    if folder and complete(role, here):
        return Place(name, role, "cached", size(folder, role), folder=folder)
    listed = hub.files(name)
    if isinstance(listed, str):
        return Place(name, role, "missing", None, problem=listed)
    if listed is not None:
        return Place(name, role, "download", sum(listed[each] for each in wanted(role, listed) if each not in here))
    costs = catalogue.known(name)
    if role == "processor" or costs is None:
        return Place(name, role, "download", None)
    return Place(name, role, "download", costs.total * costs.file_bytes, about=True)


def snapshot(name: str) -> Path | None:
    """The folder of a hub id in the cache, where there is one; it need not hold everything."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    repository, revision = weights.split_revision(name)
    root = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    reference = root / "refs" / (revision or "main")
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    folder = root / "snapshots" / commit if commit else None
    return folder if folder and folder.is_dir() else None


def wanted(role: Role, names: Iterable[str]) -> list[str]:
    """Which files of a repository would be downloaded: no second formats, no second precisions."""
    names = list(names)
    if role == "pipeline":
        return [each for each in names if _PIPELINE.fullmatch(each)]
    texts = [each for each in names if _TEXTS.fullmatch(each)]
    if role == "processor":
        return texts
    return texts + ([each for each in names if _SAFE.fullmatch(each)] or [each for each in names if _PICKLES.fullmatch(each)])


def complete(role: Role, names: Iterable[str]) -> bool:
    """Whether what is there can be loaded, as far as names tell."""
    found = wanted(role, names)
    if role == "pipeline":
        held = {each.partition("/")[0] for each in found if each.endswith(".safetensors")}
        return all(held.intersection(kind) for kind in _NETWORKS)
    if role == "processor":
        return any("token" in each or each.startswith("vocab") for each in found)
    return any(not _TEXTS.fullmatch(each) for each in found)


def size(path: Path, role: Role) -> int:
    """Bytes of what is read of a file or folder."""
    if path.is_file():
        return path.stat().st_size
    return sum((path / each).stat().st_size for each in wanted(role, _names(path)))


def _names(folder: Path) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())
