"""RichHF-18K as critic: labels and maps in words, joined with Pick-a-Pic by the picture's uid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pairwright import plugins, resolve, richhf
from pairwright.critics.richhf import phrases, where
from pairwright.options import Plugin
from pairwright.protocols import Critic, Source
from pairwright.records import Critique, Failed, Picture, Prompt, Rejected
from pairwright.richhf import RichHFError
from pairwright.sources._errors import SourceError
from pairwright.tfrecords import TFRecordError
from tests.miniatures import pictures
from tests.miniatures.preferences import BROKEN, jpeg, parquet, pickapic_row
from tests.miniatures.richhf import heat, row, write

UPPER_LEFT = heat(0.0, 0.3, 0.0, 0.3)
CENTRE = heat(0.35, 0.65, 0.35, 0.65)


def of(uid: str) -> Picture:
    return replace(pictures.picture(0), provenance={"uid": uid})


def critic(path: Path, **options: object) -> Critic:
    found: Critic = plugins.load("critics", "richhf", labels=path, **options)
    return found


def test_words_and_places_are_said_and_maps_handed_on(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tfrecord", [row("a", "1 0 0 1 0", CENTRE, UPPER_LEFT)])
    (found,) = critic(path).critique([of("a")], [Prompt('a blue rose, "and" two.')])
    assert isinstance(found, Critique)
    assert found.text == (
        'The picture does not match these words of the prompt: "blue rose", "two". What does not match is in the upper left. '
        "Something is distorted or implausible in the centre."
    )
    assert sorted(found.maps) == ["artifact", "misalignment"]
    heat_map = found.maps["misalignment"]
    assert heat_map.dtype == np.float32
    assert heat_map.shape == (48, 48)
    assert (heat_map[:14, :14].min(), heat_map[20:, 20:].max()) == (1, 0)
    assert found.made_by == {"critic": "richhf", "template": "richhf-1"}


def test_a_picture_without_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tfrecord", [row("a", "1 1"), row("b", "1 1", artifact=heat(0.5, 0.52, 0.5, 0.52))])
    found = critic(path, least_pixels=200).critique([of("a"), of("b")], [Prompt("two horses")] * 2)
    assert [each.text for each in found if isinstance(each, Critique)] == ["nothing to change"] * 2
    (small,) = critic(path).critique([of("b")], [Prompt("two horses")])
    assert isinstance(small, Critique)
    assert small.text == "Something is distorted or implausible in the centre."


def test_what_has_no_feedback_says_why(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tfrecord", [row("a", "1 1"), row("b", "1 1", artifact=b"no picture")])
    asked = [of("a"), of("c"), pictures.picture(1), of("b")]
    found = critic(path).critique(asked, [Prompt("a horse with two riders"), *[Prompt("two horses")] * 3])
    assert all(isinstance(each, Failed) for each in found)
    reasons = [each.reason for each in found if isinstance(each, Failed)]
    assert reasons[0] == "RichHF-18K has labels for 2 words, the prompt has 5: it is another prompt"
    assert reasons[1] == "RichHF-18K says nothing of this picture"
    assert "does not say which of Pick-a-Pic's it is" in reasons[2]
    assert reasons[3].startswith("a heat map cannot be decoded: not recognised")


def test_words_are_split_as_the_authors_do() -> None:
    text = "RichHF-18K: a dataset for rich human feedback on generative images."
    assert richhf.words(text) == ["RichHF-18K", "a", "dataset", "for", "rich", "human", "feedback", "on", "generative", "images"]
    assert richhf.words(' "one";;two?! ') == ["one", "two"]
    assert phrases(["a", "b", "c", "d"], [False, False, True, False]) == ["a b", "d"]
    assert phrases(["a"], [True]) == []


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([(0, 1, 0, 1)], "in the upper left"),
        ([(0, 1, 1, 2)], "at the top"),
        ([(2, 3, 2, 3), (1, 2, 1, 2)], "in the centre and in the lower right"),
        ([(1, 2, 0, 1), (1, 2, 1, 2), (1, 2, 2, 3)], "on the left, in the centre and on the right"),
        ([(0, 3, 0, 2)], "in most of the picture"),
        ([], ""),
    ],
)
def test_places_in_words(spans: list[tuple[int, int, int, int]], said: str) -> None:
    marked = np.zeros((90, 60), dtype=bool)
    for top, bottom, left, right in spans:
        marked[top * 30 : bottom * 30, left * 20 : right * 20] = True
    assert where(marked) == said


def test_a_folder_is_read_whole_and_damage_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.tfrecord", [row("a", "0 1")])
    path = write(tmp_path / "dev.tfrecord", [row("b", "1 0")])
    found = critic(tmp_path).critique([of("a"), of("b")], [Prompt("two horses")] * 2)
    assert [each.text[-8:] for each in found if isinstance(each, Critique)] == [': "two".', 'horses".']
    broken = bytearray(path.read_bytes())
    broken[len(broken) // 2] ^= 4
    path.write_bytes(broken)
    with pytest.raises(TFRecordError, match=r"dev\.tfrecord, byte 0: the record's checksum does not fit"):
        critic(tmp_path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RichHFError, match=r"no folder with \*\.tfrecord"):
        critic(tmp_path)
    path = write(tmp_path / "x.tfrecord", [row("a", "0 2")])
    with pytest.raises(RichHFError, match="not made of 0 and 1: '0 2'"):
        critic(path)
    write(path, [row("a", "0 1", overall_score="high")])
    with pytest.raises(RichHFError, match="the field 'overall_score' is not there once as float; the record has: aesthetics_score"):
        critic(path)
    with pytest.raises(plugins.PluginError, match="threshold"):
        critic(write(path, [row("a", "0 1")]), threshold=0.0)


def test_labels_stand_in_a_fingerprint_by_their_content(tmp_path: Path) -> None:
    def meaning(path: Path) -> object:
        return resolve.meaning("critics", Plugin(name="richhf", options={"labels": str(path)}))["options"]["labels"]

    one, same = (write(tmp_path / name / "x.tfrecord", [row("a", "0 1")]) for name in "12")
    other = write(tmp_path / "3" / "x.tfrecord", [row("a", "1 1")])
    assert meaning(one) == meaning(same) != meaning(other)
    assert meaning(one.parent) == meaning(same.parent) != meaning(other.parent)


def source(tmp_path: Path, labels: list[bytes], rows: list[dict[str, object]], **options: object) -> Source:
    write(tmp_path / "richhf" / "train.tfrecord", labels)
    parquet(tmp_path / "pickapic" / "train-00000-of-00001.parquet", rows)
    found: Source = plugins.load("sources", "richhf", path=tmp_path / "richhf", pickapic=tmp_path / "pickapic", **options)
    return found


def test_pictures_are_joined_by_their_uid_and_what_is_not_there_is_said(tmp_path: Path) -> None:
    rows = [pickapic_row(number, 1.0) for number in range(6)]
    rows[4]["jpg_0"] = BROKEN
    rows[5]["image_0_uid"] = "uid-3"  # a picture may stand in several pairs
    labels = [row(uid, "1 0") for uid in ("uid-9", "uid-3", "lost", "uid-8", "uid-0")]
    found = source(tmp_path, labels, rows)
    assert isinstance(found, Source)
    assert len(found) == 5
    items = list(found)
    kept = [each for each in items if isinstance(each, Picture)]
    assert [each.provenance["uid"] for each in kept] == ["uid-0", "uid-3", "uid-9"]
    assert [each.caption for each in kept] == ["prompt 0", "prompt 1", "prompt 4"]
    assert [each.data for each in kept] == [jpeg(0), jpeg(3), jpeg(9)]
    left = [(each.id, each.step) for each in items if isinstance(each, Rejected)]
    assert left == [("train/uid-8.png", "decode"), ("train/lost.png", "unmatched")]
    critiques = critic(tmp_path / "richhf").critique(kept, [Prompt(each.caption) for each in kept])
    assert [each.text for each in critiques if isinstance(each, Critique)] == [
        f'The picture does not match these words of the prompt: "{number}".' for number in (0, 1, 4)
    ]


def test_long_stretches_are_not_read_and_the_limit_counts_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairwright.sources import richhf as module

    monkeypatch.setattr(module, "AHEAD", 3)
    rows = [pickapic_row(number, 1.0) for number in range(30)]
    labels = [row(f"uid-{number}", "1 0") for number in (51, 2, 3, 20, 59)]
    found = source(tmp_path, labels, rows)
    assert [each.caption for each in found if isinstance(each, Picture)] == [f"prompt {n}" for n in (1, 1, 10, 25, 29)]
    few = source(tmp_path, labels, rows, limit=2)
    assert [each.caption for each in few if isinstance(each, Picture)] == ["prompt 1", "prompt 25"]
    assert few.fingerprint() != found.fingerprint()


def test_a_table_without_uids_is_refused(tmp_path: Path) -> None:
    rows = [{name: value for name, value in pickapic_row(0, 1.0).items() if name != "image_1_uid"}]
    with pytest.raises(SourceError, match="lacks the column 'image_1_uid'"):
        source(tmp_path, [row("a", "1")], rows)
