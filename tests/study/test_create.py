"""A study's folder: whole or not there, pictures that tell nothing, links that nobody guesses."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest
from PIL import Image

from pairwright import study
from pairwright.store import Store
from pairwright.study.create import mosaic
from pairwright.study.database import FILE, Database
from tests.miniatures.run_folder import scene, write_pictures
from tests.miniatures.study import make, tokens, write_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs"), prompts=9, raters=2)


def test_it_holds_pairs_raters_and_every_picture_once(folder: Path) -> None:
    with Database(folder / FILE) as database:
        pairs = database.pairs()
        assert [pair.kind for pair in pairs] == ["main"] * 9 + ["check"]
        assert len(database._rows("SELECT token FROM pictures")) in {19, 20}  # 18, the mosaic, and perhaps what it is made of
        assert [row["total"] for row in database.overview()] == [11, 11]  # 9, one check, one repeat


def test_pictures_are_plain_pngs_under_tokens_that_tell_nothing(folder: Path) -> None:
    with Database(folder / FILE) as database:
        rows = database._rows("SELECT token, data FROM pictures")
        known = {picture for pair in database.pairs() for picture in pair.pictures}
    for row in rows:
        with Image.open(io.BytesIO(row["data"])) as image:
            assert (image.format, image.info, image.size) == ("PNG", {}, (24, 24))
        assert len(row["token"]) == 24
        assert not any(each in row["token"] for each in known)


def test_links_are_long_different_and_for_the_owner_of_the_file_alone(folder: Path) -> None:
    found = tokens(folder)
    assert len(set(found)) == 2
    assert {len(each) for each in found} == {32}  # 192 bits
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600


def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pairwright.images.encode", full)
    store = Store(tmp_path)
    node = write_pictures(store, ["a"], 3, 1, 16)
    with pytest.raises(OSError, match="No space"):
        make(node, store, tmp_path / "demo")
    assert list((tmp_path / "demo" / "studies").iterdir()) == []


def test_a_study_with_votes_is_not_overwritten(folder: Path) -> None:
    root = folder.parents[2]
    store = Store(root)
    node = write_pictures(store, ["a"], 3, 1, 16)
    with pytest.raises(study.StudyError, match="is there already"):
        make(node, store, root / "demo")
    for name in ("", "../escape", "a b", "."):
        with pytest.raises(study.StudyError, match="name: letters"):
            make(node, store, root / "demo", name=name)


def test_a_step_without_pictures_of_models_is_refused(tmp_path: Path) -> None:
    node = Store(tmp_path).node("score", {"x": 1})
    with pytest.raises(study.StudyError, match="name a generate step"):
        make(node, Store(tmp_path), tmp_path / "demo")


def test_a_run_with_one_study_stands_for_it(tmp_path: Path) -> None:
    with pytest.raises(study.StudyError, match="has no study; make one"):
        study.locate(tmp_path / "demo")
    one = write_study(tmp_path, prompts=3)
    assert study.locate(tmp_path / "demo") == study.locate(one) == one
    store = Store(tmp_path)
    other = make(write_pictures(store, ["a"], 3, 1, 16), store, tmp_path / "demo", name="second")
    with pytest.raises(study.StudyError, match=r"several studies; name one: .*/second, .*/study"):
        study.locate(tmp_path / "demo")
    assert study.locate(other) == other


def test_a_damaged_or_foreign_file_is_no_study(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    with pytest.raises(study.StudyError, match="cannot be read as a study"):
        Database(tmp_path / FILE)
    (tmp_path / FILE).write_bytes(b"")
    with pytest.raises(study.StudyError, match="no study of this version"):
        Database(tmp_path / FILE)
    with pytest.raises(study.StudyError, match="is not there"):
        Database(tmp_path / "none.sqlite")


def test_a_mosaic_has_the_pictures_size_and_colours_and_nothing_to_recognise() -> None:
    picture = scene(1, 96)
    coarse = mosaic(picture)
    assert coarse.size == picture.size
    assert len(coarse.getcolors(10_000) or []) <= 144  # 12 x 12 squares
    wide = mosaic(picture.resize((192, 96)))
    assert wide.size == (192, 96)
