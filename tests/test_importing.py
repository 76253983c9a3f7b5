"""Pairs that are there already, brought into the store as curation leaves its own."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairwright import images, places, recipe, tables
from pairwright.context import Context
from pairwright.importing import ImportingError, import_pairs
from pairwright.options import Import
from pairwright.plan import work
from pairwright.plan.graph import Graph
from pairwright.store import Node, Store
from tests.miniatures.preferences import BROKEN, jpeg, parquet, pickapic, pickapic_row, put


def brought(root: Path, path: Path, *, vetoed: dict[str, str] | None = None, progress: Any = None, **options: Any) -> Node:
    source = options.pop("source", {"name": "pickapic", "path": str(path)})
    chosen = Import.model_validate({"source": source, "resolution": 32, **options})
    more = {"progress": progress} if progress else {}
    return import_pairs(chosen, Context(Store(root), vetoed=vetoed or {}, **more))


def rows(count: int) -> list[dict[str, Any]]:
    """Every seventh is a tie, every eleventh broken."""
    return [pickapic_row(n, 0.5 if n % 7 == 6 else 1.0, **({"jpg_1": BROKEN} if n % 11 == 10 else {})) for n in range(count)]


def content(node: Node) -> list[tuple[Any, ...]]:
    return [(row["id"], row["prompt"], row["winner"]["bytes"], row["loser"]["bytes"], row["lineage"]) for row in node.rows()]


def test_every_preference_is_a_pair_or_left_with_its_reason(tmp_path: Path):
    path = pickapic(tmp_path / "x.parquet", [*rows(20), pickapic_row(0, 1.0)])
    node = brought(tmp_path, path)
    (funnel,) = node.summary["funnel"]
    assert funnel == {"step": "read", "entered": 21, "left": 4, "reasons": {"tie": 2, "decode": 1, "duplicate": 1}}
    assert node.summary["read"] == 21
    assert node.summary["kept"] == 17 == len(content(node))
    reasons = {row["id"]: row["reason"] for row in node.rows("rejected")}
    assert set(reasons) == {"x.parquet:6", "x.parquet:13", "x.parquet:10", "x.parquet:20"}
    pair = next(tables.pairs(node))
    assert (pair.winner.data, pair.loser.data) == (jpeg(0), jpeg(1)), "what fits is kept byte for byte"
    assert pair.lineage["imported"] == "pickapic"
    assert pair.lineage["row"] == "x.parquet:0"


def test_both_pictures_are_brought_to_one_size(tmp_path: Path):
    wide = pickapic_row(0, 1.0, jpg_0=jpeg(0, (64, 40)))
    small = pickapic_row(1, 1.0, jpg_1=jpeg(3, (15, 40)))
    node = brought(tmp_path, pickapic(tmp_path / "x.parquet", [wide, small]))
    (pair,) = tables.pairs(node)
    assert pair.winner.image.size == pair.loser.image.size == (32, 32)
    assert np.array_equal(pair.winner.pixels, np.asarray(images.crop(images.read(jpeg(0, (64, 40))), 32, 0, "")))
    assert pair.loser.data == jpeg(1)
    (left,) = node.rows("rejected")
    assert left["reason"] == "loser: 15 x 40, short side below 16"


def test_as_they_are_the_two_pictures_of_a_pair_have_one_size(tmp_path: Path):
    both = pickapic_row(0, 1.0, jpg_0=jpeg(0, (64, 40)), jpg_1=jpeg(1, (64, 40)))
    path = pickapic(tmp_path / "x.parquet", [both, pickapic_row(1, 1.0, jpg_0=jpeg(2, (64, 40)))])
    node = brought(tmp_path, path, resolution=False)
    (pair,) = tables.pairs(node)
    assert pair.winner.image.size == (64, 40)
    assert [row["step"] for row in node.rows("rejected")] == ["size"]


class Killer:
    """A progress that ends the work after so many preferences, as a signal would."""

    def __init__(self, after: int) -> None:
        self.after, self.first = after, -1

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Any:
        self.first = done
        yield self

    def advance(self, by: int = 1, **facts: float | str) -> None:
        self.after -= by
        if self.after == 0:
            raise KeyboardInterrupt

    def say(self, text: str) -> None:
        pass


def test_a_killed_import_goes_on_at_its_shard_and_ends_the_same(tmp_path: Path):
    path = pickapic(tmp_path / "x.parquet", [*rows(150), pickapic_row(1, 1.0)])
    whole = brought(tmp_path / "whole", path)
    killed = Killer(100)
    with pytest.raises(KeyboardInterrupt):
        brought(tmp_path / "killed", path, progress=killed)
    again = Killer(10**9)
    node = brought(tmp_path / "killed", path, progress=again)
    assert (killed.first, again.first) == (0, 64)
    assert node.fingerprint == whole.fingerprint
    assert content(node) == content(whole)
    assert list(node.rows("rejected")) == list(whole.rows("rejected"))
    assert node.summary["funnel"] == whole.summary["funnel"]
    assert whole.summary["funnel"][0]["reasons"]["duplicate"] == 1
    assert brought(tmp_path / "killed", path, progress=Killer(1)).complete, "a finished import reads nothing again"


def test_a_shard_that_was_lost_is_read_again(tmp_path: Path):
    path = pickapic(tmp_path / "x.parquet", rows(150))
    node = brought(tmp_path, path)
    before = content(node)
    node.shard(1).unlink()
    assert content(brought(tmp_path, path)) == before


def test_the_fingerprint_is_of_the_data_and_of_what_is_made_of_it(tmp_path: Path):
    path = pickapic(tmp_path / "x.parquet", rows(5))
    node = brought(tmp_path, path)
    moved = put(tmp_path / "elsewhere" / "x.parquet", path.read_bytes())
    assert brought(tmp_path, moved).fingerprint == node.fingerprint
    assert brought(tmp_path, path, resolution=64, least_side=0).fingerprint != node.fingerprint
    pickapic(path, rows(6))
    assert brought(tmp_path, path).fingerprint != node.fingerprint


def test_a_vetoed_pair_is_one_more_reason(tmp_path: Path):
    path = pickapic(tmp_path / "x.parquet", rows(3))
    first = content(brought(tmp_path, path))[0][0]
    node = brought(tmp_path, path, vetoed={first: "blurred"})
    assert node.summary["funnel"][0]["reasons"] == {"veto": 1}
    assert [row["reason"] for row in node.rows("rejected")] == ["vetoed: blurred"]
    assert first not in [row[0] for row in content(node)]


def test_an_own_table_keeps_masks_and_lineage(tmp_path: Path):
    mask = np.zeros((40, 40), np.float32)
    mask[:20] = 1
    cell = {"bytes": tables.encode_mask(mask), "path": None}
    sides = {side: {"bytes": jpeg(n, (40, 40)), "path": None} for n, side in enumerate(("winner", "loser"))}
    said = json.dumps({"gap": 0.5, "license": "CC0"})
    path = parquet(tmp_path / "x.parquet", [{"prompt": "p", **sides, "mask": cell, "lineage": said}])
    (pair,) = tables.pairs(brought(tmp_path, path, source={"name": "datasets", "path": str(path)}))
    assert (pair.lineage["gap"], pair.lineage["license"]) == (0.5, "CC0")
    assert pair.mask is not None
    assert pair.mask.shape == (32, 32)
    assert (pair.mask[:15] == 1).all()
    assert (pair.mask[17:] == 0).all()
    (same,) = tables.pairs(brought(tmp_path, path, source={"name": "datasets", "path": str(path)}, resolution=40))
    assert same.mask is not None
    assert np.array_equal(same.mask, mask)


def plain_png(red: int, green: int, blue: int) -> bytes:
    return images.encode(Image.new("RGB", (32, 32), (red, green, blue)))


def test_a_reward_may_say_anew_which_side_wins(tmp_path: Path):
    same = pickapic_row(90, 1.0, jpg_0=plain_png(100, 0, 0), jpg_1=plain_png(100, 9, 0))
    blue = pickapic_row(91, 1.0, jpg_0=plain_png(0, 0, 255))
    path = pickapic(tmp_path / "x.parquet", [*rows(80), same, blue])
    plain, node = brought(tmp_path, path), brought(tmp_path, path, relabel="tests.fakes.red")
    before = {pair.id: pair for pair in tables.pairs(plain)}
    after = list(tables.pairs(node))
    for pair in after:
        old = before[pair.id]
        changed = old.winner.pixels[..., 0].mean() < old.loser.pixels[..., 0].mean()
        said: dict[str, Any] = dict(pair.lineage)
        assert said["label_changed"] == changed
        assert (pair.winner.id, pair.loser.id) == ((old.loser.id, old.winner.id) if changed else (old.winner.id, old.loser.id))
        assert said["winner_score"] > said["loser_score"]
        assert said["relabelled_by"] == "tests.fakes.red"
        uids = old.lineage["winner_uid"], old.lineage["loser_uid"]
        assert (said["winner_uid"], said["loser_uid"]) == (uids[::-1] if changed else uids)
    changes = sum(bool(pair.lineage["label_changed"]) for pair in after)
    assert 10 < changes < len(after) - 10
    assert node.summary["labels_changed"] == changes
    assert node.summary["share_changed"] == changes / len(after)
    assert len(after) == len(before) - 2
    left = {row["id"]: row["reason"] for row in node.rows("rejected") if row["step"] == "relabel"}
    assert left == {"x.parquet:80": "equal scores", "x.parquet:81": "winner could not be scored: too blue"}
    assert node.fingerprint != plain.fingerprint
    assert "labels_changed" not in plain.summary


def test_a_killed_relabelling_ends_the_same(tmp_path: Path):
    same = pickapic_row(90, 1.0, jpg_0=plain_png(100, 0, 0), jpg_1=plain_png(100, 9, 0))
    path = pickapic(tmp_path / "x.parquet", [same, *rows(100), same])
    whole = brought(tmp_path / "whole", path, relabel="tests.fakes.red")
    with pytest.raises(KeyboardInterrupt):
        brought(tmp_path / "cut", path, relabel="tests.fakes.red", progress=Killer(80))
    again = brought(tmp_path / "cut", path, relabel="tests.fakes.red")
    assert content(again) == content(whole)
    assert list(again.rows("rejected")) == list(whole.rows("rejected"))
    assert again.summary["labels_changed"] == whole.summary["labels_changed"]
    with pytest.raises(ValueError, match="a column of relabel, which is not given"):
        Import.model_validate({"source": {"name": "pickapic", "path": str(path)}, "column": "red"})


def test_where_no_pair_is_left_it_is_said_why(tmp_path: Path):
    path = pickapic(tmp_path / "x.parquet", [pickapic_row(0, 0.5), pickapic_row(1, 0.5)])
    with pytest.raises(ImportingError, match=r"no pair is left: 2 of 2 were dropped at read \(2 x tie"):
        brought(tmp_path, path)


def test_a_source_of_pictures_is_for_curation(tmp_path: Path):
    put(tmp_path / "photos" / "a.jpg", jpeg(1))
    put(tmp_path / "photos" / "a.txt", "a")
    with pytest.raises(ImportingError, match="the source 'imagefolder' gives pictures and no pairs; 'curate' makes pairs"):
        brought(tmp_path, tmp_path, source={"name": "imagefolder", "path": str(tmp_path / "photos")})


def test_a_recipe_may_train_on_what_was_brought():
    steps = {
        "pairs": {"verb": "import", "source": {"name": "pickapic", "path": "data"}},
        "stage2": {"verb": "train", "from": ["pairs"], "objective": "dpo", "start": "tiny:base"},
    }
    found = recipe.check(recipe.parse({"name": "x", "step": steps}), "x")
    assert [step.verb for step in found.steps] == ["import", "train"]


def test_a_plan_counts_what_would_be_brought(tmp_path: Path):
    put(tmp_path / "photos" / "a.jpg", jpeg(1))
    sources = {
        "good": {"name": "pickapic", "path": str(pickapic(tmp_path / "x.parquet", rows(9)))},
        "pictures": {"name": "imagefolder", "path": str(tmp_path / "photos")},
    }
    found = recipe.parse({"name": "x", "step": {name: {"verb": "import", "source": each} for name, each in sources.items()}}, "x")
    graph = Graph(found, tmp_path, places.Hub(silent="not asked"))
    assert {step.name: graph.brought(step) for step in found.steps} == {"good": 9, "pictures": None}
    assert graph.problems == {"TypeError: it gives pictures and no pairs": ["pictures.source"]}
    assert work.of_step(graph.steps["good"], graph).said == ["9 preferences, ties among them"]
