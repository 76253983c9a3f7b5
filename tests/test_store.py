"""What is written is written whole or not at all, under a name that says from what."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairwright import tables
from pairwright.records import Column, Picture, Unscored
from pairwright.store import DiskFullError, Store, StoreError, fingerprint, write_file, write_folder

SCHEMA = tables.schema({"id": pa.string(), "value": pa.float64()})


def test_a_fingerprint_changes_with_verb_meaning_and_inputs_and_not_with_the_order_of_fields() -> None:
    one = fingerprint("train", {"steps": 1, "seed": 0}, ["a"])
    assert one == fingerprint("train", {"seed": 0, "steps": 1}, ["a"])
    others = [
        fingerprint("score", {"steps": 1, "seed": 0}, ["a"]),
        fingerprint("train", {"steps": 2, "seed": 0}, ["a"]),
        fingerprint("train", {"steps": 1, "seed": 0}, ["b"]),
        fingerprint("train", {"steps": 1.0, "seed": 0}, ["a", "b"]),
    ]
    assert len({one, *others}) == 5


def test_a_meaning_that_json_cannot_say_is_an_error() -> None:
    with pytest.raises(ValueError, match="JSON"):
        fingerprint("train", {"rate": float("nan")})


def test_a_failed_write_leaves_neither_the_file_nor_a_temporary_one(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_file(tmp_path / "deep" / "file.txt", fail)
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_failed_write_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    write_file(tmp_path / "file.txt", lambda path: path.write_text("old"))

    def fail(path: Path) -> None:
        path.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file.txt", fail)
    assert (tmp_path / "file.txt").read_text() == "old"


def test_a_folder_appears_whole_and_the_first_writer_wins(tmp_path: Path) -> None:
    write_folder(tmp_path / "step", lambda path: (path / "a").write_text("first"))
    write_folder(tmp_path / "step", lambda path: (path / "a").write_text("second"))
    assert (tmp_path / "step" / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["step"]


def test_rows_come_back_in_order_over_shards_written_in_any_order(tmp_path: Path) -> None:
    node = Store(tmp_path).node("score", {"x": 1})
    node.write(1, [{"id": "b", "value": 2.0}], SCHEMA)
    node.write(0, [{"id": "a", "value": 1.0}], SCHEMA)
    assert [row["id"] for row in node.rows()] == ["a", "b"]
    assert node.read(columns=["value"])["value"].to_pylist() == [1.0, 2.0]
    assert not node.complete
    node.finish(counted=2)
    assert node.complete
    assert node.summary == {"counted": 2}


def test_the_same_step_is_the_same_node_and_another_option_is_another(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.node("score", {"x": 1}, ["abc"])
    first.finish()
    assert store.node("score", {"x": 1}, ["abc"]).complete
    assert not store.node("score", {"x": 2}, ["abc"]).complete
    assert {node.fingerprint for node in store.nodes()} == {first.fingerprint, store.node("score", {"x": 2}, ["abc"]).fingerprint}


def test_a_damaged_shard_is_named_with_what_to_do(tmp_path: Path) -> None:
    node = Store(tmp_path).node("score", {})
    node.write(0, [{"id": "a", "value": 1.0}], SCHEMA)
    node.shard(0).write_bytes(node.shard(0).read_bytes()[:-7])
    with pytest.raises(StoreError, match=r"data-00000\.parquet is damaged.*remove it"):
        node.read()


def test_a_damaged_record_is_named_with_what_to_do(tmp_path: Path) -> None:
    node = Store(tmp_path).node("score", {})
    (node.path / "node.json").write_text("{")
    with pytest.raises(StoreError, match=r"node\.json cannot be read"):
        _ = node.complete


def test_datasets_opens_a_folder_with_its_pictures_as_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    from pairwright import images

    node = Store(tmp_path).node("pictures", {})
    red = images.encode(Image.new("RGB", (8, 4), "red"))
    node.write(0, [tables.picture_row(Picture("aa", red, "red", {"license": "CC0"}))], tables.PICTURES)
    node.write(0, [{"id": "x", "step": "decode", "reason": "truncated"}], tables.REJECTED, "rejected")
    node.finish()
    loaded = datasets.load_dataset(str(node.path), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded[0]["image"].size == (8, 4)
    assert loaded[0]["image"].getpixel((0, 0)) == (255, 0, 0)
    assert loaded[0]["caption"] == "red"
    rejected = datasets.load_dataset(str(node.path), "rejected", split="train", cache_dir=str(tmp_path / "cache"))
    assert rejected[0]["reason"] == "truncated"


def test_scores_carry_their_unit_and_the_reason_where_there_is_none(tmp_path: Path) -> None:
    column = Column("pickscore", "100 * cosine")
    schema = tables.scores([column])
    rows = [tables.score_row("a", [column], (21.5,)), tables.score_row("b", [column], Unscored("truncated"))]
    node = Store(tmp_path).node("scores", {})
    node.write(0, rows, schema)
    table = node.read()
    assert table.schema.field("pickscore").metadata == {b"unit": b"100 * cosine"}
    assert table.to_pylist() == [
        {"id": "a", "pickscore": 21.5, "unscored": None},
        {"id": "b", "pickscore": None, "unscored": "truncated"},
    ]


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_whatever_is_there_after_kill_9_can_be_read(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys, pyarrow as pa
        from pathlib import Path
        from pairwright import tables
        from pairwright.store import Store
        schema = tables.schema({"id": pa.string(), "value": pa.float64()})
        node = Store(Path(sys.argv[1])).node("score", {})
        for shard in range(10_000):
            node.write(shard, [{"id": f"{shard}-{row}", "value": float(row)} for row in range(200)], schema)
            print(shard, flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    time.sleep(0.013)
    process.send_signal(signal.SIGKILL)
    said = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    node = Store(tmp_path).node("score", {})
    assert len(node.shards()) >= 5 + len(said)
    assert all(len(node.read_shard(number)) == 200 for number in range(len(node.shards())))
    assert json.loads((node.path / "node.json").read_text())["complete"] is False


@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_a_finished_result_that_lost_a_file_is_unfinished_again_and_keeps_the_rest(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    node = store.node("score", {})
    node.write(0, [{"id": "a", "value": 1.0}], SCHEMA)
    node.write(1, [{"id": "b", "value": 2.0}], SCHEMA)
    node.finish()
    assert store.node("score", {}).complete
    if damage == "deleted":
        node.shard(0).unlink()
    else:
        node.shard(0).write_bytes(node.shard(0).read_bytes()[:-9])
    again = store.node("score", {})
    assert not again.complete
    assert [path.name for path in again.shards()] == ["data-00001.parquet"]


def full_disk(path: Path) -> None:
    path.write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_error_that_names_the_folder_whichever_library_meets_it(tmp_path: Path) -> None:
    def as_rust_says_it(path: Path) -> None:
        (path / "half").write_text("")
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    with pytest.raises(DiskFullError, match="No space left on device") as caught:
        write_file(tmp_path / "deep" / "file.txt", full_disk)
    assert str(caught.value).startswith(f"{tmp_path / 'deep'} takes no more")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(DiskFullError, match="deep takes no more"):
        write_folder(tmp_path / "deep" / "folder", as_rust_says_it)
    with pytest.raises(DiskFullError, match="deep takes no more"):
        write_folder(tmp_path / "deep" / "folder", lambda path: write_file(path / "file.txt", full_disk))
    assert list((tmp_path / "deep").iterdir()) == []


def test_other_errors_of_a_write_stay_what_they_are(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with pytest.raises(PermissionError):
        write_file(tmp_path / "file.txt", fail)


def test_every_bit_that_flips_among_the_pages_of_a_shard_is_found(tmp_path: Path) -> None:
    node = Store(tmp_path).node("score", {})
    node.write(0, [{"id": f"{row:016x}", "value": row / 7} for row in range(40)], SCHEMA)
    whole = node.read()
    data = node.shard(0).read_bytes()
    pages = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    found, silent = 0, 0
    for place in range(4, pages):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        node.shard(0).write_bytes(flipped)
        try:
            same = node.read().equals(whole)
        except StoreError as error:
            found += 1
            assert "data-00000.parquet is damaged" in str(error)  # noqa: PT017 - one of very many
        else:
            silent += not same
    assert silent == 0
    assert found >= 0.7 * pages, "what else is there are the pages' headers, whose statistics nobody reads"


def test_a_shard_from_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    node = Store(tmp_path).node("score", {})
    old = pa.Table.from_pylist([{"id": "a", "value": 1.0}], schema=SCHEMA)
    pq.write_table(old, node.shard(0))
    assert node.read().equals(old)
