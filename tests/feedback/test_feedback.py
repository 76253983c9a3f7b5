"""Rich feedback: who wins, what is lost and why, what is asked again, and what a pair tells of its making."""

from __future__ import annotations

import json
import re
import weakref
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

from pairwright import plan, recipe, resolve, tables
from pairwright.context import Context
from pairwright.feedback import FeedbackError, feedback
from pairwright.feedback.originals import Originals
from pairwright.options import Feedback, Plugin
from pairwright.plugins import PluginError
from pairwright.records import Critique
from pairwright.store import Node, Store
from tests.fakes import commands, faults, redder, tint
from tests.feedback.made import COUNT, PLAIN, made
from tests.miniatures import made_pairs
from tests.miniatures.preferences import pickapic, pickapic_row


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    for each in (faults.SEEN, commands.HEARD, tint.TOLD, redder.ASKED):
        each.clear()
    yield
    faults.DIES_AFTER[0] = tint.DIES_AFTER[0] = 10**9


def lineages(node: Node) -> list[dict[str, Any]]:
    return [json.loads(row["lineage"]) for row in node.rows(columns=["lineage"])]


def red(picture: Any) -> float:
    return float(picture.pixels[..., 0].mean()) / 255


def test_every_picture_is_a_pair_or_left_with_its_reason(tmp_path: Path) -> None:
    node = made(tmp_path)
    rejected = list(node.rows("rejected"))
    assert node.summary["kept"] + len(rejected) == COUNT
    assert {row["step"]: row["reason"] for row in rejected} == {
        "critique": "cannot see", "instruct": "nothing to change", "edit": "no paint", "tie": "equal scores",
    }  # fmt: skip
    steps = node.summary["funnel"]
    assert [each["step"] for each in steps] == ["read", "critique", "instruct", "edit", "label", "tie"]
    assert all(after["entered"] == before["entered"] - before["left"] for before, after in pairwise(steps))
    assert steps[-1]["entered"] - steps[-1]["left"] == node.summary["kept"] == len(lineages(node))
    assert len(tint.TOLD) == steps[3]["entered"], "what failed before costs no edit"


def test_the_higher_score_wins_and_flips_are_kept_and_counted(tmp_path: Path) -> None:
    node = made(tmp_path)
    pairs = list(tables.pairs(node))
    won = Counter(pair.lineage["edited_won"] for pair in pairs)
    assert (won[True], won[False]) == (node.summary["edited_won"], node.summary["flips"])
    assert min(won.values()) > 3
    assert {each["original"]["side"] for each in lineages(node)} == {"winner"}
    assert node.summary["share_won"] == won[True] / len(pairs)
    for pair in pairs:
        assert red(pair.winner) > red(pair.loser)
        assert pair.lineage["winner_score"] == pytest.approx(red(pair.winner), abs=1e-6)
        assert pair.lineage["gap"] == pytest.approx(red(pair.winner) - red(pair.loser), abs=1e-6)
        original = pair.loser if pair.lineage["edited_won"] else pair.winner
        assert original.id.startswith("w")
    only = made(tmp_path, flips=False)
    assert only.summary["kept"] == won[True]
    assert Counter(row["step"] for row in only.rows("rejected"))["flip"] == won[False]


def test_a_pair_says_how_it_was_made(tmp_path: Path) -> None:
    one = lineages(made(tmp_path))[0]
    assert one["critique"].endswith("is too pale")
    assert one["critique_by"] == {"critic": "faults", "template": "t-1"}
    assert (one["instruction"], one["instruction_by"]["template"]) == ("add red", "i-1")
    assert one["perturbation"] == resolve.meaning("perturbations", Plugin(name="tests.fakes.tint"))
    assert abs(one["edit"]["change"]) == 30
    assert one["labelled_by"] == one["gap_reward"] == "tests.fakes.red"
    assert isinstance(one["seed"], int)


def test_scores_that_hardly_differ_are_ties_where_that_is_asked_for(tmp_path: Path) -> None:
    plain, wide = made(tmp_path), made(tmp_path, tie=0.112)
    gaps = [each["gap"] for each in lineages(plain)]
    assert wide.summary["kept"] == sum(gap > 0.112 for gap in gaps) < len(gaps)
    assert wide.summary["ties"] == plain.summary["ties"] + len(gaps) - wide.summary["kept"]
    assert {row["reason"] for row in wide.rows("rejected") if row["step"] == "tie"} == {"scores differ by no more than 0.112"}


def test_in_one_step_the_instructor_is_asked_without_a_critique(tmp_path: Path) -> None:
    node = made(tmp_path, critic=False)
    assert commands.HEARD == [None] * COUNT
    assert faults.SEEN == []
    one = lineages(node)[0]
    assert (one["critic"], one["critique"], one["instruction"]) == (None, None, "add much red")
    assert node.summary["critic"] is None


def test_heat_maps_reach_the_instructor_through_the_store(tmp_path: Path) -> None:
    made(tmp_path)
    with_maps = [each for each in commands.HEARD if isinstance(each, Critique) and each.maps]
    assert len(with_maps) > 10
    assert all(np.allclose(each.maps["artifact"], 0.6) and each.maps["artifact"].shape == (40, 40) for each in with_maps)


def test_editors_are_told_prompt_and_instruction_apart_or_in_one_text(tmp_path: Path) -> None:
    told = {}
    asked: dict[str, dict[str, Any]] = {
        "both": {},
        "instruction": {"with_prompt": False},
        "text": {"editor": "tests.fakes.deaf"},
        "bare": {"editor": "tests.fakes.deaf", "with_prompt": False},
    }
    for name, changes in asked.items():
        tint.TOLD.clear()
        made(tmp_path, 5, **changes)
        told[name] = {(re.sub(r"\d+", "N", each.caption), each.instruction) for each in tint.TOLD}
    assert told["both"] == {("a scene with the number N", "add red")}
    assert told["instruction"] == {("", "add red")}
    assert told["text"] == {("a scene with the number N, add red", "add red")}
    assert told["bare"] == {("add red", "add red")}


def test_a_rerun_asks_nothing_and_another_editor_asks_no_critic_again(tmp_path: Path) -> None:
    first = made(tmp_path)
    asked, told = len(faults.SEEN), len(tint.TOLD)
    assert made(tmp_path).fingerprint == first.fingerprint
    assert (len(faults.SEEN), len(tint.TOLD)) == (asked, told)
    made(tmp_path, editor={"name": "tests.fakes.tint", "by": 60})
    assert (len(faults.SEEN), len(tint.TOLD)) == (asked, 2 * told)
    made(tmp_path, tie=0.02, flips=False)
    assert (len(faults.SEEN), len(tint.TOLD)) == (asked, 2 * told), "another rule edits nothing"


@pytest.mark.parametrize(("who", "after"), [(faults, 36), (tint, 3)])
def test_a_killed_run_goes_on_at_its_shard_and_ends_the_same(tmp_path: Path, who: Any, after: int) -> None:
    whole = made(tmp_path / "whole")
    calls = faults.SEEN if who is faults else tint.TOLD
    wanted = len(calls)
    calls.clear()
    who.DIES_AFTER[0] = after
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "cut")
    who.DIES_AFTER[0] = 10**9
    again = made(tmp_path / "cut")
    assert again.fingerprint == whole.fingerprint
    assert [shard.read_bytes() for shard in again.shards()] == [shard.read_bytes() for shard in whole.shards()]
    assert len(calls) - wanted < 32, "at most one shard is done twice"


def test_a_judge_is_asked_in_both_orders_and_disagreement_is_a_tie(tmp_path: Path) -> None:
    by_reward = made(tmp_path)
    node = made(tmp_path, judge="tests.fakes.redder", reward=False)
    assert len(redder.ASKED) == 2 * sum(node.summary[each] for each in ("edited_won", "flips", "ties"))
    assert set(redder.ASKED) == {(b, a) for a, b in redder.ASKED}
    same = ("kept", "edited_won", "flips", "ties")
    assert [node.summary[each] for each in same] == [by_reward.summary[each] for each in same]
    one = lineages(node)[0]
    assert (one["labelled_by"], one["gap"], one["winner_score"]) == ("tests.fakes.redder", None, None)
    with pytest.raises(FeedbackError, match=r"no pair is left: .* dropped at tie \(\d+ x neither is better in both orders"):
        made(tmp_path, judge={"name": "tests.fakes.redder", "biased": 200.0}, reward=False)


def test_one_label_is_given_and_a_judge_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either a reward or a judge"):
        made(tmp_path, judge="tests.fakes.redder", reward="tests.fakes.red")
    with pytest.raises(ValueError, match="either a reward or a judge"):
        made(tmp_path, reward=False)
    with pytest.raises((PluginError, ValueError), match=r"rewards/colorfulness has no function 'judge'\. These have: openai"):
        made(tmp_path, judge="colorfulness", reward=False)


def test_further_measures_give_the_means_of_both_sides_and_decide_nothing(tmp_path: Path) -> None:
    plain = made(tmp_path)
    node = made(tmp_path, measures=["texture", "tests.fakes.red"])
    assert [row["id"] for row in node.rows()] == [row["id"] for row in plain.rows()]
    means = node.summary["means"]
    assert set(means) == {"tests.fakes.red", "texture"}, "the same reward is not scored twice"
    assert means["tests.fakes.red"]["pictures"] == sum(node.summary[each] for each in ("edited_won", "flips", "ties"))
    judged = made(tmp_path, judge="tests.fakes.redder", reward=False, measures=["tests.fakes.red"])
    assert judged.summary["means"]["tests.fakes.red"] == means["tests.fakes.red"]
    gained = sum((1 if each["edited_won"] else -1) * each["gap"] for each in lineages(node))
    total = means["tests.fakes.red"]["pictures"] * (means["tests.fakes.red"]["edited"] - means["tests.fakes.red"]["original"])
    assert gained == pytest.approx(total)


def test_losers_and_a_limited_choice_can_be_improved(tmp_path: Path) -> None:
    node = made(tmp_path, side="loser", limit=20)
    assert len(faults.SEEN) == 20
    assert all(name.startswith("l") for name in faults.SEEN)
    assert node.summary["funnel"][0]["entered"] == 20
    assert {each["original"]["side"] for each in lineages(node)} == {"loser"}


def test_a_picture_that_is_in_two_pairs_of_one_prompt_is_improved_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    node = store.node("curate", {"twice": 1})
    rows = list(made_pairs.write(store, 12).rows())
    node.write(
        0, [{**row, "id": f"again{place}"} if place else row for place, row in enumerate([*rows, rows[3], rows[4]])], tables.PAIRS
    )
    node.finish()
    found = feedback(Feedback.model_validate(PLAIN), Context(store, {"pairs": node}))
    assert found.summary["funnel"][0] == {
        "step": "read", "entered": 14, "left": 2, "reasons": {"the same picture and prompt as an earlier one": 2},
    }  # fmt: skip
    assert len(faults.SEEN) == 12


@pytest.mark.parametrize("side", ["winner", "loser"])
def test_critics_are_told_what_is_known_of_a_picture(side: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    pairs = made_pairs.write(store, 3, lineage=lambda number: {"winner_uid": f"w-{number}", "loser_uid": f"l-{number}", "gap": 1})
    originals = Originals.of(Feedback.model_validate({**PLAIN, "side": side}), Context(store, {"pairs": pairs}))
    assert [dict(each.provenance) for each in originals.shard(0).read()] == [{"uid": f"{side[0]}-{n}"} for n in range(3)]


def test_an_edit_of_another_size_is_no_edit(tmp_path: Path) -> None:
    with pytest.raises(FeedbackError, match="the editor returned 8 x 8 pixels for 40 x 40"):
        made(tmp_path, 6, editor={"name": "tests.fakes.tint", "smaller": True})
    (left,) = (node for node in Store(tmp_path).nodes() if node.verb == "feedback")
    assert len(list(left.rows("rejected"))) == 6, "who left is wanted most where nobody is left"


def generated(store: Store, labels: tuple[str, ...]) -> Node:
    listed: dict[str, str] = {}
    for label in labels:
        child = store.node("pictures", {"label": label})
        rows = []
        for number in range(8):
            data = made_pairs.png(made_pairs.scene(number + 100 * len(listed)))
            rows.append({
                "id": f"{label}{number}", "image": tables.image_cell(data, "x"), "caption": f"prompt {number}",
                "prompt_id": "", "category": "", "index": 0, "width": 40, "height": 40, "provenance": "{}",
            })  # fmt: skip
        child.write(0, rows, tables.GENERATED)
        child.finish()
        listed[label] = child.fingerprint
    node = store.node("generate", {"labels": list(labels)})
    (node.path / "models.json").write_text(json.dumps(listed))
    node.finish()
    return node


def test_a_models_own_samples_can_be_improved(tmp_path: Path) -> None:
    store = Store(tmp_path)
    inputs = {"pictures": generated(store, ("base", "aligned"))}
    with pytest.raises(FeedbackError, match=r"several models; say which with model\. There are: base, aligned"):
        feedback(Feedback.model_validate(PLAIN), Context(store, inputs))
    with pytest.raises(FeedbackError, match=r"has no model 'bass'\. Did you mean 'base'"):
        feedback(Feedback.model_validate({**PLAIN, "model": "bass"}), Context(store, inputs))
    node = feedback(Feedback.model_validate({**PLAIN, "model": "aligned"}), Context(store, inputs))
    assert all(each["original"]["picture"].startswith("aligned") for each in lineages(node))
    both = {**inputs, "pairs": made_pairs.write(store, 3)}
    with pytest.raises(FeedbackError, match=r"several of its inputs have them \(pictures, pairs\)"):
        feedback(Feedback.model_validate({**PLAIN, "model": "base"}), Context(store, both))
    with pytest.raises(FeedbackError, match="none of its inputs has any"):
        feedback(Feedback.model_validate(PLAIN), Context(store))


def test_a_vetoed_pair_leaves_with_its_reason(tmp_path: Path) -> None:
    first = next(made(tmp_path).rows())["id"]
    node = made(tmp_path, vetoed={first: "blurred"})
    assert first not in [row["id"] for row in node.rows()]
    assert [row["reason"] for row in node.rows("rejected") if row["step"] == "veto"] == ["vetoed: blurred"]


def test_a_recipe_may_improve_pairs_and_train_on_what_came_of_it() -> None:
    steps: dict[str, Any] = {
        "pairs": {"verb": "import", "source": {"name": "pickapic", "path": "data"}},
        "rich": {"verb": "feedback", "from": ["pairs"], "critic": False,
                 "instructor": {"name": "openai", "served_model": "m"}, "editor": "controlnet"},
        "rpo": {"verb": "train", "from": ["rich"], "objective": "dpo", "start": "tiny:base"},
    }  # fmt: skip
    found = recipe.check(recipe.parse({"name": "x", "step": steps}), "x")
    assert [step.verb for step in found.steps] == ["import", "feedback", "train"]
    steps["rich"]["from"] = []
    with pytest.raises(recipe.RecipeError, match="feedback needs a curate, import, feedback or generate step"):
        recipe.check(recipe.parse({"name": "x", "step": steps}), "x")


def test_a_plan_says_how_many_are_asked_at_most_and_lists_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    path = pickapic(tmp_path / "x.parquet", [pickapic_row(number, 1.0) for number in range(9)])
    steps: dict[str, Any] = {
        "pairs": {"verb": "import", "source": {"name": "pickapic", "path": str(path)}},
        "rich": {"verb": "feedback", "from": ["pairs"], "critic": "attributes", "instructor": "attributes",
                 "editor": "controlnet", "reward": "pickscore"},
    }  # fmt: skip
    said = plan.plan(recipe.check(recipe.parse({"name": "x", "step": steps}), "x"), tmp_path)
    assert "rich: pictures edited by controlnet as told by attributes" in said
    assert "at most 9 pictures: as many critiques, instructions and edits" in said
    assert "unknown" not in said.partition("[2/2]")[2].partition("Downloads")[0].replace("size unknown", ""), "no words are written"
    for weights in ("yuvalkirstain/PickScore_v1", "lllyasviel/control_v11f1e_sd15_tile"):
        assert weights in said


@pytest.mark.parametrize(("critic", "calls"), [("llava_critic", 2), (False, 1)])
def test_a_plan_counts_calls_and_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, critic: Any, calls: int) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    path = pickapic(tmp_path / "x.parquet", [pickapic_row(number, 1.0) for number in range(9)])
    steps: dict[str, Any] = {
        "rich": {
            "verb": "feedback",
            "source": {"name": "pickapic", "path": str(path)},
            "critic": critic,
            "instructor": "qwen2_5_vl",
        },
    }
    said = plan.plan(recipe.check(recipe.parse({"name": "x", "step": steps}), "x"), tmp_path)
    lines = [line.strip() for line in said.splitlines() if " calls, about " in line]
    assert len(lines) == calls
    # 512 pixels in squares of 28 are 361 tokens, and a template is 250; an instruction is 25.
    assert lines[-1] == f"qwen2_5_vl: 9 calls, about {9 * (361 + 250):,} tokens to read and {9 * 25} to write"
    if critic:
        # The picture once, and in four parts; three sentences are 70.
        assert lines[0].endswith(f"llava_critic: 9 calls, about {9 * (5 * 729 + 250):,} tokens to read and {9 * 70} to write")
    assert "critics and instructors in this process are about" in said
    assert "unknown:" not in said


def test_a_server_costs_calls_and_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    path = pickapic(tmp_path / "x.parquet", [pickapic_row(number, 1.0) for number in range(9)])
    served = {"name": "openai", "served_model": "gpt-4o"}
    steps: dict[str, Any] = {
        "rich": {"verb": "feedback", "source": {"name": "pickapic", "path": str(path)}, "critic": served, "instructor": served},
    }
    said = plan.plan(recipe.check(recipe.parse({"name": "x", "step": steps}), "x"), tmp_path)
    assert said.count("openai: 9 calls, about") == 2
    assert "in this process" not in said


def test_the_memory_of_a_plugin_is_given_back_before_the_next_one_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[weakref.ref[Any]] = []
    build, alive = resolve.build, []

    def building(*given: Any) -> Any:
        alive.append(sum(each() is not None for each in built))
        plugin = build(*given)
        built.append(weakref.ref(plugin))
        return plugin

    def given_back() -> None:
        assert not [each for each in built if each() is not None]

    monkeypatch.setattr(resolve, "build", building)
    monkeypatch.setattr(resolve, "give_back", given_back)
    made(tmp_path)
    assert alive == [0, 0, 0, 0]
