"""Tars, folders with a table beside them, data sets of the library, and pictures that a server describes."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import datasets
import pytest

from pairwright import images, plugins
from pairwright.records import Pair, Picture, Rejected
from pairwright.sources import _tar, captioned, civitai_top, webdataset
from pairwright.sources import datasets as source_of_datasets
from pairwright.sources._errors import SourceError
from tests.fakes.server import Reply, serving
from tests.miniatures.preferences import BROKEN, jpeg, parquet, pickapic_row, put, tar
from tests.miniatures.preferences import pickapic as write_pickapic


def read(source: Any) -> tuple[list[Picture], dict[str, Rejected]]:
    items = list(source)
    assert len(items) == len(source)
    rejected = [each for each in items if isinstance(each, Rejected)]
    return [each for each in items if isinstance(each, Picture)], {each.id: each for each in rejected}


def test_a_tars_samples_come_in_order_with_their_captions(tmp_path: Path):
    said = json.dumps({"caption": "two", "license": "CC0", "width": 3}).encode()
    entries = [("0001.jpg", jpeg(1)), ("0001.txt", b"one\n"), ("0001.cls", b"7"), ("0002.json", said), ("0002.png", jpeg(2))]
    tar(tmp_path / "b.tar", entries)
    tar(tmp_path / "a.tar", [("x/9.jpg", jpeg(9)), ("x/9.txt", "gr\u00fcn".encode()), ("x/8.jpg", BROKEN), ("x/8.txt", b"no")])
    found, rejected = read(webdataset.load(path=tmp_path))
    assert [(each.provenance["file"], each.caption) for each in found] == [
        ("a.tar/x/9", "gr\u00fcn"),
        ("b.tar/0001", "one"),
        ("b.tar/0002", "two"),
    ]
    assert found[2].provenance["license"] == "CC0"
    assert found[1].data == jpeg(1)
    assert {name: each.step for name, each in rejected.items()} == {"a.tar/x/8": "decode"}
    assert len(webdataset.load(path=tmp_path, limit=2)) == 2


def header(name: str, kind: bytes, size: int = 0, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, target, size
    return entry


def test_links_devices_and_names_that_lead_out_are_refused_and_the_rest_is_read(tmp_path: Path):
    entries: list[Any] = [
        header("link.jpg", tarfile.SYMTYPE, target="/etc/passwd"),
        header("hard.jpg", tarfile.LNKTYPE, target="../../etc/passwd"),
        header("pipe.jpg", tarfile.FIFOTYPE),
        header("folder", tarfile.DIRTYPE),
        ("../../up.jpg", jpeg(1)),
        ("/etc/cron.jpg", jpeg(2)),
        ("fine.jpg", jpeg(3)),
        ("fine.txt", b"fine"),
    ]
    before = sorted(tmp_path.rglob("*"))
    found, rejected = read(webdataset.load(path=tar(tmp_path / "a.tar", entries)))
    assert [each.caption for each in found] == ["fine"]
    assert {name: each.step for name, each in rejected.items()} == {
        "a.tar/link.jpg": "tar",
        "a.tar/hard.jpg": "tar",
        "a.tar/pipe.jpg": "tar",
        "a.tar/../../up.jpg": "name",
        "a.tar//etc/cron.jpg": "name",
    }
    assert rejected["a.tar/link.jpg"].reason == "a link, not a file"
    assert sorted(tmp_path.rglob("*")) == [*before, tmp_path / "a.tar"], "nothing is unpacked"


def test_headers_that_claim_gigabytes_cost_no_memory(tmp_path: Path):
    big = header("big.jpg", tarfile.REGTYPE, _tar.MOST_MEMBER + 1).tobuf()
    put(tmp_path / "member.tar", big + bytes(1024))
    _, rejected = read(webdataset.load(path=tmp_path / "member.tar"))
    assert "more than the limit of" in rejected["member.tar/big.jpg"].reason
    names = header("pax", tarfile.XHDTYPE, 2**33).tobuf(tarfile.GNU_FORMAT)
    put(tmp_path / "names.tar", names + bytes(1024))
    _, rejected = read(webdataset.load(path=tmp_path / "names.tar"))
    assert [each.reason for each in rejected.values()] == [f"damaged or not a plain tar: a header of {2**33:,} bytes"]


def test_a_tar_that_ends_early_loses_what_is_missing_only(tmp_path: Path):
    path = tar(tmp_path / "a.tar", [("1.txt", b"one"), ("1.jpg", jpeg(1)), ("2.txt", b"two"), ("2.jpg", jpeg(2))])
    with tarfile.open(path) as archive:
        last = archive.getmember("2.jpg").offset_data
    put(path, path.read_bytes()[: last + 100])
    found, rejected = read(webdataset.load(path=path))
    assert [each.caption for each in found] == ["one"]
    assert rejected["a.tar/2"].reason == "the tar ends within it"


def test_a_sample_without_picture_or_caption_says_so(tmp_path: Path):
    entries = [("1.txt", b"one"), ("2.jpg", jpeg(2)), ("3.jpg", jpeg(3)), ("3.txt", b"\xff\xfe"), ("4.jpg", b""), ("4.txt", b"x")]
    found, rejected = read(webdataset.load(path=tar(tmp_path / "a.tar", entries)))
    assert not found
    assert {name: each.step for name, each in rejected.items()} == {
        "a.tar/1": "missing",
        "a.tar/2": "caption",
        "a.tar/3": "caption",
        "a.tar/4": "decode",
    }


def test_compressed_tars_are_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
    with pytest.raises(SourceError, match=r"is not a plain \.tar"):
        webdataset.load(path=tmp_path / "a.tar.gz")
    with pytest.raises(SourceError, match=r"holds no \.tar"):
        webdataset.load(path=tmp_path)


def test_civitai_top_comes_in_the_order_of_its_numbers(tmp_path: Path):
    for number in (1, 2, 10, 11):
        put(tmp_path / "images" / f"{number}.jpeg", jpeg(number))
    prompts: dict[str, Any] = {f"{number}.jpeg": {"prompt": f"p{number}"} for number in (10, 2, 1, 12)}
    prompts |= {"../../etc/passwd": {"prompt": "x"}, "11.jpeg": {"prompt": None}}
    put(tmp_path / "prompts.json", json.dumps(prompts))
    found, rejected = read(civitai_top.load(path=tmp_path))
    assert [(each.provenance["file"], each.caption) for each in found] == [
        ("images/1.jpeg", "p1"),
        ("images/2.jpeg", "p2"),
        ("images/10.jpeg", "p10"),
    ]
    assert {name: each.step for name, each in rejected.items()} == {
        "images/11.jpeg": "caption",
        "images/12.jpeg": "missing",
        "images/../../etc/passwd": "name",
    }
    put(tmp_path / "prompts.json", "[]")
    with pytest.raises(SourceError, match=r"prompts\.json must be an object"):
        civitai_top.load(path=tmp_path)
    with pytest.raises(SourceError, match="must hold the folder images/ and the file"):
        civitai_top.load(path=tmp_path / "images")


def image(seed: int | None) -> dict[str, Any]:
    return {"bytes": None if seed is None else jpeg(seed), "path": "/etc/passwd"}


def test_parquet_with_pictures_and_captions_is_a_source(tmp_path: Path):
    rows = [{"image": image(n), "text": f"p{n}", "license": "CC0"} for n in (0, 1, 1)]
    rows += [{"image": image(None), "text": "gone", "license": ""}, {"image": image(4), "text": "", "license": ""}]
    found, rejected = read(source_of_datasets.load(path=str(parquet(tmp_path / "a.parquet", rows))))
    assert [(each.id, each.caption) for each in found] == [(images.content_id(jpeg(n)), f"p{n}") for n in (0, 1)]
    assert found[0].provenance == {"file": "a.parquet:0", "license": "CC0"}
    assert [each.step for each in rejected.values()] == ["duplicate", "missing", "caption"]
    with pytest.raises(SourceError, match=r"no column of captions \(prompt, caption, text\); it has: image"):
        source_of_datasets.load(path=str(parquet(tmp_path / "b.parquet", [{"image": image(0)}])))
    with pytest.raises(SourceError, match=r"no column of pictures .* and no pair of them .*it has: x"):
        source_of_datasets.load(path=str(parquet(tmp_path / "c.parquet", [{"x": 1}])))


def held(seed: int) -> dict[str, Any]:
    return {"bytes": jpeg(seed), "path": None}


@pytest.fixture
def trl() -> datasets.DatasetDict:
    features = datasets.Features({"prompt": datasets.Value("string"), "chosen": datasets.Image(), "rejected": datasets.Image()})
    rows = [{"prompt": f"p{n}", "chosen": held(2 * n), "rejected": held(2 * n + 1)} for n in range(5)]
    return datasets.DatasetDict({"train": datasets.Dataset.from_list(rows, features=features)})


def assert_trl(source: Any) -> None:
    found = list(source.pairs())
    assert [each.prompt for each in found] == [f"p{n}" for n in range(5)]
    assert all(isinstance(each, Pair) and each.winner.data == jpeg(2 * n) for n, each in enumerate(found))
    assert [each.prompt for each in source.pairs(3)] == ["p3", "p4"]


def test_trls_columns_are_pairs_from_parquet_and_from_save_to_disk(tmp_path: Path, trl: datasets.DatasetDict):
    trl["train"].to_parquet(tmp_path / "parquet" / "train-00000-of-00001.parquet")
    assert_trl(source_of_datasets.load(path=str(tmp_path / "parquet")))
    trl.save_to_disk(tmp_path / "disk")
    source = source_of_datasets.load(path=str(tmp_path / "disk"))
    assert_trl(source)
    assert source.fingerprint() == source_of_datasets.load(path=str(tmp_path / "disk")).fingerprint()
    assert source.fingerprint() != source_of_datasets.load(path=str(tmp_path / "disk"), limit=2).fingerprint()
    with pytest.raises(SourceError, match="has no split 'test'; it has: train"):
        source_of_datasets.load(path=str(tmp_path / "disk"), split="test")


def test_a_name_on_the_hub_is_asked_of_the_library(tmp_path: Path, trl: datasets.DatasetDict, monkeypatch: pytest.MonkeyPatch):
    trl.save_to_disk(tmp_path / "disk")
    asked: list[Any] = []

    def fake(*positional: Any, **named: Any) -> Any:
        asked.append((positional, named))
        return datasets.load_from_disk(str(tmp_path / "disk"))["train"]

    monkeypatch.setattr(datasets, "load_dataset", fake)
    assert_trl(source_of_datasets.load(path="owner/pairs", config="small", revision="abc"))
    assert asked == [(("owner/pairs", "small"), {"split": "train", "revision": "abc"})]


def test_a_name_that_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    def offline(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(SourceError, match=r"hf download --repo-type dataset owner/pairs --local-dir DIR"):
        source_of_datasets.load(path="owner/pairs")
    with pytest.raises(SourceError, match="is no data set's name on the hub"):
        source_of_datasets.load(path="nowhere")


def test_a_stores_own_result_is_read_without_its_other_tables(tmp_path: Path):
    write_pickapic(tmp_path / "data-00000.parquet", [pickapic_row(0, 1.0), pickapic_row(1, 0.5)])
    parquet(tmp_path / "rejected-00000.parquet", [{"id": "x", "step": "y", "reason": "z"}])
    items = list(source_of_datasets.load(path=str(tmp_path)).pairs())  # type: ignore[union-attr]
    assert [type(each) for each in items] == [Pair, Rejected]


def test_files_of_different_columns_are_refused(tmp_path: Path):
    parquet(tmp_path / "a.parquet", [{"image": image(0), "text": "x"}])
    parquet(tmp_path / "b.parquet", [{"image": image(0), "caption": "x"}])
    with pytest.raises(SourceError, match=r"a\.parquet and .*b\.parquet have different columns"):
        source_of_datasets.load(path=str(tmp_path))


def test_rows_are_read_from_any_place_on_across_files_and_groups(tmp_path: Path):
    for file in range(3):
        parquet(tmp_path / f"{file}.parquet", [{"image": image(None), "text": f"{file}-{row}"} for row in range(50)], group=20)
    rows = source_of_datasets.load(path=str(tmp_path)).rows  # type: ignore[union-attr]
    every = [row["text"] for _, row in rows.read(("text",))]
    assert every == [f"{file}-{row}" for file in range(3) for row in range(50)]
    for start in (0, 1, 19, 20, 49, 50, 75, 149, 150):
        assert [row["text"] for _, row in rows.read(("text",), start)] == every[start:]
    assert next(rows.read(("text",), 75))[0] == "1.parquet:25"


def described(folder: Path, address: str, **more: Any) -> Any:
    inner = {"name": "imagefolder", "path": str(folder)}
    return plugins.load("sources", "captioned", source=inner, served_model="seer", server=address, **more)


def test_a_server_describes_pictures_without_captions_and_only_those(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path / "cache"))
    for number in range(4):
        put(tmp_path / "photos" / f"{number}.jpg", jpeg(number))
    put(tmp_path / "photos" / "1.txt", "mine")
    put(tmp_path / "photos" / "4.jpg", BROKEN)
    answers = iter([Reply(' "A red\n rose." '), Reply("", refusal="I cannot"), Reply("A dog")])
    with serving(lambda body, number: next(answers)) as running:
        source = described(tmp_path / "photos", running.address, workers=1)
        found, rejected = read(source)
        assert [(each.caption, each.provenance.get("captioner")) for each in found] == [
            ("A red rose.", "seer"),
            ("mine", None),
            ("A dog", "seer"),
        ]
        assert {name: each.step for name, each in rejected.items()} == {"2.jpg": "caption", "4.jpg": "decode"}
        assert rejected["2.jpg"].reason == "not captioned: the model refused: I cannot"
        again = described(tmp_path / "photos", running.address, workers=1)
        assert [each.caption for each in read(again)[0]] == ["A red rose.", "mine", "A dog"]
        assert len(running.seen) == 3, "answers are kept, the refusal too"
        assert again.fingerprint() == source.fingerprint()
        assert described(tmp_path / "photos", running.address, question="What?").fingerprint() != source.fingerprint()


def test_a_captioner_needs_a_source_that_has_pictures_without_captions():
    with pytest.raises(SourceError, match="the source 'pickapic' has no option 'uncaptioned'"):
        captioned.load(source={"name": "pickapic", "path": "x"}, served_model="seer")
