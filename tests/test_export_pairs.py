"""Exported pairs are read back: by our own readers, and by the library that others use."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from pairwright import cli, images, tables
from pairwright.context import Context
from pairwright.export import PairsExportError, export_pairs
from pairwright.export.pair_formats import PICKAPIC
from pairwright.importing import import_pairs
from pairwright.options import ExportPairs, Import, PairFormat
from pairwright.pairsets import PairSetError
from pairwright.records import Pair, Picture
from pairwright.store import Node, Store, write_json
from tests.miniatures.preferences import BROKEN, PICKAPIC_V2, jpeg, parquet

FORMS: tuple[PairFormat, ...] = ("parquet", "pickapic", "trl", "csv", "folders")
CAPTIONS = (
    "plain",
    "commas, \"quotes\", and 'single' ones",
    "two\nlines and a\ttab",
    "gr\u00fcn \u96ea \U0001f339",
    "../../etc/passwd",
    "=1+1; DROP TABLE",
)
FLAT = tuple(" ".join(caption.split()) for caption in CAPTIONS)
SOURCES: dict[PairFormat, dict[str, str]] = {
    "parquet": {"name": "datasets", "path": "parquet"},
    "pickapic": {"name": "pickapic", "path": "pickapic"},
    "trl": {"name": "datasets", "path": "trl"},
    "csv": {"name": "csv", "path": "csv/pairs.csv"},
    "folders": {"name": "winlose", "path": "folders"},
}


def picture(seed: int, form: str = "PNG") -> Picture:
    if form == "JPEG":
        return Picture(images.content_id(jpeg(seed)), jpeg(seed))
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    data = images.encode(Image.fromarray(pixels))
    return Picture(images.content_id(data), data)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose step ``pairs`` holds six pairs, the fourth as JPEG, with masks, licences and a funnel."""
    root = tmp_path_factory.mktemp("runs")
    node = Store(root).node("curate", {"version": 1, "options": {"resolution": 32}})
    mask = np.zeros((32, 32), np.float32)
    mask[8:16, 4:20] = 1
    rows = []
    for number, caption in enumerate(CAPTIONS):
        kind = "JPEG" if number == 3 else "PNG"
        said = {"license": "CC0" if number < 4 else "a | b\n<b>x</b>", "perturbation": {"name": "inpaint"}, "gap": 0.25}
        sides = picture(2 * number, kind), picture(2 * number + 1, kind)
        rows.append(tables.pair_row(Pair(f"{number:016x}", caption, *sides, mask, said)))
    node.write(0, rows, tables.PAIRS)
    funnel = [{"step": "read", "entered": 9, "left": 3, "reasons": {"decode": 3}}]
    node.finish(funnel=funnel, kept=6)
    entry = {"verb": "curate", "fingerprint": node.fingerprint, "state": "complete"}
    write_json(root / "mine" / "run.json", {"name": "mine", "steps": {"pairs": entry}})
    return root


@pytest.fixture(scope="module")
def out(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "exported"
    written = export_pairs(str(root / "mine" / "pairs"), FORMS, folder, ExportPairs(title="Roses", license="CC0"))
    assert written == [*(folder / form for form in FORMS), folder / "README.md"]
    return folder


def before(root: Path) -> list[Pair]:
    (path,) = (root / "store" / "curate").iterdir()
    return list(tables.pairs(Node(path, "curate")))


@pytest.mark.parametrize("form", FORMS)
def test_our_own_reader_gives_the_same_pairs_back(root: Path, out: Path, form: PairFormat, tmp_path: Path):
    source = {**SOURCES[form], "path": str(out / SOURCES[form]["path"])}
    node = import_pairs(Import.model_validate({"source": source, "resolution": 32}), Context(Store(tmp_path)))
    assert node.summary["funnel"] == [{"step": "read", "entered": 6, "left": 0, "reasons": {}}]
    found, expected = list(tables.pairs(node)), before(root)
    assert [each.winner.data for each in found] == [each.winner.data for each in expected]
    assert [each.loser.data for each in found] == [each.loser.data for each in expected]
    assert [each.prompt for each in found] == list(FLAT if form == "folders" else CAPTIONS)
    if form == "parquet":
        assert found[0].lineage["gap"] == 0.25
        for one, other in zip(found, expected, strict=True):
            assert one.mask is not None
            assert other.mask is not None
            assert np.array_equal(one.mask, other.mask)


def decoded(cell: Any) -> np.ndarray:
    return np.asarray(cell.convert("RGB") if isinstance(cell, Image.Image) else images.read(cell))


@pytest.mark.parametrize(
    ("form", "columns"), [("parquet", ("prompt", "winner", "loser")), ("trl", ("prompt", "chosen", "rejected"))]
)
def test_the_library_opens_tables_with_pictures(root: Path, out: Path, form: str, columns: tuple[str, ...], tmp_path: Path):
    found = datasets.load_dataset(str(out), form, split="train", cache_dir=str(tmp_path))
    assert found.num_rows == 6
    for row, pair in zip(found, before(root), strict=True):
        prompt, winner, loser = (row[name] for name in columns)
        assert prompt == pair.prompt
        assert np.array_equal(decoded(winner), pair.winner.pixels)
        assert np.array_equal(decoded(loser), pair.loser.pixels)


def test_pick_a_pics_columns_are_the_data_sets_own_and_the_place_tells_nothing(root: Path, out: Path, tmp_path: Path):
    (path,) = (out / "pickapic").glob("*.parquet")
    schema = pq.read_schema(path)
    assert path.name == "train-00000-of-00001.parquet"
    assert schema.remove_metadata().equals(PICKAPIC_V2)
    assert PICKAPIC.remove_metadata().equals(PICKAPIC_V2)
    found = datasets.load_dataset(str(out), "pickapic", split="train", cache_dir=str(tmp_path))
    assert found.features["created_at"].dtype == "timestamp[ns]"
    firsts = []
    for row, pair in zip(found, before(root), strict=True):
        place = 0 if row["label_0"] == 1.0 else 1
        firsts.append(place)
        assert row[f"label_{1 - place}"] == 0.0
        assert row["best_image_uid"] == row[f"image_{place}_uid"] == pair.winner.id
        assert row[f"jpg_{place}"] == pair.winner.data
        assert (row[f"model_{place}"], row[f"model_{1 - place}"]) == ("real_images", "inpaint")
    assert set(firsts) == {0, 1}


def test_csv_holds_any_caption_and_names_are_numbers(root: Path, out: Path):
    with (out / "csv" / "pairs.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["caption"] for row in rows] == list(CAPTIONS)
    assert [row["win_image_path"] for row in rows] == [f"win/{number:06d}.{'jpg' if number == 3 else 'png'}" for number in range(6)]
    for row, pair in zip(rows, before(root), strict=True):
        assert (out / "csv" / row["lose_image_path"]).read_bytes() == pair.loser.data
    names = sorted(path.relative_to(out / "folders").as_posix() for path in (out / "folders").rglob("*.*"))
    assert len(names) == 25
    assert all(name == "lineage.jsonl" or name.rpartition("/")[2].partition(".")[0].isdigit() for name in names)
    assert (out / "folders" / "l" / "000002.txt").read_text() == FLAT[2] + "\n"


def test_lineage_is_with_every_form(out: Path):
    for form in ("pickapic", "csv", "folders"):
        lines = [json.loads(line) for line in (out / form / "lineage.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [line["number"] for line in lines] == list(range(6))
        assert lines[5]["lineage"]["license"] == "a | b\n<b>x</b>"


def test_the_card_says_how_many_why_and_under_which_licences(root: Path, out: Path):
    text = (out / "README.md").read_text(encoding="utf-8")
    front = DatasetCard(text).data.to_dict()
    assert [(each["config_name"], each["data_files"]) for each in front["configs"]] == [
        ("parquet", "parquet/*.parquet"),
        ("pickapic", "pickapic/*.parquet"),
        ("trl", "trl/*.parquet"),
    ]
    assert "# Roses" in text
    assert "6 preference pairs" in text
    assert "Licence: CC0" in text
    assert "| CC0 | 4 |" in text
    assert "| a \\| b <b>x</b> | 2 |" in text
    assert "| read | 9 | 3 | 3 x decode |" in text
    assert next((root / "store" / "curate").iterdir()).name in text
    assert str(root) not in text


def test_many_pairs_are_several_files(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pairwright.export.pair_formats.PAIRS_PER_FILE", 4)
    export_pairs(str(root / "mine"), ["parquet"], tmp_path / "x")
    files = sorted(path.name for path in (tmp_path / "x" / "parquet").iterdir())
    assert files == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert [pq.read_metadata(tmp_path / "x" / "parquet" / name).num_rows for name in files] == [4, 2]


def test_nothing_is_overwritten_unless_asked_for(root: Path, tmp_path: Path):
    pairs = str(root / "mine" / "pairs")
    export_pairs(pairs, ["csv"], tmp_path / "x")
    with pytest.raises(PairsExportError, match=r"csv, .*README\.md are there already; give --replace True"):
        export_pairs(pairs, ["csv", "trl"], tmp_path / "x")
    (tmp_path / "x" / "csv" / "pairs.csv").write_text("old")
    export_pairs(pairs, ["csv"], tmp_path / "x", replace=True)
    assert (tmp_path / "x" / "csv" / "pairs.csv").read_text().startswith("win_image_path")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["README.md", "csv"]


def test_a_foreign_pair_that_cannot_be_read_is_left_out_and_counted(tmp_path: Path):
    def row(seed: int, loser: bytes) -> dict[str, Any]:
        return {"prompt": "p", "winner": {"bytes": jpeg(seed), "path": None}, "loser": {"bytes": loser, "path": None}}

    parquet(tmp_path / "in.parquet", [row(0, jpeg(1)), row(2, BROKEN)])
    export_pairs(str(tmp_path / "in.parquet"), ["trl", "csv"], tmp_path / "x")
    text = (tmp_path / "x" / "README.md").read_text()
    assert "1 preference pairs" in text
    assert "1 more were left out" in text
    parquet(tmp_path / "in.parquet", [row(2, BROKEN)])
    with pytest.raises(PairsExportError, match="no pair whose pictures can be read: damaged header"):
        export_pairs(str(tmp_path / "in.parquet"), ["trl"], tmp_path / "y")
    assert not (tmp_path / "y" / "trl").exists()


def test_pairs_that_are_not_there_are_named(tmp_path: Path):
    with pytest.raises(PairSetError, match="nowhere is not there"):
        export_pairs(str(tmp_path / "nowhere"), ["csv"], tmp_path / "x")
    with pytest.raises(PairsExportError, match="no format was named; give --as with parquet, pickapic, trl, csv, folders"):
        export_pairs(str(tmp_path / "nowhere"), [], tmp_path / "x")


def test_the_command_writes_and_prints_what_it_wrote(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["export", "pairs", str(root / "mine" / "pairs"), "--as", "trl", "csv", "--out", str(tmp_path / "x")]
    cli.call(words)
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "x" / name) for name in ("trl", "csv", "README.md")]
