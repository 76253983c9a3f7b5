"""Data sets of preferences in their true schemas: every row is a pair or leaves with its reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairwright import images, plugins
from pairwright.protocols import PairSource, Source
from pairwright.records import Pair, Picture, Rejected
from pairwright.sources import csv, hpdv2, hpdv3, imagerewarddb, pickapic, winlose
from pairwright.sources._errors import SourceError
from tests.miniatures.preferences import BROKEN, hpdv3_row, jpeg, parquet, pickapic_row, put
from tests.miniatures.preferences import hpdv3 as write_hpdv3
from tests.miniatures.preferences import pickapic as write_pickapic


def pairs(source: PairSource) -> tuple[list[Pair], list[Rejected]]:
    """All of them, once; from the middle on it is the same."""
    items = list(source.pairs())
    assert len(items) == source.pair_count()
    middle = len(items) // 2
    assert [name_of(each) for each in source.pairs(middle)] == [name_of(each) for each in items[middle:]]
    assert list(source.pairs(len(items))) == []
    return [each for each in items if isinstance(each, Pair)], [each for each in items if isinstance(each, Rejected)]


def name_of(item: Pair | Rejected) -> str:
    return item.id


def pictures(source: Source) -> tuple[list[Picture], list[Rejected]]:
    items = list(source)
    assert len(items) == len(source)
    return [each for each in items if isinstance(each, Picture)], [each for each in items if isinstance(each, Rejected)]


def ids(found: list[Pair]) -> list[tuple[str, str]]:
    return [(each.winner.id, each.loser.id) for each in found]


def content(*seeds: int) -> Any:
    named = tuple(images.content_id(jpeg(seed)) for seed in seeds)
    return named if len(named) > 1 else named[0]


ROWS = [
    pickapic_row(0, 1.0),
    pickapic_row(1, 0.0),
    pickapic_row(2, 0.5),
    pickapic_row(3, None),
    pickapic_row(4, 1.0, jpg_1=BROKEN),
    pickapic_row(5, 1.0, jpg_0=None),
    pickapic_row(6, 0.0, caption=" "),
    pickapic_row(7, 1.0, jpg_1=jpeg(14)),
    pickapic_row(8, 0.0),
]


def test_pick_a_pic_gives_the_labelled_winner_and_counts_what_is_no_preference(tmp_path: Path):
    """Trap 8: a tie (label 0.5) counted as a win for the first picture."""
    write_pickapic(tmp_path / "data" / "train-00000-of-00001.parquet", ROWS)
    write_pickapic(tmp_path / "data" / "test-00000-of-00001.parquet", [pickapic_row(50, 1.0)])
    found, rejected = pairs(pickapic.load(path=tmp_path))
    assert ids(found) == [content(0, 1), content(3, 2), content(17, 16)]
    assert [each.prompt for each in found] == ["prompt 0", "prompt 1", "prompt 8"]
    assert found[1].lineage["winner_model"] == "stabilityai/stable-diffusion-2-1"
    assert found[1].lineage["winner_uid"] == "uid-3"
    assert found[1].lineage["row"] == "data/train-00000-of-00001.parquet:1"
    assert [each.step for each in rejected] == ["tie", "label", "decode", "missing", "caption", "same"]
    assert rejected[2].reason.startswith("loser: ")
    assert rejected[3].reason == "winner: no picture: the column holds no encoded file"


def test_version_1_has_the_same_names_and_what_it_lacks_is_not_missed(tmp_path: Path):
    without = ["has_label", "are_different", "model_0", "model_1", "ranking_id", "user_id", "num_example_per_prompt", "created_at"]
    path = write_pickapic(tmp_path / "v1.parquet", ROWS, without)
    found, rejected = pairs(pickapic.load(path=path))
    assert ids(found) == [content(0, 1), content(3, 2), content(17, 16)]
    assert Counter(each.step for each in rejected)["label"] == 1


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path):
    path = write_pickapic(tmp_path / "x.parquet", ROWS[:2], ["label_1", "caption"])
    with pytest.raises(SourceError, match=r"x\.parquet lacks the columns 'caption', 'label_1'; it has: are_different, best_image"):
        pickapic.load(path=path)


def test_a_split_that_is_not_there_is_an_error_that_lists_those_that_are(tmp_path: Path):
    write_pickapic(tmp_path / "data" / "test_unique-00000-of-00001.parquet", ROWS)
    with pytest.raises(SourceError, match="no split 'train'; its files are of: test_unique"):
        pickapic.load(path=tmp_path)
    assert pickapic.load(path=tmp_path, split="test_unique").pair_count() == 9


def test_damaged_parquet_is_an_error_that_names_the_file(tmp_path: Path):
    put(tmp_path / "x.parquet", b"PAR1 no")
    with pytest.raises(SourceError, match=r"x\.parquet cannot be read as Parquet"):
        pickapic.load(path=tmp_path / "x.parquet")


def test_its_preferred_pictures_are_a_source_each_once(tmp_path: Path):
    rows = [*ROWS[:3], pickapic_row(9, 1.0, jpg_0=jpeg(0))]
    source = pickapic.load(path=write_pickapic(tmp_path / "x.parquet", rows))
    assert isinstance(source, Source)
    assert isinstance(source, PairSource)
    found, rejected = pictures(source)
    assert [each.id for each in found] == [content(0), content(3)]
    assert found[1].caption == "prompt 1"
    assert found[1].provenance["model"] == "stabilityai/stable-diffusion-2-1"
    assert [each.step for each in rejected] == ["tie", "duplicate"]


def test_a_limit_counts_rows_and_changes_the_fingerprint(tmp_path: Path):
    path = write_pickapic(tmp_path / "x.parquet", ROWS)
    some = pickapic.load(path=path, limit=4)
    assert len(pairs(some)[0]) == 2
    assert some.fingerprint() != pickapic.load(path=path).fingerprint()
    assert pickapic.load(path=path).fingerprint() == pickapic.load(path=path).fingerprint()


REAL = "real_images"


def hpd(folder: Path) -> Path:
    for number in range(6):
        put(folder / "images" / f"{number}.jpg", jpeg(number))
    put(folder.parent / "outside.jpg", jpeg(99))
    rows = [
        hpdv3_row("a caf\u00e9", ("images/0.jpg", REAL), ("images/1.jpg", "sdxl"), confidence=0.99, choice_dist=[9, 1]),
        hpdv3_row("a dog", ("images/2.jpg", "flux"), ("images/3.jpg", REAL), confidence=0.6),
        hpdv3_row("a cat", ("images/0.jpg", REAL), ("images/3.jpg", REAL)),
        hpdv3_row("gone", ("images/7.jpg", REAL), ("images/1.jpg", "sdxl")),
        hpdv3_row("up", ("../outside.jpg", REAL), ("images/1.jpg", "sdxl")),
        hpdv3_row("root", ("/etc/passwd", REAL), ("images/4.jpg", "sdxl")),
        hpdv3_row("two", ("images/4.jpg", "sdxl"), ("images/5.jpg", "flux")),
    ]
    return write_hpdv3(folder, rows)


def test_hpdv3_prefers_its_first_path_and_paths_cannot_leave_the_folder(tmp_path: Path):
    hpd(tmp_path / "hpdv3")
    found, rejected = pairs(hpdv3.load(path=tmp_path / "hpdv3"))
    assert ids(found) == [content(0, 1), content(2, 3), content(0, 3), content(4, 5)]
    assert found[0].prompt == "a caf\u00e9"
    assert found[0].lineage == {
        "winner_model": REAL, "loser_model": "sdxl", "source": "HPDv3", "confidence": 0.99, "choice_dist": [9, 1],
        "row": "all.json:0",
    }  # fmt: skip
    assert [(each.id, each.step) for each in rejected] == [
        ("all.json:3", "missing"),
        ("all.json:4", "name"),
        ("all.json:5", "name"),
    ]
    assert rejected[1].reason == "winner: ../outside.jpg: its path leads out of its folder"
    assert "absolute" in rejected[2].reason


def test_hpdv3_as_a_source_gives_each_real_photograph_once_from_either_side(tmp_path: Path):
    hpd(tmp_path / "hpdv3")
    found, rejected = pictures(hpdv3.load(path=tmp_path / "hpdv3" / "all.json"))
    assert [(each.id, each.caption) for each in found] == [(content(0), "a caf\u00e9"), (content(3), "a dog")]
    assert all(each.provenance["model"] == REAL for each in found)
    assert [each.step for each in rejected] == ["missing", "name", "name"]


def test_hpdv3_pairs_can_be_those_that_a_photograph_wins_or_that_are_sure(tmp_path: Path):
    hpd(tmp_path / "hpdv3")
    real, without = pairs(hpdv3.load(path=tmp_path / "hpdv3", real_winners=True))
    assert ids(real) == [content(0, 1), content(0, 3)]
    assert Counter(each.step for each in without)["real"] == 2
    sure, _ = pairs(hpdv3.load(path=tmp_path / "hpdv3", least_confidence=0.9))
    assert ids(sure) == [content(0, 1), content(0, 3), content(4, 5)]


def test_a_picture_that_comes_to_be_there_changes_the_fingerprint(tmp_path: Path):
    hpd(tmp_path / "hpdv3")
    before = hpdv3.load(path=tmp_path / "hpdv3").fingerprint()
    put(tmp_path / "hpdv3" / "images" / "7.jpg", jpeg(7))
    assert hpdv3.load(path=tmp_path / "hpdv3").fingerprint() != before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ('{"prompt": "x"}', "expected an array"),
        ("[1]", "object 0 is no object"),
        ('[{"prompt": "x"', "after object 0: not JSON"),
        ("[]", "lacks the columns 'prompt', 'path1'"),
        ('[{"prompt": "x", "path1": "a", "path2": "b"}]', "lacks the columns 'model1', 'model2'; it has: prompt, path1, path2"),
    ],
)
def test_a_table_that_is_not_hpdv3s_says_what_is_wrong(tmp_path: Path, text: str, said: str):
    put(tmp_path / "all.json", text)
    with pytest.raises(SourceError, match=said):
        hpdv3.load(path=tmp_path)


def test_a_long_array_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pairwright.sources._json.CHUNK", 7)
    hpd(tmp_path / "hpdv3")
    assert len(pairs(hpdv3.load(path=tmp_path / "hpdv3"))[0]) == 4
    put(tmp_path / "hpdv3" / "all.json", '[{"prompt": "x", "path1": "a", "path2": "b", "model1": "c", "model2": "d"} {}]')
    with pytest.raises(SourceError, match=r"after object 1: not JSON \(expected ',' or '\]' between objects, got '\{'\)"):
        hpdv3.load(path=tmp_path / "hpdv3").pair_count()


def test_hpdv2_reads_preferences_and_ranks(tmp_path: Path):
    for number in range(5):
        put(tmp_path / "train" / f"{number}.jpg", jpeg(number))
        put(tmp_path / "test" / f"{number}.jpg", jpeg(10 + number))
    train = [
        {"human_preference": [0, 1], "prompt": "one", "file_path": ["0.jpg", "1.jpg"]},
        {"human_preference": [1, 1], "prompt": "two", "file_path": ["2.jpg", "3.jpg"]},
        {"human_preference": [1, 0], "prompt": "three", "file_path": ["../test/0.jpg", "3.jpg"]},
        {"human_preference": [1], "prompt": "four", "file_path": ["0.jpg", "3.jpg"]},
    ]
    ranked = {"rank": [2, 0, 1, 1], "raw_annotations": [{"rank": [2, 0, 1, 1], "user_hash": "x"}]}
    put(tmp_path / "train.json", json.dumps(train))
    put(tmp_path / "test.json", json.dumps([{"prompt": "five", "image_path": [f"{n}.jpg" for n in range(4)], **ranked}]))
    found, rejected = pairs(hpdv2.load(path=tmp_path))
    assert ids(found) == [content(1, 0)]
    assert [each.step for each in rejected] == ["tie", "name", "missing"]
    assert ids(pairs(hpdv2.load(path=tmp_path, split="test"))[0]) == [content(11, 10)]
    every, ties = pairs(hpdv2.load(path=tmp_path, split="test", which="all"))
    assert ids(every) == [content(11, 10), content(12, 10), content(13, 10), content(11, 12), content(11, 13)]
    assert [each.step for each in ties] == ["tie"]
    with pytest.raises(SourceError, match=r"validation\.json is not there"):
        hpdv2.load(path=tmp_path, split="validation")


def rewarddb(rank: list[int], prompt_id: str, first: int) -> list[dict[str, Any]]:
    more = {"classification": "People", "image_amount_in_total": len(rank), "overall_rating": 5.0}
    ratings = {"image_text_alignment_rating": 4.0, "fidelity_rating": 6.0}
    return [
        {
            "image": {"bytes": jpeg(first + place), "path": f"{place}.webp"},
            "prompt_id": prompt_id,
            "prompt": f"prompt {prompt_id}",
            "rank": each,
            **more,
            **ratings,
        }
        for place, each in enumerate(rank)
    ]


def test_imagerewarddb_groups_pictures_by_prompt_even_where_they_lie_apart(tmp_path: Path):
    a, b, c = rewarddb([2, 1, 3], "a", 0), rewarddb([1, 1], "b", 10), rewarddb([1], "c", 20)
    parquet(tmp_path / "train-00000-of-00002.parquet", [a[0], *b, a[1]], group=2)
    parquet(tmp_path / "train-00001-of-00002.parquet", [*c, a[2]], group=2)
    found, rejected = pairs(imagerewarddb.load(path=tmp_path))
    assert ids(found) == [content(1, 2)]
    assert found[0].lineage["winner_rank"] == 1
    assert found[0].lineage["loser_overall_rating"] == 5.0
    assert [(each.id, each.step) for each in rejected] == [("prompt b", "tie"), ("prompt c", "label")]
    every, _ = pairs(imagerewarddb.load(path=tmp_path, which="all"))
    assert ids(every) == [content(1, 0), content(0, 2), content(1, 2)]
    without = parquet(tmp_path / "x.parquet", [{name: a[0][name] for name in ("image", "prompt_id", "prompt")}])
    with pytest.raises(SourceError, match="lacks the column 'rank'; it has: image, prompt_id, prompt"):
        imagerewarddb.load(path=without)


CAPTION = 'a "red", blue\nand gr\u00fcn \u96ea'


@pytest.mark.parametrize(
    ("better", "worse", "prompt"),
    [
        ("win_image_path", "lose_image_path", "caption"),
        ("real_image_path", "fake_image_path", "prompt"),
        ("chosen", "rejected", "text"),
    ],
)
def test_the_papers_csv_in_both_of_its_conventions_keeps_captions_as_they_are(tmp_path: Path, better: str, worse: str, prompt: str):
    put(tmp_path / "real" / "0.jpg", jpeg(0))
    put(tmp_path / "fake" / "0.jpg", jpeg(1))
    quoted = CAPTION.replace('"', '""')
    rows = f'real/0.jpg,fake/0.jpg,"{quoted}"\nreal/0.jpg,/etc/passwd,x\nreal/0.jpg,../../etc/passwd,x\nreal/0.jpg,fake/9.jpg,x\n'
    put(tmp_path / "pairs.csv", f"{better},{worse},{prompt}\n{rows}")
    source = csv.load(path=tmp_path / "pairs.csv")
    found, rejected = pairs(source)
    assert ids(found) == [content(0, 1)]
    assert found[0].prompt == CAPTION
    assert [each.step for each in rejected] == ["name", "name", "missing"]
    assert rejected[0].id == "pairs.csv:4"
    assert [each.id for each in pictures(source)[0]] == [content(0)]


def test_votes_and_scores_decide_and_contradict(tmp_path: Path):
    for number in range(4):
        put(tmp_path / f"{number}.jpg", jpeg(number))
    votes = (
        "prompt,image1,image2,votes_image1,votes_image2\na,0.jpg,1.jpg,3,9\nb,0.jpg,1.jpg,2,2\nc,2.jpg,3.jpg,5,1\nd,2.jpg,3.jpg,,\n"
    )
    put(tmp_path / "votes.csv", votes)
    found, rejected = pairs(csv.load(path=tmp_path / "votes.csv"))
    assert ids(found) == [content(1, 0), content(2, 3)]
    assert (found[0].lineage["winner_votes"], found[0].lineage["loser_votes"]) == (9.0, 3.0)
    assert [each.step for each in rejected] == ["tie", "label"]
    rows = [("0.jpg", "1.jpg", 2.5, 1.0), ("0.jpg", "1.jpg", 1.0, 2.0), ("2.jpg", "3.jpg", 1.0, 1.0)]
    names = ("img_win", "img_lose", "win_score", "lose_score")
    lines = [json.dumps({"prompt": "x", **dict(zip(names, row, strict=True))}) for row in rows]
    put(tmp_path / "scores.jsonl", "\n".join([*lines, json.dumps({"prompt": "x", "img_win": "0.jpg"})]))
    found, rejected = pairs(csv.load(path=tmp_path / "scores.jsonl"))
    assert found[0].lineage["gap"] == 1.5
    assert [each.step for each in rejected] == ["label", "tie", "missing"]
    assert rejected[0].reason == "win_score is below lose_score, so the winner is in doubt"


def test_a_table_that_holds_no_pairs_says_what_it_looked_for(tmp_path: Path):
    put(tmp_path / "x.csv", "prompt,image\na,0.jpg\n")
    with pytest.raises(SourceError, match=r"no two columns of pictures of a pair \(jpg_0/jpg_1, .*; it has: prompt, image"):
        csv.load(path=tmp_path / "x.csv")
    put(tmp_path / "y.csv", "image1,image2,votes_image1,prompt\n0.jpg,1.jpg,3,x\n")
    with pytest.raises(SourceError, match="lacks the column 'votes_image2'; it has: image1, image2, votes_image1, prompt"):
        csv.load(path=tmp_path / "y.csv")
    put(tmp_path / "z.csv", "chosen,rejected\n0.jpg,1.jpg\n")
    with pytest.raises(SourceError, match=r"no column of prompts \(prompt, caption, text\)"):
        csv.load(path=tmp_path / "z.csv")


def test_two_folders_pair_by_name_and_each_single_one_is_listed(tmp_path: Path):
    for name, number in {"w/a.jpg": 0, "l/a.png": 1, "w/b.jpg": 2, "l/c.jpg": 3, "w/d.jpg": 4, "l/d.jpg": 5}.items():
        put(tmp_path / name, jpeg(number))
    put(tmp_path / "w" / "a.txt", "a rose")
    source = winlose.load(path=tmp_path)
    found, rejected = pairs(source)
    assert ids(found) == [content(0, 1)]
    assert found[0].prompt == "a rose"
    assert [(each.id, each.step) for each in rejected] == [("w/b", "missing"), ("l/c", "missing"), ("w/d.jpg", "caption")]
    with pytest.raises(SourceError, match=r"losers is not a folder: expected w/ and losers/"):
        winlose.load(path=tmp_path, losers="losers")


@pytest.mark.parametrize("name", ["pickapic", "csv", "hpdv2", "hpdv3", "imagerewarddb", "winlose", "datasets"])
def test_every_source_of_pairs_is_found_by_its_name_and_misses_its_data(name: str, tmp_path: Path):
    with pytest.raises(SourceError, match=r"is not there|is not a folder"):
        plugins.load("sources", name, path=str(tmp_path / "nowhere"))


def test_what_is_read_is_the_pictures_as_they_were(tmp_path: Path):
    found, _ = pairs(pickapic.load(path=write_pickapic(tmp_path / "x.parquet", ROWS)))
    assert found[0].winner.data == jpeg(0)
    assert np.array_equal(found[0].loser.pixels, np.asarray(images.read(jpeg(1))))
