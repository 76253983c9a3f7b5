"""Pictures that lie elsewhere, on fsspec's store in memory: the same as from this disk."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from pairwright import plugins
from pairwright.records import Picture, Rejected
from pairwright.sources._errors import SourceError
from tests.sources.test_parts import folder_of, tars_of

upath = pytest.importorskip("upath", reason="pip install 'pairwright[remote]'")


def elsewhere(folder: Path) -> str:
    """The same files in memory."""
    place = f"memory://{uuid4().hex}/data"
    store = upath.UPath(place).fs
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        store.pipe(f"{upath.UPath(place).path}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return place


@pytest.mark.parametrize(("name", "make"), [("imagefolder", folder_of), ("webdataset", tars_of)])
def test_a_folder_elsewhere_gives_what_the_same_folder_here_gives(name, make, tmp_path: Path) -> None:
    here = plugins.load("sources", name, path=str(make(tmp_path)))
    there = plugins.load("sources", name, path=elsewhere(tmp_path))
    assert len(there) == len(here) > 3
    assert list(there) == list(here)
    assert list(pickle.loads(pickle.dumps(there.part(1, 4))).alone()) == list(here.part(1, 4).alone())


def test_one_tar_elsewhere_is_read_as_one_here(tmp_path: Path) -> None:
    tars_of(tmp_path)
    place = elsewhere(tmp_path)
    assert list(plugins.load("sources", "webdataset", path=f"{place}/b.tar")) == list(
        plugins.load("sources", "webdataset", path=str(tmp_path / "b.tar"))
    )


def test_what_is_changed_elsewhere_changes_the_fingerprint_and_nothing_is_read_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = elsewhere(folder_of(tmp_path))
    store = type(upath.UPath(place).fs)
    read: list[str] = []
    plain = store.cat_file

    def watched(self, path, *rest, **more):
        read.append(path)
        return plain(self, path, *rest, **more)

    monkeypatch.setattr(store, "cat_file", watched)
    first = plugins.load("sources", "imagefolder", path=place)
    assert first.fingerprint() == plugins.load("sources", "imagefolder", path=place).fingerprint()
    assert not [path for path in read if path.endswith(".png")]
    monkeypatch.undo()
    changed = f"{upath.UPath(place).path}/001.png"
    upath.UPath(place).fs.pipe(changed, b"another")
    again = plugins.load("sources", "imagefolder", path=place)
    assert again.fingerprint() != first.fingerprint()
    items = {each.id if isinstance(each, Rejected) else each.provenance["file"]: each for each in again}
    assert isinstance(items["001.png"], Rejected)
    assert isinstance(items["000.png"], Picture)


def test_what_is_not_there_or_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"memory://nowhere.* is not there"):
        plugins.load("sources", "imagefolder", path="memory://nowhere/photos")
    with pytest.raises(SourceError, match="cannot be read"):
        plugins.load("sources", "imagefolder", path="nosuchstore://bucket/photos")
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(SourceError, match=r"pip install 'pairwright\[remote\]'"):
        plugins.load("sources", "imagefolder", path="s3://bucket/photos")
