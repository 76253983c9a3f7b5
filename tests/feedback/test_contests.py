"""Editors compared: who wins, what is left out, both orders, a kill in the middle; the table over runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pairwright import cli, recipe, run, tables
from pairwright.context import Context
from pairwright.feedback import FeedbackError, editors, feedback
from pairwright.options import Editors, Feedback
from pairwright.records import Prompt, TwoEdits
from pairwright.report.rich import rich
from pairwright.rewards import openai
from pairwright.store import Node, Store
from tests.fakes import commands, faults, redder, tint
from tests.fakes.server import Reply, serving
from tests.miniatures import made_pairs, pictures

PLAIN: dict[str, Any] = {
    "critic": "tests.fakes.faults", "instructor": "tests.fakes.commands", "editor": "tests.fakes.tint", "reward": "tests.fakes.red",
}  # fmt: skip
STRONG = {"editor": {"name": "tests.fakes.tint", "by": 60}}
JUDGE = {"judge": "tests.fakes.redder", "resamples": 200}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    for each in (faults.SEEN, commands.HEARD, tint.TOLD, redder.ASKED):
        each.clear()


def steps(root: Path, **named: dict[str, Any]) -> dict[str, Node]:
    store = Store(root)
    source = made_pairs.write(store, 40)
    return {
        name: feedback(Feedback.model_validate({**PLAIN, **changes}), Context(store, {"pairs": source}))
        for name, changes in named.items()
    }


def judged(root: Path, made: dict[str, Node], **options: Any) -> Node:
    return editors(Editors.model_validate({**JUDGE, **options}), Context(Store(root), made))


def test_the_judge_sees_both_orders_and_every_picture_that_both_have_edited(tmp_path: Path) -> None:
    made = steps(tmp_path, weak={}, strong=STRONG)
    node = judged(tmp_path, made)
    rows = list(node.rows())
    lineages: dict[str, Any] = {pair.id: pair.lineage for pair in tables.pairs(made["weak"])}
    edited = {name: lineage["edit"]["change"] for name, lineage in lineages.items()}
    (met,) = node.summary["contests"]
    assert (met["first"], met["second"]) == ("weak", "strong")
    assert met["left_out"] == {"edited by one alone": 0, "by another instruction": 0}
    assert len(redder.ASKED) == 2 * len(rows)
    for row in rows:
        if edited.get(row["id"], 0) > 0:
            assert row["winner"] == "second", "more red was added"
        if edited.get(row["id"], 0) < 0:
            assert row["winner"] == "first"
    won = Counter(row["winner"] for row in rows)
    assert (met["won"], met["lost"], met["undecided"]) == (won["first"], won["second"], won["undecided"])
    assert min(met["won"], met["lost"], met["undecided"]) > 0, "unchanged edits are equal, and the order decides nothing"
    strong = node.summary["editors"]["strong"]
    assert (strong["won"], strong["lost"], strong["editor"]) == (met["lost"], met["won"], "tests.fakes.tint")
    assert strong["share"] == pytest.approx(1 - met["share"])
    assert met["low"] < met["share"] < met["high"]


def test_a_judge_that_looks_at_the_order_decides_nothing(tmp_path: Path) -> None:
    node = judged(tmp_path, steps(tmp_path, weak={}, strong=STRONG), judge={"name": "tests.fakes.redder", "biased": 300})
    assert {row["winner"] for row in node.rows()} == {"undecided"}
    assert node.summary["editors"]["weak"]["share"] == 0.5


def test_with_and_without_the_prompt_share_critiques_and_instructions(tmp_path: Path) -> None:
    made = steps(tmp_path, both={}, alone={"with_prompt": False}, strong=STRONG)
    assert len(faults.SEEN) == 40
    node = judged(tmp_path, made, limit=10)
    assert Counter((row["first"], row["second"]) for row in node.rows()) == {
        ("both", "alone"): 10, ("both", "strong"): 10, ("alone", "strong"): 10,
    }  # fmt: skip
    assert [each["with_prompt"] for each in node.summary["editors"].values()] == [True, False, True]
    assert {edit.caption for edit in tint.TOLD[40:] if not edit.caption} == {""}


def test_what_was_told_another_thing_is_not_compared(tmp_path: Path) -> None:
    made = steps(tmp_path, two={}, one={"critic": False})
    with pytest.raises(FeedbackError, match=r"no picture in common .* by another instruction"):
        judged(tmp_path, made)
    with pytest.raises(FeedbackError, match="at least two feedback steps, and 'from' names 1"):
        judged(tmp_path, {"two": made["two"]})


def test_a_killed_comparison_goes_on_at_its_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = steps(tmp_path, weak={}, strong=STRONG, alone={"with_prompt": False})
    true = redder.RedderEdit.judge_edits

    def mortal(self: Any, asked: Any) -> Any:
        if len(redder.ASKED) >= 70:
            raise KeyboardInterrupt
        return true(self, asked)

    monkeypatch.setattr(redder.RedderEdit, "judge_edits", mortal)
    with pytest.raises(KeyboardInterrupt):
        judged(tmp_path, made)
    before = len(redder.ASKED)
    monkeypatch.setattr(redder.RedderEdit, "judge_edits", true)
    node = judged(tmp_path, made)
    rows = list(node.rows())
    assert len(redder.ASKED) < before + 2 * len(rows)
    assert len({(row["id"], row["first"], row["second"]) for row in rows}) == len(rows) > 44


def test_a_server_is_shown_the_original_first_and_the_instruction_as_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(tmp_path))
    original, a, b = (pictures.picture(number, 32, 32) for number in range(3))
    replies = ['{"reason": "x", "better": "second"}', "Better: first", "no idea"]

    def model(body: dict[str, Any], number: int) -> Reply:
        text = body["messages"][1]["content"][-1]["text"]
        return Reply(replies[int(text.partition("add red ")[2][0])])

    with serving(model) as running:
        judge = openai.edit_judge(served_model="m", server=running.address)
        said = judge.judge_edits(
            [TwoEdits(original, Prompt('a "rose" {instruction}'), f"add red {number}\nor blue", a, b) for number in range(3)]
        )
    assert said == ["b", "a", "undecided"]
    content = running.seen[0]["messages"][1]["content"]
    assert [part["type"] for part in content] == ["image_url"] * 3 + ["text"]
    assert 'as a JSON string: "a \\"rose\\" {instruction}"' in content[-1]["text"]
    assert "\\nor blue" in content[-1]["text"]


RUN = """
name = "figure"

[step.human]
verb = "import"
source = { name = "winlose", path = "HUMAN" }
resolution = 32

[step.rich]
verb = "feedback"
from = ["human"]
critic = "tests.fakes.faults"
instructor = "tests.fakes.commands"
editor = "tests.fakes.tint"
reward = "tests.fakes.red"

[sweep.critic]
two = {}
one = { "rich.critic" = false }
"""


def test_a_sweep_ends_in_one_table_of_critics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(24):
        for side in ("w", "l"):
            place = tmp_path / "human" / side / f"{number:02d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            made_pairs.scene(2 * number + (side == "w")).save(place)
            place.with_suffix(".txt").write_text(f"scene {number}")
    path = tmp_path / "figure.toml"
    path.write_text(RUN.replace("HUMAN", str(tmp_path / "human")))
    cli.call(["run", str(path), "--root", str(tmp_path / "runs")])
    said = capsys.readouterr().out
    rows = (tmp_path / "runs" / "figure" / "edits.md").read_text().splitlines()[2:]
    assert len(rows) == 2
    assert all(row in said for row in rows)
    assert "none (one step)" in rows[1]
    node = run.result(tmp_path / "runs" / recipe.load(path)[0].name, "rich")
    assert f"| {node.summary['edited_won']} | {node.summary['flips']} |" in rows[0]
    head, *table = (tmp_path / "runs" / "figure" / "edits.csv").read_text().splitlines()
    assert head.split(",")[-3:] == [f"tests.fakes.red_{each}" for each in ("pictures", "original", "edited")]
    means = node.summary["means"]["tests.fakes.red"]
    assert table[0].split(",")[-3:] == [str(means[each]) for each in ("pictures", "original", "edited")], "in full precision"
    assert len(table) == 2
    page = (tmp_path / "runs" / recipe.load(path)[0].name / "report.html").read_text()
    assert "Rich feedback" in page


def test_a_table_needs_a_finished_step() -> None:
    assert rich([("a", {}, {})]) is None
    summary = {
        "critic": None, "instructor": "i", "editor": "e", "with_prompt": False, "kept": 0, "edited_won": 0, "flips": 0, "ties": 3,
        "share_won": None, "means": {"red": {"original": None, "edited": None}},
    }  # fmt: skip
    options = {"critic": None, "instructor": {"name": "i", "options": {"served_model": "m", "template": "t"}}}
    found = rich([("a", options, summary)])
    assert found is not None
    assert found.rows == (("a", "none (one step)", "i (m, t)", "e", "instruction", "0", "0", "0", "3", "-", "-"),)
