"""Scores belong to pictures shard by shard, are computed once, and what could not be scored keeps its reason."""

from __future__ import annotations

import io
import json
import sys
import uuid
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pairwright import resolve, scoring, tables
from pairwright.options import Plugin
from pairwright.plugins import PluginError
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.store import Node, Store, StoreError

REWARD = '''
"""Mean brightness; logs every call, so that a test sees what was computed."""
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from pairwright.records import Column, Unscored

LOG = Path(__file__).with_suffix(".log")


class Brightness:
    columns = (Column("brightness", "mean of 0..255"), Column("words", "words in the prompt", higher_is_better=False))

    def __init__(self, scale, device):
        self.scale, self.device = scale, device
        self.note(f"built on {device}")

    def note(self, text):
        with LOG.open("a") as log:
            log.write(text + "\\n")

    def score(self, pictures, prompts):
        self.note("scored " + " ".join(picture.id for picture in pictures))
        return [self.one(np.asarray(Image.open(BytesIO(picture.data))), prompt) for picture, prompt in zip(pictures, prompts)]

    def one(self, pixels, prompt):
        if prompt.text == "hidden":
            return Unscored("the prompt hides it")
        if prompt.text == "poison":
            return float("nan"), 1.0
        if prompt.text == "short":
            return (1.0,)
        return self.scale * pixels.mean(), len(prompt.text.split())


def load(*, scale: float = 1.0, model: str = "", device: str = "cpu") -> Brightness:
    return Brightness(scale, device)
'''


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root")


@pytest.fixture
def reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A user's own reward in a package of its own name (modules are cached by name)."""
    package = tmp_path / f"mine_{uuid.uuid4().hex}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "brightness.py").write_text(REWARD)
    (package / "weights.bin").write_bytes(b"first")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Plugin(name=f"{package.name}.brightness", options={"model": str(package / "weights.bin")})
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        del sys.modules[name]


def log_of(reward: Plugin) -> list[str]:
    path = Path(reward.options["model"]).with_name("brightness.log")
    return path.read_text().splitlines() if path.exists() else []


def picture(name: str, value: int, caption: str = "a grey square") -> Picture:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), value, dtype=np.uint8)).save(stream, "PNG")
    return Picture(name, stream.getvalue(), caption)


def pictures_node(store: Store, shards: list[list[Picture]], *, complete: bool = True, name: str = "set") -> Node:
    node = store.node("pictures", {"name": name})
    for index, shard in enumerate(shards):
        rows = [
            {
                "id": each.id,
                "image": tables.image_cell(each.data, each.id),
                "caption": each.caption,
                "width": 6,
                "height": 4,
                "provenance": "{}",
            }
            for each in shard
        ]
        node.write(index, rows, tables.PICTURES)
    if complete:
        node.finish()
    return node


def test_scores_carry_the_rewards_numbers_and_units(store: Store, reward: Plugin) -> None:
    pictures = pictures_node(store, [[picture("a", 10), picture("b", 20, "one two")], [picture("c", 30, "")]])
    node = scoring.score_node(store, pictures, reward, batch=1)
    assert scoring.read_scores(node) == {
        "a": {"brightness": 10.0, "words": 3.0},
        "b": {"brightness": 20.0, "words": 2.0},
        "c": {"brightness": 30.0, "words": 0.0},
    }
    assert scoring.read_columns(node)[1] == Column("words", "words in the prompt", higher_is_better=False)
    assert node.read().schema.field("brightness").metadata[b"unit"] == b"mean of 0..255"
    assert [pq.read_metadata(path).num_rows for path in node.shards()] == [2, 1]
    assert node.complete
    assert {key: node.summary[key] for key in ("scored", "unscored", "reasons")} == {"scored": 3, "unscored": 0, "reasons": {}}


def test_what_cannot_be_scored_keeps_its_reason(store: Store, reward: Plugin) -> None:
    pictures = pictures_node(store, [[picture("a", 1, "hidden"), picture("b", 2, "poison"), picture("c", 3)]])
    node = scoring.score_node(store, pictures, reward)
    scores = scoring.read_scores(node)
    assert scores["a"] == Unscored("the prompt hides it")
    assert scores["b"] == Unscored("brightness: not a finite number")
    assert scores["c"] == {"brightness": 3.0, "words": 3.0}
    assert (node.summary["scored"], node.summary["unscored"]) == (1, 2)


def test_a_row_without_a_picture_is_unscored_and_keeps_its_place(store: Store, reward: Plugin) -> None:
    node = store.node("edits", {})
    shown = picture("b", 7)
    node.write(
        0,
        [
            {"id": "a", "image": None, "seed": 1, "failed": "out of memory"},
            {"id": "b", "image": tables.image_cell(shown.data, "b"), "seed": 2},
        ],
        tables.EDITS,
    )
    node.finish()
    prompts = {"b": Prompt("grey")}
    assert scoring.read_scores(scoring.score_node(store, node, reward, prompts=prompts)) == {
        "a": Unscored("no picture: out of memory"),
        "b": {"brightness": 7.0, "words": 1.0},
    }


def test_a_table_without_captions_asks_for_prompts(store: Store, reward: Plugin) -> None:
    node = store.node("edits", {})
    node.write(0, [{"id": "b", "image": tables.image_cell(picture("b", 7).data, "b"), "seed": 2}], tables.EDITS)
    with pytest.raises(ValueError, match="no prompt was given"):
        scoring.score_node(store, node, reward)


def test_scored_pictures_are_never_scored_again(store: Store, reward: Plugin) -> None:
    pictures = pictures_node(store, [[picture("a", 10)], [picture("b", 20)], [picture("c", 30)]])
    whole = scoring.read_scores(scoring.score_node(store, pictures, reward))
    assert scoring.read_scores(scoring.score_node(store, pictures, reward)) == whole
    assert log_of(reward) == ["built on auto", "scored a", "scored b", "scored c"], "a finished result builds no reward"


def test_an_interrupted_scoring_computes_only_the_missing_shard(store: Store, reward: Plugin) -> None:
    pictures = pictures_node(store, [[picture("a", 10)], [picture("b", 20)], [picture("c", 30)]])
    node = scoring.score_node(store, pictures, reward)
    before = {path.name: path.read_bytes() for path in node.shards()}
    node.shard(1).unlink()
    (node.path / "node.json").write_text(json.dumps({**node.record(), "complete": False}))
    scoring.score_node(store, pictures, reward)
    assert log_of(reward)[4:] == ["built on auto", "scored b"]
    assert {path.name: path.read_bytes() for path in node.shards()} == before


def test_pictures_that_still_arrive_leave_the_scores_unfinished(store: Store, reward: Plugin) -> None:
    pictures = pictures_node(store, [[picture("a", 10)]], complete=False)
    scorer = scoring.Scorer(reward)
    assert not scorer.node(store, pictures).complete
    pictures_node(store, [[picture("a", 10)], [picture("b", 20)]])
    assert set(scoring.read_scores(scorer.node(store, pictures))) == {"a", "b"}
    assert log_of(reward) == ["built on auto", "scored a", "scored b"], "one scorer builds its reward once"


def test_batches_stay_inside_a_shard(store: Store, reward: Plugin) -> None:
    pictures = pictures_node(store, [[picture(name, 1) for name in "abc"], [picture(name, 1) for name in "de"]])
    scoring.score_node(store, pictures, reward, batch=2, device="cpu")
    assert log_of(reward) == ["built on cpu", "scored a b", "scored c", "scored d e"]


def test_some_pictures_are_scored_in_the_order_asked_for(store: Store, reward: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "IDS_PER_SHARD", 2)
    pictures = pictures_node(store, [[picture("a", 10), picture("b", 20)], [picture("c", 30, "hidden"), picture("d", 40)]])
    scores = scoring.read_scores(scoring.Scorer(reward).some(store, pictures, ["d", "a", "c"]))
    assert list(scores.items()) == [
        ("d", {"brightness": 40.0, "words": 3.0}),
        ("a", {"brightness": 10.0, "words": 3.0}),
        ("c", Unscored("the prompt hides it")),
    ]
    assert log_of(reward) == ["built on auto", "scored d a", "scored c"]
    assert scoring.read_scores(scoring.Scorer(reward).some(store, pictures, ["d", "a", "c"])) == scores
    assert len(log_of(reward)) == 3, "asked again, nothing is computed"
    assert list(scoring.read_scores(scoring.Scorer(reward).some(store, pictures, ["b"]))) == ["b"], (
        "another choice is another result"
    )


def test_an_empty_set_of_pictures_has_columns_and_no_scores(store: Store, reward: Plugin) -> None:
    node = scoring.score_node(store, pictures_node(store, []), reward)
    assert node.complete
    assert scoring.read_scores(node) == {}


def test_a_reward_that_returns_too_few_numbers_is_an_error(store: Store, reward: Plugin) -> None:
    with pytest.raises(ValueError, match="returned 1 numbers"):
        scoring.score_node(store, pictures_node(store, [[picture("a", 1, "short")]]), reward)


def test_scores_that_were_not_begun_are_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match=r"columns\.json"):
        scoring.read_columns(store.node("scores", {}))


def test_meaning_follows_options_weights_and_source_but_not_paths_or_devices(reward: Plugin, tmp_path: Path) -> None:
    weights = Path(reward.options["model"])
    first = resolve.meaning("rewards", reward)
    assert first["options"]["scale"] == 1.0, "defaults are part of the meaning"
    assert first["options"]["model"].startswith("sha256:")

    def changed(**options: object) -> bool:
        return resolve.meaning("rewards", Plugin(name=reward.name, options={**reward.options, **options})) != first

    copy = tmp_path / "elsewhere.bin"
    copy.write_bytes(weights.read_bytes())
    assert not changed(model=str(copy)), "the same weights under another path"
    assert not changed(device="cuda", scale=1.0)
    assert changed(scale=2.0)
    weights.write_bytes(b"second!")
    assert changed(), "other weights under the same path"
    weights.write_bytes(b"first")
    source = weights.with_name("brightness.py")
    source.write_text(source.read_text() + "# edited\n")
    assert changed()


def test_an_unknown_reward_is_named(store: Store) -> None:
    with pytest.raises(PluginError, match="nowhere"):
        scoring.score_node(store, pictures_node(store, []), Plugin(name="no.module.nowhere"))
