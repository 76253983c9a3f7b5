"""A user's own folder of pictures: everything in it is read or has a reason."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairwright import images, plugins
from pairwright.protocols import Source
from pairwright.records import Picture, Rejected
from pairwright.rowfiles import RowError
from pairwright.sources import imagefolder
from pairwright.sources._errors import SourceError

QUICKSTART = Path(__file__).parents[3] / "shared" / "data" / "quickstart"


def picture(seed: int, kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def put(folder: Path, **files: bytes | str) -> None:
    """Files by name, ``__`` for a dot and ``___`` for a slash."""
    for name, content in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def jsonl(*rows: Mapping[str, object]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def read(folder: Path, limit: int | None = None) -> tuple[dict[str, Picture], dict[str, Rejected]]:
    source = imagefolder.load(path=folder, limit=limit)
    items = list(source)
    assert len(source) == len(items)
    assert items == list(source)
    pictures = {each.provenance["file"]: each for each in items if isinstance(each, Picture)}
    rejected = {each.id: each for each in items if isinstance(each, Rejected)}
    assert len(pictures) + len(rejected) == len(items)
    return pictures, rejected


def test_it_is_a_source_and_found_by_its_name(tmp_path: Path):
    put(tmp_path, a__jpg=picture(1), a__txt="a flower")
    assert isinstance(plugins.load("sources", "imagefolder", path=str(tmp_path)), Source)


def test_metadata_give_captions_and_keep_licence_author_and_source(tmp_path: Path):
    row = {"file_name": "a.jpg", "text": " a flower ", "license": "CC0", "author": "Ada", "source": "here", "width": 16}
    put(tmp_path, a__jpg=picture(1), metadata__jsonl=jsonl(row))
    found = read(tmp_path)[0]["a.jpg"]
    assert found.caption == "a flower"
    assert found.provenance == {"file": "a.jpg", "license": "CC0", "author": "Ada", "source": "here"}
    assert found.id == images.content_id(picture(1))
    assert found.data == picture(1)


@pytest.mark.parametrize("column", ["text", "caption", "prompt"])
def test_captions_come_from_csv_as_well_under_three_names(tmp_path: Path, column: str):
    put(tmp_path, a__jpg=picture(1), metadata__csv=f'file_name,{column}\na.jpg,"red, and blue"\n')
    assert read(tmp_path)[0]["a.jpg"].caption == "red, and blue"


def test_a_text_beside_each_picture_is_its_caption(tmp_path: Path):
    put(tmp_path, a__jpg=picture(1), a__txt="\ufeffa flower,\nred\n", b__png=picture(2, "PNG"), b__txt="a tree")
    assert {name: each.caption for name, each in read(tmp_path)[0].items()} == {"a.jpg": "a flower, red", "b.png": "a tree"}


def test_subfolders_are_read_in_the_order_of_names_with_metadata_of_their_own(tmp_path: Path):
    put(
        tmp_path,
        z__jpg=picture(1),
        z__txt="z",
        b___a__jpg=picture(2),
        b___metadata__jsonl=jsonl({"file_name": "a.jpg", "text": "ba"}),
    )
    put(tmp_path, a___x__jpg=picture(3), metadata__jsonl=jsonl({"file_name": "a/x.jpg", "text": "ax"}))
    assert [(name, each.caption) for name, each in read(tmp_path)[0].items()] == [
        ("a/x.jpg", "ax"),
        ("b/a.jpg", "ba"),
        ("z.jpg", "z"),
    ]


def test_a_name_with_an_accent_is_found_in_either_of_its_spellings(tmp_path: Path):
    (tmp_path / "cafe\u0301.jpg").write_bytes(picture(1))
    put(tmp_path, metadata__jsonl=jsonl({"file_name": "caf\u00e9.jpg", "text": "a café"}))
    assert [each.caption for each in read(tmp_path)[0].values()] == ["a café"]


def test_a_missing_caption_is_a_reason_that_says_where_it_was_looked_for(tmp_path: Path):
    put(tmp_path, a__jpg=picture(1), b__jpg=picture(2), c__jpg=picture(3), c__txt=" \n", d__jpg=picture(4), d__txt=b"caf\xe9")
    put(tmp_path, metadata__jsonl=jsonl({"file_name": "a.jpg", "text": ""}))
    pictures, rejected = read(tmp_path)
    assert not pictures
    assert {each.step for each in rejected.values()} == {"caption"}
    assert (
        rejected["a.jpg"].reason
        == "metadata.jsonl:1 has no text, caption or prompt for it, and a.txt beside it is missing or empty"
    )
    assert rejected["b.jpg"].reason == "no table of captions names it, and b.txt beside it is missing or empty"
    assert rejected["d.jpg"].reason == "d.txt beside it is not UTF-8"


def test_what_cannot_be_decoded_is_a_reason_and_the_others_stay(tmp_path: Path):
    files = {
        "truncated.jpg": picture(1)[:-100],
        "empty.png": b"",
        "renamed.jpg": b"<html>",
        "phone.heic": b"\0\0\0\x18ftypheic",
        "good.jpg": picture(2),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).with_suffix(".txt").write_text("a caption")
    pictures, rejected = read(tmp_path)
    assert list(pictures) == ["good.jpg"]
    assert {name: each.step for name, each in rejected.items()} == dict.fromkeys(files.keys() - {"good.jpg"}, "decode")
    assert "truncated" in rejected["truncated.jpg"].reason
    assert "not recognised" in rejected["phone.heic"].reason
    assert rejected["empty.png"].reason == "the file is empty"


def test_pictures_that_a_plain_decode_gets_wrong_are_kept_as_png(tmp_path: Path):
    exif = Image.Exif()
    exif[274] = 6
    files = {"cmyk.jpg": picture(1, mode="CMYK"), "turned.jpg": picture(2, exif=exif), "alpha.png": picture(3, "PNG", "RGBA")}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).with_suffix(".txt").write_text("a caption")
    pictures, _ = read(tmp_path)
    for name, content in files.items():
        assert pictures[name].data.startswith(b"\x89PNG")
        assert pictures[name].id == images.content_id(content)
        assert np.array_equal(pictures[name].pixels, np.asarray(images.read(content)))
    assert pictures["turned.jpg"].image.size == (12, 16)


def test_the_same_content_comes_once(tmp_path: Path):
    put(tmp_path, a__jpg=picture(1), a__txt="first", b__jpg=picture(1), b__txt="again", c__jpg=picture(2), c__txt="other")
    pictures, rejected = read(tmp_path)
    assert list(pictures) == ["a.jpg", "c.jpg"]
    assert rejected == {"b.jpg": Rejected("b.jpg", "duplicate", "same content as a.jpg")}


def test_a_copy_with_a_caption_stands_in_for_one_without(tmp_path: Path):
    put(tmp_path, a__jpg=picture(1), b__jpg=picture(1), b__txt="a flower")
    pictures, rejected = read(tmp_path)
    assert pictures["b.jpg"].caption == "a flower"
    assert rejected["a.jpg"].step == "caption"


def test_metadata_of_files_that_are_not_there_or_outside_are_reasons(tmp_path: Path):
    (tmp_path / "outside.jpg").write_bytes(picture(9))
    rows = [{"file_name": name, "text": "x"} for name in ("a.jpg", "gone.jpg", "../outside.jpg", str(tmp_path / "outside.jpg"))]
    put(tmp_path / "folder", a__jpg=picture(1), metadata__jsonl=jsonl(*rows))
    pictures, rejected = read(tmp_path / "folder")
    assert list(pictures) == ["a.jpg"]
    assert {each.step for each in rejected.values()} == {"missing"}
    assert rejected["gone.jpg"].reason == "metadata.jsonl:2 names gone.jpg, which is not there"
    assert len(rejected) == 3


def test_a_picture_that_metadata_name_twice_keeps_its_first_caption(tmp_path: Path):
    put(
        tmp_path,
        a__jpg=picture(1),
        metadata__jsonl=jsonl({"file_name": "a.jpg", "text": "1"}, {"file_name": "./a.jpg", "text": "2"}),
    )
    pictures, rejected = read(tmp_path)
    assert pictures["a.jpg"].caption == "1"
    assert rejected["a.jpg"].reason == "metadata.jsonl:2 names a.jpg again, after metadata.jsonl:1"


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path):
    put(tmp_path, a__jpg=picture(1), a__txt="a", README__md="# x", notes__txt="x")
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7")  # what macOS leaves on foreign disks
    (tmp_path / ".thumbs").mkdir()
    (tmp_path / ".thumbs" / "a.jpg").write_bytes(picture(5))
    pictures, rejected = read(tmp_path)
    assert list(pictures) == ["a.jpg"]
    assert not rejected


def test_a_limit_takes_the_first_by_name(tmp_path: Path):
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))
        (tmp_path / f"{number}.txt").write_text("x")
    assert list(read(tmp_path, limit=3)[0]) == ["0.jpg", "1.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metadata.jsonl", '{"file_name": "a.jpg", "text": "x"}\n{"file_name": \n', r"metadata\.jsonl:2: not JSON"),
        ("metadata.jsonl", '{"filename": "a.jpg", "text": "x"}', r"metadata\.jsonl:1: no 'file_name'; its columns: filename, text"),
        ("metadata.csv", "file_name,text\na.jpg,red, and blue\n", r"metadata\.csv:2: 3 fields under 2 column names"),
    ],
)
def test_a_malformed_line_of_metadata_is_named(tmp_path: Path, name: str, content: str, message: str):
    (tmp_path / "a.jpg").write_bytes(picture(1))
    (tmp_path / name).write_text(content)
    with pytest.raises(RowError, match=message):
        imagefolder.load(path=tmp_path)


def test_two_metadata_files_in_one_folder_are_an_error(tmp_path: Path):
    put(
        tmp_path,
        a__jpg=picture(1),
        metadata__csv="file_name,text\na.jpg,x\n",
        metadata__jsonl=jsonl({"file_name": "a.jpg", "text": "y"}),
    )
    with pytest.raises(SourceError, match="which of them holds"):
        imagefolder.load(path=tmp_path)


def test_a_folder_that_is_empty_or_missing_is_named_with_what_was_looked_for(tmp_path: Path):
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(
        SourceError, match=r"holds no pictures\. Looked for \.jpg, .*1 other files.*metadata\.jsonl or metadata\.csv"
    ) as error:
        imagefolder.load(path=tmp_path)
    assert str(tmp_path) in str(error.value)
    with pytest.raises(SourceError, match="gone is not there"):
        imagefolder.load(path=tmp_path / "gone")
    with pytest.raises(SourceError, match=r"notes\.md is a file"):
        imagefolder.load(path=tmp_path / "notes.md")


def test_a_limit_of_nothing_is_refused_where_the_plugin_is_built(tmp_path: Path):
    with pytest.raises(plugins.PluginError, match="option 'limit'"):
        plugins.load("sources", "imagefolder", path=tmp_path, limit=0)


def test_the_fingerprint_follows_content_and_captions_and_not_time_or_place(tmp_path: Path):
    here = tmp_path / "here"
    put(here, a__jpg=picture(1), metadata__jsonl=jsonl({"file_name": "a.jpg", "text": "x"}, {"file_name": "gone.jpg", "text": "y"}))
    put(here, b__jpg=picture(2))

    def digest(folder: Path, limit: int | None = None) -> str:
        return imagefolder.load(path=folder, limit=limit).fingerprint()

    first = digest(here)
    assert len(first) == 16
    assert digest(Path(shutil.copytree(here, tmp_path / "there", copy_function=shutil.copyfile))) == first
    assert digest(here, limit=1) != first
    put(here, b__txt="a caption")
    second = digest(here)
    flipped = bytearray(picture(1))
    flipped[-20] ^= 1
    put(here, a__jpg=bytes(flipped))
    third = digest(here)
    put(here, metadata__jsonl=jsonl({"file_name": "a.jpg", "text": "x", "license": "CC0"}))
    assert len({first, second, third, digest(here)}) == 4


@pytest.mark.skipif(not QUICKSTART.is_dir(), reason="the quickstart photographs are not on this machine")
def test_the_quickstart_photographs_are_all_read_and_stay_as_they_are():
    pictures, rejected = read(QUICKSTART)
    assert len(pictures) == 31
    assert not rejected
    assert all(each.data == (QUICKSTART / name).read_bytes() for name, each in pictures.items())
    assert all(each.caption and each.provenance["license"] for each in pictures.values())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_pipe_is_not_opened_and_a_name_that_is_no_text_is_rejected_with_that_reason(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "good.png")
    (tmp_path / "good.txt").write_text("a red square")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / os.fsdecode(b"bad\xff.png")).write_bytes((tmp_path / "good.png").read_bytes())
    items = list(imagefolder.load(path=tmp_path))
    assert [type(each).__name__ for each in items] == ["Rejected", "Picture"]
    assert isinstance(items[0], Rejected)
    assert items[0].step == "name"
    items[0].id.encode()
