"""Sources that can be read in parts: every part by itself gives what reading in order gives, but for repeats."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from pairwright import plugins
from pairwright.protocols import Divisible
from pairwright.records import Picture, Rejected


def drawn(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 9 % 256, number % 256, 40)).save(stream, "PNG")
    return stream.getvalue()


def folder_of(folder: Path) -> Path:
    """Seven pictures with captions in ``metadata.jsonl``, one unreadable, one twice, one without a caption."""
    rows = []
    for number in range(7):
        (folder / f"{number:03d}.png").write_bytes(b"no picture" if number == 3 else drawn(min(number, 4)))
        if number != 6:
            rows.append({"file_name": f"{number:03d}.png", "text": f"picture {number}", "license": "CC0"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    return folder


def tars_of(folder: Path) -> Path:
    """Three tars of 3, 0 and 4 samples; one is unreadable, one there twice, one without a caption."""
    for name, numbers in (("a", range(3)), ("b", range(3, 7)), ("aa", range(0))):
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            for number in numbers:
                files = {"png": b"no picture" if number == 4 else drawn(min(number, 5))}
                if number != 1:
                    files["txt"] = f"picture {number}".encode()
                for suffix, content in files.items():
                    entry = tarfile.TarInfo(f"{number:03d}.{suffix}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    return folder


def same(one: Picture | Rejected, whole: Picture | Rejected) -> bool:
    if isinstance(whole, Rejected) and whole.step == "duplicate":
        return isinstance(one, Picture) and one.provenance["file"] == whole.id
    return one == whole


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize(("name", "make"), [("imagefolder", folder_of), ("webdataset", tars_of)])
def test_parts_together_give_every_item_in_order(name, make, size: int, tmp_path: Path) -> None:
    source = plugins.load("sources", name, path=str(make(tmp_path)))
    whole = list(source)
    assert isinstance(source, Divisible)
    parts = [source.part(start, min(start + size, len(whole))) for start in range(0, len(whole), size)]
    items = [item for part in parts for item in pickle.loads(pickle.dumps(part)).alone()]
    assert len(items) == len(whole) == 7
    assert all(same(*each) for each in zip(items, whole, strict=True))
    assert [each.step for each in whole if isinstance(each, Rejected)] != []
    assert "duplicate" in [each.step for each in whole if isinstance(each, Rejected)]


def test_a_part_of_tars_opens_only_those_that_hold_it(tmp_path: Path) -> None:
    source = plugins.load("sources", "webdataset", path=str(tars_of(tmp_path)))
    held = {(start, stop): [name for _, name in source.part(start, stop).files] for start, stop in ((0, 3), (1, 4), (3, 7), (6, 7))}
    assert held == {
        (0, 3): ["a.tar"],
        (1, 4): ["a.tar", "aa.tar", "b.tar"],
        (3, 7): ["b.tar"],
        (6, 7): ["b.tar"],
    }


def test_a_limit_holds_for_parts(tmp_path: Path) -> None:
    source = plugins.load("sources", "webdataset", path=str(tars_of(tmp_path)), limit=2)
    assert len(source) == len(list(source)) == 2
    assert len(list(source.part(0, 2).alone())) == 2
