"""Pictures to improve straight from a source: sides of pairs, found pictures, what they keep, and what is not read twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pairwright import plan, recipe, run, tables
from pairwright.context import Context
from pairwright.feedback import FeedbackError, feedback
from pairwright.options import Feedback
from pairwright.store import Node, Store
from tests.miniatures import made_pairs
from tests.miniatures.preferences import BROKEN, parquet, pickapic_row
from tests.miniatures.richhf import row, write

PLAIN: dict[str, Any] = {
    "critic": "tests.fakes.faults", "instructor": "tests.fakes.commands", "editor": "tests.fakes.tint", "reward": "tests.fakes.red",
    "resolution": 32,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seventy preferences, two shards: the first picture wins where the number is even; one tie, one that cannot be decoded."""
    rows = [pickapic_row(number, float(number % 2 == 0)) for number in range(70)]
    rows[7] = pickapic_row(7, 0.5)
    rows[9]["jpg_1"] = BROKEN
    parquet(tmp_path / "pickapic" / "train-00000-of-00001.parquet", rows)
    return tmp_path / "pickapic"


def made(root: Path, folder: Path, **changes: Any) -> Node:
    source = {"name": "pickapic", "path": str(folder)}
    return feedback(Feedback.model_validate({**PLAIN, "source": source, **changes}), Context(Store(root)))


def uids(node: Node, root: Path) -> dict[str, str]:
    """Prompt -> uid of the picture that was to be improved."""
    kept = Store(root).open("originals", node.summary["pictures"]["fingerprint"])
    return {each.caption: each.provenance["uid"] for each in tables.pictures(kept)}


def test_winners_or_losers_of_pairs_are_improved_and_nothing_is_imported(tmp_path: Path, folder: Path) -> None:
    won, lost = made(tmp_path, folder), made(tmp_path, folder, side="loser")
    winners, losers = uids(won, tmp_path), uids(lost, tmp_path)
    assert {text: int(uid.partition("-")[2]) for text, uid in winners.items()} == {
        f"prompt {number}": 2 * number + number % 2 for number in range(70) if number not in {7, 9}
    }
    assert all(winners[text] != losers[text] for text in winners)
    assert won.summary["funnel"][0]["entered"] == 70
    lost_there = {each["id"].rpartition(":")[2] for each in won.rows("rejected") if "parquet" in each["id"]}
    assert lost_there == {"7", "9"}
    lineage: dict[str, Any] = dict(next(tables.pairs(won)).lineage)
    assert set(lineage["original"]) == {"picture"}
    assert not list((tmp_path / "store").glob("import*"))


def test_another_critic_reads_no_picture_again_and_a_kill_costs_a_shard(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = Node.write
    read: list[int] = []

    def mortal(self: Node, index: int, *args: Any, **named: Any) -> None:
        if self.verb == "originals":
            if index == 1 and len(read) == 2:
                read.append(index)
                raise KeyboardInterrupt
            read.append(index)
        true(self, index, *args, **named)

    monkeypatch.setattr(Node, "write", mortal)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, folder)
    node = made(tmp_path, folder)
    assert read == [0, 0, 1, 1, 1], "rejected and data of each shard, the second one once more"
    made(tmp_path, folder, critic=False)
    assert len(read) == 5
    assert len(uids(node, tmp_path)) == 68


def test_pictures_with_rich_feedback_reach_their_critic(tmp_path: Path, folder: Path) -> None:
    labels = [row(f"uid-{number}", "1 0") for number in (2, 5, 12)]
    write(tmp_path / "richhf" / "train.tfrecord", [*labels, row("lost", "0 1")])
    node = feedback(
        Feedback.model_validate(
            {
                **PLAIN,
                "source": {"name": "richhf", "path": str(tmp_path / "richhf"), "pickapic": str(folder)},
                "critic": {"name": "richhf", "labels": str(tmp_path / "richhf")},
            }
        ),
        Context(Store(tmp_path)),
    )
    steps = {each["step"]: each for each in node.summary["funnel"]}
    assert (steps["read"]["entered"], steps["read"]["left"]) == (4, 1)
    assert steps["critique"]["left"] == 0
    assert [each["id"] for each in node.rows("rejected") if each["step"] == "unmatched"] == ["train/lost.png"]


def test_small_pictures_and_those_without_words_are_left_out(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FeedbackError, match="holds no picture to improve"):
        made(tmp_path, folder, resolution=512)
    (tmp_path / "photos").mkdir()
    for number in range(12):
        made_pairs.scene(number).save(tmp_path / "photos" / f"{number:02d}.png")
        (tmp_path / "photos" / f"{number:02d}.txt").write_text(f"rose {number}" if number else "")
    source = {"name": "imagefolder", "path": str(tmp_path / "photos"), "uncaptioned": True}
    node = feedback(Feedback.model_validate({**PLAIN, "source": source}), Context(Store(tmp_path)))
    assert node.summary["funnel"][0]["entered"] == 12
    assert [each["reason"] for each in node.rows("rejected") if each["step"] == "read"] == [
        "it has no caption, so that nobody knows what it should show"
    ]
    kept = Store(tmp_path).open("originals", node.summary["pictures"]["fingerprint"])
    assert [each.caption for each in tables.pictures(kept)] == [f"rose {number}" for number in range(1, 12)]
    assert {each.image.size for each in tables.pictures(kept)} == {(32, 32)}


RECIPE = """
name = "direct"

[step.rich]
verb = "feedback"
source = { name = "pickapic", path = "FOLDER" }
resolution = 32
critic = "tests.fakes.faults"
instructor = "tests.fakes.commands"
editor = "tests.fakes.tint"
reward = "tests.fakes.red"
"""


def test_a_recipe_of_one_step_is_planned_and_run(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "direct.toml"
    path.write_text(RECIPE.replace("FOLDER", str(folder)))
    (found,) = recipe.load(path)
    assert "at most 70 pictures" in plan.plan(found, tmp_path / "runs")
    run.run(found, tmp_path / "runs")
    assert run.result(tmp_path / "runs" / "direct", "rich").summary["kept"] > 10
