"""Pictures from anywhere: folders, lists, Parquet files and runs give the same tables, a summary and one export."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from pairwright import catalogue, cli, evaluate, options, scoring, tables
from pairwright.evaluate.collections import collect
from pairwright.evaluate.files import CollectionError
from pairwright.evaluate.folder import ExportError, rows, score_collection
from pairwright.plan import costs, scores
from pairwright.records import Unscored
from pairwright.store import Store
from tests.miniatures.clip import write_clip
from tests.miniatures.pictures import broken, picture


def asked(*names: str, **fields: object) -> options.Score:
    return options.Score(rewards=options.rewards(names or ("colorfulness,texture",)), **fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures: two described in metadata, one with a text beside it, one without a text, one that is none."""
    place = tmp_path / "photos"
    place.mkdir()
    for number, name in enumerate(("a.png", "b.png", "c.png", "d.png")):
        (place / name).write_bytes(picture(number).data)
    (place / "e.png").write_bytes(broken().data)
    (place / "metadata.jsonl").write_text(
        "".join(json.dumps({"file_name": name, "text": f"picture {name[0]}"}) + "\n" for name in ("a.png", "b.png", "e.png"))
    )
    (place / "c.txt").write_text("picture c\n")
    return place


def numbers(path: Path, *names: str, root: Path) -> dict[str, dict[str, object]]:
    return {row["file"]: row for row in rows(score_collection(path, asked(*names), root))}


def test_a_folder_is_scored_with_its_captions_and_what_cannot_be_says_why(folder: Path, tmp_path: Path) -> None:
    found = numbers(folder, root=tmp_path)
    assert list(found) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert [found[name]["prompt"] for name in found] == ["picture a", "picture b", "picture c", "", "picture e"]
    assert found["d.png"]["colorfulness"] is not None, "colourfulness reads no prompt"
    assert found["d.png"]["unscored"] is None
    assert found["e.png"]["colorfulness"] is None
    assert str(found["e.png"]["unscored"]).startswith("cannot be decoded: ")
    assert len({row["id"] for row in found.values()}) == 5


def test_a_picture_without_a_prompt_is_unscored_by_who_reads_one(folder: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip")
    chosen = options.rewards(["pickscore,colorfulness"], [f"pickscore.model={clip}", "pickscore.dtype=float32"])
    scored = score_collection(folder, options.Score(rewards=chosen), tmp_path)
    found = {row["file"]: row for row in rows(scored)}
    assert found["d.png"]["pickscore"] is None
    assert found["d.png"]["colorfulness"] is not None
    assert str(found["d.png"]["unscored"]).startswith("no prompt: no table of captions names it, and d.txt beside it")
    said = evaluate.summary(scored)
    assert said.splitlines()[1].split()[0] == "pickscore"
    assert said.splitlines()[1].split()[3:5] == ["3", "2"]
    assert "  pickscore: 1 x no prompt: " in said


def test_list_parquet_and_folder_give_a_picture_the_same_scores(folder: Path, tmp_path: Path) -> None:
    listed = folder / "list.csv"
    listed.write_text("file,prompt\na.png,picture a\nc.png,picture c\nnowhere.png,x\na.png,another\na.png,picture a\n")
    cells = [{"bytes": (folder / name).read_bytes(), "path": name} for name in ("a.png", "c.png")]
    pq.write_table(pa.table({"image": cells, "prompt": ["picture a", "picture c"]}), tmp_path / "set.parquet", row_group_size=1)
    one = numbers(folder, root=tmp_path)
    two = list(rows(score_collection(listed, asked(), tmp_path)))
    three = numbers(tmp_path / "set.parquet", root=tmp_path)
    columns = ("prompt", "colorfulness", "texture")
    assert [two[0][each] for each in columns] == [one["a.png"][each] for each in columns]
    assert [three["set.parquet:1"][each] for each in columns] == [one["c.png"][each] for each in columns]
    assert two[2]["unscored"] == "list.csv:4 names nowhere.png, which is not there"
    assert [row["file"] for row in two] == ["a.png", "c.png", "nowhere.png", "a.png", "a.png"]
    assert len({row["id"] for row in two}) == 5, "the same picture twice has two rows"
    assert two[0]["id"] == one["a.png"]["id"], "content and prompt are the id"


def test_parquet_rows_keep_ids_of_their_own_where_these_are_distinct(tmp_path: Path) -> None:
    data = [picture(number).data for number in range(70)]
    table = pa.table({"id": [f"row{number}" for number in range(70)], "image": data, "caption": ["x", None] * 35})
    (tmp_path / "set").mkdir()
    pq.write_table(table, tmp_path / "set" / "data-00000.parquet")
    pq.write_table(pa.table({"id": ["r"], "reason": ["dropped"]}), tmp_path / "set" / "rejected-00000.parquet")
    (collection,) = collect(tmp_path / "set").values()
    assert collection.sizes() == {0: 64, 1: 6}, "a shard has 64 rows at most"
    found = list(rows(score_collection(tmp_path / "set", asked("colorfulness"), tmp_path)))
    assert [row["id"] for row in found] == [f"row{number}" for number in range(70)]
    name, closed = collection.read(1)[1]
    content = scoring.opened(closed)
    assert name == "row65"
    assert not isinstance(content, Unscored)
    assert content[1] == Unscored("no prompt: the column is empty")
    pq.write_table(table.set_column(0, "id", [["same"] * 70]), tmp_path / "set" / "data-00000.parquet")
    (again,) = collect(tmp_path / "set").values()
    assert len({each.id for each in again.described()}) == 70


def test_a_run_is_scored_by_model_in_its_own_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pictures = {}
    for label in ("base", "tuned"):
        node = store.node("pictures", {"label": label})
        row = {"id": label, "image": tables.image_cell(picture(len(label)).data, label), "caption": "p", "provenance": "{}"}
        more = {"prompt_id": "p", "category": "", "index": 0, "width": 40, "height": 32}
        node.write(0, [{**row, **more}], tables.GENERATED)
        node.finish()
        pictures[label] = node.fingerprint
    made = store.node("generate", {})
    (made.path / "models.json").write_text(json.dumps(pictures))
    made.finish()
    entry = {"verb": "generate", "fingerprint": made.fingerprint, "state": "complete"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.json").write_text(json.dumps({"steps": {"pictures": entry}}))
    found = list(rows(score_collection(tmp_path / "mine", asked("colorfulness"), tmp_path)))
    assert [(row["set"], row["id"], row["prompt"]) for row in found] == [("base", "base", "p"), ("tuned", "tuned", "p")]
    step = scoring.Scorer(options.Plugin(name="colorfulness")).node(store, store.open("pictures", pictures["base"]))
    assert step.complete
    assert scoring.read_scores(step)["base"] == {"colorfulness": found[0]["colorfulness"]}, "one table for both ways"


def test_a_changed_picture_or_prompt_is_another_set_and_a_touched_one_is_not(folder: Path) -> None:
    def fingerprint() -> str:
        return collect(folder)[""].fingerprint

    before = fingerprint()
    os.utime(folder / "a.png")
    assert fingerprint() == before
    (folder / "c.txt").write_text("picture z")
    changed = fingerprint()
    (folder / "a.png").write_bytes(picture(9).data)
    assert len({before, changed, fingerprint()}) == 3


def test_the_export_has_one_row_per_picture_and_parquet_carries_units(folder: Path, tmp_path: Path) -> None:
    scored = score_collection(folder, asked(), tmp_path)
    for suffix in ("csv", "jsonl", "parquet"):
        evaluate.export(scored, tmp_path / f"out.{suffix}")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.field("colorfulness").metadata[b"unit"] == b"Hasler-Suesstrunk M3, RGB in 0..255"
    expected = table.to_pylist()
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == expected
    with (tmp_path / "out.csv").open(newline="") as stream:
        read = list(csv.DictReader(stream))
    assert [row["file"] for row in read] == [row["file"] for row in expected]
    assert float(read[1]["texture"]) == expected[1]["texture"]
    assert read[4]["texture"] == ""
    with pytest.raises(ExportError, match=r"\.csv, \.jsonl, \.parquet"):
        evaluate.check_format(tmp_path / "out.xlsx")
    for place, said in ((folder / "a.png" / "out.csv", "is no folder to write into"), (tmp_path / "made.csv", "that is a folder")):
        (tmp_path / "made.csv").mkdir(exist_ok=True)
        with pytest.raises(ExportError, match=said):
            evaluate.check_format(place)


def test_a_file_is_decoded_once_for_the_check_and_for_all_rewards(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(_: bytes) -> None:
        raise AssertionError("decoded a second time")

    expected = numbers(folder, root=tmp_path / "before")
    monkeypatch.setattr("pairwright.images.decode", again)
    assert numbers(folder, root=tmp_path / "after") == expected
    assert expected["a.png"]["texture"] is not None


def test_what_is_no_collection_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.doc").write_text("x")
    (tmp_path / "empty.csv").write_text("file,prompt\n")
    (tmp_path / "semicolons.csv").write_text("file;prompt\na.png;x\n")
    (tmp_path / "nameless.csv").write_text("file,prompt\n,x\n")
    (tmp_path / "one.png").write_bytes(picture(0).data)
    (tmp_path / "wrong.jsonl").write_text('{"prompt": "x"}\n')
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "text.parquet")
    for name, said in (
        ("nowhere", "not there"),
        ("notes.doc", "expected a folder of pictures"),
        ("empty.csv", "names no pictures"),
        (
            "wrong.jsonl",
            "wrong.jsonl:1: no column that names the file: looked for file, file_name, image, path; its columns: prompt",
        ),
        ("semicolons.csv", "between columns stands a comma"),
        ("nameless.csv", "nameless.csv:2: no file: 'file' is empty"),
        ("one.png", "is a single picture: expected a folder"),
        ("text.parquet", "no column of pictures"),
    ):
        with pytest.raises((CollectionError, ValueError), match=said):
            collect(tmp_path / name)


def test_two_launched_processes_score_a_folder_together(folder: Path, tmp_path: Path) -> None:
    for number in range(140):
        (folder / f"x{number:03d}.png").write_bytes(picture(number, 8, 8).data)
    root, out = tmp_path / "runs", tmp_path / "out.csv"
    command = [sys.executable, "-m", "pairwright.cli", "score", str(folder), "--with", "colorfulness"]
    command += ["--root", str(root), "--out", str(out)]
    said = []
    for rank in (1, 0):  # one after the other: each must leave the other's shards alone
        launched = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
        done = subprocess.run(command, env={**os.environ, **launched}, capture_output=True, text=True, check=True)
        said.append(done.stdout)
        if rank:
            assert [path.name for path in root.rglob("data-*")] == ["data-00001.parquet"]
    assert "has scored its share" in said[0]
    assert said[1].splitlines()[1].split()[3:5] == ["144", "1"]
    assert len(out.read_text().splitlines()) == 146


def test_the_command_scores_sums_up_and_exports(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.jsonl"
    words = ["score", str(folder), "--with", "colorfulness", "--with", "texture", "--out", str(out), "--root", str(tmp_path)]
    cli.call(words)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[:3]] == ["mean", "colorfulness", "texture"]
    assert said[-1] == str(out)
    assert len(out.read_text().splitlines()) == 5


def test_the_plan_says_downloads_memory_and_time_and_computes_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip")
    words = ["score", str(folder), "--with", "pickscore,colorfulness,openai", "--set", f"pickscore.model={clip}"]
    words += ["--set", "openai.served_model=m", "--plan", "--root", str(tmp_path / "none")]
    cli.call(words)
    said = capsys.readouterr().out
    assert "Score 5 pictures of about 0.0013 megapixels by pickscore, colorfulness, openai" in said
    assert f"{clip}  on this disk" in said
    assert "Downloads    none" in said
    assert "Time         unknown" in said, "nobody knows how fast a server is"
    assert "fits" in said
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("every_format")  # weights of a processor that only imitates bfloat16 are of twice the size
def test_the_plan_knows_what_a_head_stands_on_and_counts_a_shared_network_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    chosen = asked("aesthetic_sac,clipscore,hpsv3")
    groups, _, _ = evaluate.outline(folder, chosen)
    assert [[each.name for each in group] for group in groups] == [["aesthetic_sac", "clipscore"], ["hpsv3"]]
    said = scores.plan_scores(chosen, groups, 1000, 512.0**2)
    assert said.count("openai/clip-vit-large-patch14") == 1
    assert "aesthetic_sac, clipscore: 0.857 GB of weights" in said
    assert "unknown" not in said
    shared = costs.rewards(asked("pickscore,realism").rewards, lambda _: None)
    assert shared == [catalogue.KNOWN["yuvalkirstain/PickScore_v1"]]


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        ([], [], "name at least one reward"),
        (["colorfulnes"], [], "Did you mean 'colorfulness'"),
        (["pickscore"], ["pickscore.modell=x"], "no option 'modell'"),
        (["pickscore"], ["texture.model=x"], "no reward 'texture' is asked for"),
        (["pickscore"], ["model=x"], "not an assignment"),
        (["{name = 3}"], [], "not a TOML table with a name"),
        (["openai"], [], "needs the option 'served_model'"),
    ],
)
def test_words_that_name_nothing_are_explained(words: list[str], changes: list[str], said: str) -> None:
    with pytest.raises(options.WordError, match=said):
        options.rewards(words, changes)


def test_rewards_take_names_tables_and_assignments() -> None:
    found = options.rewards(
        ["pickscore, texture", '{name = "imagereward", dtype = "float32"}'],
        ["pickscore.model = tiny:pickscore", "pickscore.batch_size=4"],
        [options.Plugin(name="colorfulness,realism")],
    )
    assert [each.name for each in found] == ["pickscore", "texture", "imagereward", "colorfulness", "realism"]
    assert found[0].options == {"model": "tiny:pickscore", "batch_size": 4}
    assert found[2].options == {"dtype": "float32"}


def test_two_columns_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="two rewards report the column 'texture'"):
        score_collection(folder, asked("texture,texture"), tmp_path)
