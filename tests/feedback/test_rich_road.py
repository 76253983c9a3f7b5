"""The whole road of rich feedback on miniatures, from samples to an aligned model and its report; and behind a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pairwright import recipe, run, tables
from pairwright.context import Context
from pairwright.feedback import feedback
from pairwright.options import Feedback
from pairwright.servers import ServerError
from pairwright.store import Node, Store
from tests.fakes.server import Reply, serving
from tests.miniatures import made_pairs
from tests.miniatures.editors import write_controlnet
from tests.miniatures.pack import write_pack

ROAD = """
name = "rich"

[step.pictures]
verb = "generate"
models = { base = "tiny:base" }
prompts = { name = "tiny:prompts.txt", limit = 12 }
per_prompt = 1
resolution = 64
steps = 2
dtype = "float32"

[step.rich]
verb = "feedback"
from = ["pictures"]
critic = { name = "attributes", model = "tiny:pickscore", objects = ["rose", "tulip", "daisy"], dtype = "float32" }
instructor = "attributes"
editor = { name = "controlnet", model = "tiny:base", controlnet = "CONTROLNET", steps = 2, dtype = "float32" }
reward = { name = "pickscore", model = "tiny:pickscore", dtype = "float32" }
measures = [{ name = "imagereward", model = "tiny:imagereward", dtype = "float32" }]

[step.rpo]
verb = "train"
from = ["rich"]
objective = "dpo"
start = "tiny:base"
steps = 2
batch = 2
dtype = "float32"
"""


def test_a_models_samples_are_improved_and_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRWRIGHT_TINY", str(write_pack(tmp_path / "pack")))
    path = tmp_path / "rich.toml"
    path.write_text(ROAD.replace("CONTROLNET", str(write_controlnet(tmp_path / "controlnet"))))
    (found,) = recipe.load(path)
    page = run.run(found, tmp_path / "runs").read_text()
    folder = tmp_path / "runs" / "rich"
    node = run.result(folder, "rich")
    pairs = list(tables.pairs(node))
    assert node.summary["funnel"][0]["entered"] == 12
    assert len(pairs) == node.summary["kept"] == node.summary["edited_won"] + node.summary["flips"] > 2
    lineages: list[dict[str, Any]] = [dict(pair.lineage) for pair in pairs]
    for lineage in lineages:
        assert lineage["winner_score"] > lineage["loser_score"]
        assert lineage["instruction"].split()[0] in {"make", "turn"}
    assert set(node.summary["means"]) == {"pickscore", "imagereward"}
    adapter = run.result(folder, "rpo").path / "adapter" / "pytorch_lora_weights.safetensors"
    assert adapter.stat().st_size > 1000
    assert "Pictures and what critique, instruction and edit made of them" in page
    assert lineages[0]["instruction"] in page
    again = {name: entry["fingerprint"] for name, entry in run.read(folder)["steps"].items()}
    run.run(found, tmp_path / "runs")
    assert {name: entry["reused"] for name, entry in run.read(folder)["steps"].items()} == dict.fromkeys(again, True)


def asked(body: dict[str, Any]) -> tuple[str, str]:
    """Who is asked, and of which prompt."""
    question = body["messages"][1]["content"][-1]["text"]
    prompt = json.loads(question.splitlines()[0].partition(": ")[2])
    return "instructor" if "most important change" in question else "critic", prompt.rpartition(" ")[2]


def model(body: dict[str, Any], number: int) -> Reply:
    """Refuses, cuts, stammers and finds no fault, each for a prompt of its own."""
    who, prompt = asked(body)
    special = {
        ("critic", "1"): Reply(None, refusal="I will not"),
        ("critic", "2"): Reply("The sc", finish="length"),
        ("critic", "3"): Reply("nothing"),
        ("critic", "4"): Reply("  "),
        ("instructor", "5"): Reply('{"instruction": "make the'),
        ("instructor", "6"): Reply(json.dumps({"instruction": "very " * 60})),
    }
    usual = Reply("It is too pale.") if who == "critic" else Reply('{"instruction": "add red"}')
    return special.get((who, prompt), usual)


def through(address: str, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setenv("PAIRWRIGHT_CACHE", str(cache))
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.02)
    served = {"name": "openai", "served_model": "m", "server": address, "workers": 4, "timeout": 5}
    options = {"critic": served, "instructor": served, "editor": "tests.fakes.tint", "reward": "tests.fakes.red"}
    store = Store(root)
    return feedback(Feedback.model_validate(options), Context(store, {"pairs": made_pairs.write(store, 40)}))


def test_behind_a_server_what_is_no_answer_leaves_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(model) as running:
        node = through(running.address, tmp_path / "runs", tmp_path / "cache", monkeypatch)
    reasons = [(row["step"], row["reason"]) for row in node.rows("rejected") if row["step"] in {"critique", "instruct"}]
    assert sorted(reasons) == [
        ("critique", "the answer was cut at 300 tokens"),
        ("critique", "the answer was empty"),
        ("critique", "the model refused: I will not"),
        ("instruct", 'no instruction in the answer: \'{"instruction": "make the\''),
        ("instruct", "nothing to change"),
        ("instruct", f"the instruction is longer than 25 words or 200 characters: '{('very ' * 60)[:80]}...'"),
    ]
    assert len(running.seen) == 40 + 36
    lineage = next(tables.pairs(node)).lineage
    assert lineage["critique_by"] == {"critic": "openai", "model": "m", "template": "critique-1"}
    assert lineage["instruction_by"] == {"instructor": "openai", "model": "m", "template": "instruction-1", "steps": "two"}


def test_a_server_that_dies_twice_is_asked_for_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the critiques, then of the instructions; each time it comes back at another address."""
    answered = 0
    for dies_after in (20, 40, None):

        def mortal(body: dict[str, Any], number: int, after: int | None = dies_after) -> Reply:
            return model(body, number) if after is None or number < after else Reply("gone", status=503)

        with serving(mortal) as running:
            if dies_after is None:
                node = through(running.address, tmp_path / "runs", tmp_path / "cache", monkeypatch)
                answered += len(running.seen)
            else:
                with pytest.raises(ServerError, match="run the same command again"):
                    through(running.address, tmp_path / "runs", tmp_path / "cache", monkeypatch)
                answered += dies_after
    assert answered == 40 + 36
    with serving(model) as quiet:
        elsewhere = through(quiet.address, tmp_path / "other", tmp_path / "cache", monkeypatch)
    assert quiet.seen == [], "answers are kept by content: another store asks nothing"
    assert [row["id"] for row in elsewhere.rows()] == [row["id"] for row in node.rows()]
