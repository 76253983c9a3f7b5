"""Scores belong to pictures shard by shard, are computed once, and what could not be scored keeps its reason."""

from __future__ import annotations

import io
import json
import sys
import uuid
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pairwright import resolve, scoring, tables
from pairwright.options import Plugin
from pairwright.plugins import PluginError
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.shares import Share, WorkerError
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
    monkeypatch.setattr("pairwright.scoring.pictures.IDS_PER_SHARD", 2)
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


ROUGH = '''
"""Counts what it sees; shares a log with its twin."""
from pathlib import Path

from pairwright.records import Column

LOG = Path(__file__).with_name("order.log")


class Rough:
    def __init__(self, name, needs_prompt):
        self.columns = (Column(name, "none"),)
        self.name, self.needs_prompt = name, needs_prompt

    def score(self, pictures, prompts):
        with LOG.open("a") as log:
            log.write(f"{self.name} {[each.id for each in pictures]} {[id(each.image) for each in pictures]}\\n")
        return [(float(each.image.getpixel((0, 0))[0]),) for each in pictures]


def load(*, column: str = "rough", needs_prompt: bool = True, model: str | None = None, device: str = "cpu") -> Rough:
    return Rough(column, needs_prompt)
'''


@pytest.fixture
def rough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / f"rough_{uuid.uuid4().hex}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "rough.py").write_text(ROUGH)
    monkeypatch.syspath_prepend(str(tmp_path))

    def named(name: str, **options: object) -> Plugin:
        return Plugin(name=f"{package.name}.rough", options={"column": name, **options})

    yield named, package / "order.log"
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        del sys.modules[name]


def test_rewards_asked_together_see_the_same_decoded_pictures_batch_by_batch(store: Store, rough) -> None:
    named, log = rough
    pictures = scoring.Stored(pictures_node(store, [[picture(name, 7) for name in "abc"], [picture("d", 9)]]))
    scorers = [scoring.Scorer(named(name), batch=2) for name in ("one", "two")]
    nodes = scoring.score_together(store, pictures, scorers)
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert [name for name, _ in lines] == ["one", "two"] * 3, "a batch goes to every reward before the next is taken"
    assert [first[1] == second[1] for first, second in zip(lines[::2], lines[1::2], strict=True)] == [True] * 3
    assert scoring.read_scores(nodes[1]) == {name: {"two": 9.0 if name == "d" else 7.0} for name in "abcd"}


def test_a_reward_that_is_added_computes_only_its_own(store: Store, rough) -> None:
    named, log = rough
    pictures = scoring.Stored(pictures_node(store, [[picture("a", 7)]]))
    (first,) = scoring.score_together(store, pictures, [scoring.Scorer(named("one"))])
    before = first.shard(0).read_bytes(), first.record()
    scoring.score_together(store, pictures, [scoring.Scorer(named(name)) for name in ("one", "two")])
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["one", "two"]
    assert (first.shard(0).read_bytes(), first.record()) == before
    alone = scoring.Scorer(named("two")).node(store, pictures.node)
    assert alone.complete, "together or alone is the same result"
    assert len(log.read_text().splitlines()) == 2


def test_pictures_without_a_prompt_are_scored_by_rewards_that_read_none(store: Store, rough) -> None:
    named, _ = rough

    class Mute(scoring.Stored):
        def read(self, shard: int) -> list[scoring.Item]:
            return [(name, (content[0], Unscored("no prompt: none"))) for name, content in super().read(shard)]  # type: ignore[index]

    pictures = Mute(pictures_node(store, [[picture("a", 7)]]))
    reading, looking = [scoring.Scorer(named(name, needs_prompt=needs)) for name, needs in (("one", True), ("two", False))]
    nodes = scoring.score_together(store, pictures, [reading, looking])
    assert [scoring.read_scores(node)["a"] for node in nodes] == [Unscored("no prompt: none"), {"two": 7.0}]


def test_a_share_scores_its_shards_and_whoever_is_last_finishes(store: Store, rough) -> None:
    named, log = rough
    pictures = scoring.Stored(pictures_node(store, [[picture(name, 7)] for name in "abcde"]))
    (node,) = scoring.score_together(store, pictures, [scoring.Scorer(named("one"))], share=Share(1, 2))
    assert [path.name for path in node.shards()] == ["data-00001.parquet", "data-00003.parquet"]
    assert not node.complete
    (node,) = scoring.score_together(store, pictures, [scoring.Scorer(named("one"))], share=Share(0, 2))
    assert node.complete
    assert node.summary["scored"] == 5
    assert len(log.read_text().splitlines()) == 5


def test_two_processes_share_the_shards_and_give_the_result_of_one(tmp_path: Path) -> None:
    rewards = [Plugin(name="colorfulness"), Plugin(name="texture")]
    results = []
    for name, devices in (("one", ("cpu",)), ("two", ("cpu", "cpu"))):
        store = Store(tmp_path / name)
        pictures = pictures_node(store, [[picture(f"{shard}{each}", 9 * shard + each) for each in range(2)] for shard in range(5)])
        (nodes,) = scoring.score_sets(store, {"": scoring.Stored(pictures)}, rewards, devices=devices).values()
        assert all(node.complete for node in nodes)
        results.append([(node.fingerprint, [path.read_bytes() for path in node.shards()]) for node in nodes])
    assert results[0] == results[1]


def test_a_worker_that_dies_is_an_error_and_leaves_what_was_scored(store: Store, tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / f"dying_{uuid.uuid4().hex}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "dying.py").write_text(
        "import os\nfrom pairwright.records import Column\n\n\nclass Dying:\n    columns = (Column('d', ''),)\n\n"
        "    def score(self, pictures, prompts):\n        if pictures[0].id == 'c':\n            os._exit(9)\n"
        "        return [(1.0,) for _ in pictures]\n\n\ndef load() -> Dying:\n    return Dying()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    pictures = pictures_node(store, [[picture("a", 1)], [picture("b", 2)], [picture("c", 3)]])
    plugin = Plugin(name=f"{package.name}.dying")
    with pytest.raises(WorkerError, match="a worker process died"):
        scoring.score_sets(store, {"": scoring.Stored(pictures)}, [plugin], devices=("cpu", "cpu"))
    node = scoring.Scorer(plugin).at(store, scoring.Stored(pictures))
    assert node.shard(0).exists()
    assert not node.shard(2).exists()


def test_large_networks_have_the_memory_to_themselves_one_after_the_other(store: Store, rough, tmp_path: Path, monkeypatch) -> None:
    named, _ = rough
    for name, size in (("small", 10), ("large", 1000), ("huge", 2000)):
        (tmp_path / f"{name}.safetensors").write_bytes(bytes(size))
    monkeypatch.setattr("pairwright.scoring.together.ALONE_BYTES", 1000)
    plugins = [named(name, model=str(tmp_path / f"{name}.safetensors")) for name in ("large", "small", "huge")]
    plugins.append(named("bare"))
    groups = scoring.passes([scoring.Scorer(each) for each in plugins])
    assert [[each.plugin.options["column"] for each in group] for group in groups] == [["small", "bare"], ["large"], ["huge"]]

    built: list[str] = []
    build, release = resolve.build, scoring.Scorer.release

    def noted_build(shelf: Any, each: Plugin, device: str) -> Any:
        built.append(each.options["column"])
        return build(shelf, each, device)

    def noted_release(each: scoring.Scorer) -> None:
        built.append(f"-{each.plugin.options['column']}")
        release(each)

    monkeypatch.setattr(resolve, "build", noted_build)
    monkeypatch.setattr(scoring.Scorer, "release", noted_release)
    pictures = pictures_node(store, [[picture("a", 7)]])
    (nodes,) = scoring.score_sets(store, {"": scoring.Stored(pictures)}, plugins).values()
    assert built == ["small", "bare", "-small", "-bare", "large", "-large", "huge", "-huge"]
    asked = [[column.name for column in scoring.read_columns(node)] for node in nodes]
    assert asked == [["large"], ["small"], ["huge"], ["bare"]], "in the order asked"


def test_a_released_reward_is_gone_and_comes_back(rough) -> None:
    named, _ = rough
    scorer = scoring.Scorer(named("one"))
    seen = weakref.ref(scorer.reward)
    scorer.release()
    scorer.release()
    assert seen() is None
    assert scorer.reward.columns[0].name == "one"
