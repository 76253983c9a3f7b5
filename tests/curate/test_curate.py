"""From photographs to pairs: the lazy order gives what the published order gives, and nothing is lost on the way."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairwright import tables, vetoes
from pairwright.context import Context
from pairwright.curate import CurationError, curate
from pairwright.curate.stations import cut
from pairwright.options import Curate, Mask
from pairwright.store import Node, Store
from tests.fakes import dye, red

PLAIN: dict[str, Any] = {
    "source": {"name": "tests.fakes.colours", "count": 120},
    "resolution": 32,
    "saliency": "tests.fakes.middle",
    "perturbation": "tests.fakes.dye",
    "gap": {"reward": "tests.fakes.red", "at_least": 0.02},
    "keep": {"reward": "tests.fakes.red", "top": 10},
}


def made(root: Path, **changes: Any) -> Node:
    return curate(Curate.model_validate({**PLAIN, **changes}), Context(Store(root)))


def ids(node: Node) -> list[str]:
    return [row["id"] for row in node.rows(columns=["id"])]


@pytest.mark.parametrize("seed", range(20))
def test_the_lazy_order_keeps_the_same_pairs_as_the_published_order(tmp_path: Path, seed: int) -> None:
    source = {"name": "tests.fakes.colours", "count": 120, "seed": seed}
    lazy, eager = made(tmp_path / "lazy", source=source, seed=seed), made(tmp_path / "eager", source=source, seed=seed, eager=True)
    assert ids(lazy) == ids(eager)
    assert [row["loser"]["bytes"] for row in lazy.rows()] == [row["loser"]["bytes"] for row in eager.rows()]
    assert lazy.summary["tried"] < eager.summary["tried"]
    assert lazy.summary["not_reached"] == eager.summary["tried"] - lazy.summary["tried"]
    assert eager.summary["not_reached"] == 0


def test_every_file_that_entered_is_a_pair_or_a_rejection_with_its_reason(tmp_path: Path) -> None:
    node = made(tmp_path, filters=[{"reward": "colorfulness", "rule": "above_mean"}])
    rejected = list(node.rows("rejected"))
    assert len(ids(node)) + len(rejected) == 120
    counts = Counter(row["step"] for row in rejected)
    assert counts["decode"] == 4
    assert counts["not reached"] == node.summary["not_reached"]
    funnel = node.summary["funnel"]
    for before, after in pairwise(funnel):
        reached = before["entered"] - before["left"]
        assert after["entered"] == (reached if after["step"] != "mask" else node.summary["tried"])
    assert funnel[-1]["entered"] - funnel[-1]["left"] == 10


def test_the_kept_pairs_are_the_best_photographs_among_those_that_pass(tmp_path: Path) -> None:
    node = made(tmp_path, eager=True)
    lineages = [json.loads(row["lineage"]) for row in node.rows()]
    scores = [lineage["rank_score"] for lineage in lineages]
    assert scores == sorted(scores, reverse=True)
    assert all(lineage["gap"] >= 0.02 for lineage in lineages)
    assert all(lineage["gap"] == pytest.approx(lineage["winner_score"] - lineage["loser_score"]) for lineage in lineages)
    assert all(lineage["license"] == "CC0" for lineage in lineages)
    better = [row for row in node.rows("rejected") if row["step"] == "keep"]
    assert better, "the published order must have had more that passed"


def test_the_background_of_a_loser_is_the_photographs_own_bit_for_bit(tmp_path: Path) -> None:
    for pair in tables.pairs(made(tmp_path)):
        assert pair.mask is not None
        outside = pair.mask == 0
        assert np.array_equal(pair.winner.pixels[outside], pair.loser.pixels[outside])
        assert not np.array_equal(pair.winner.pixels[~outside], pair.loser.pixels[~outside])
        assert pair.mask.mean() == pytest.approx(0.25)


def test_without_compositing_the_whole_picture_is_the_perturbations(tmp_path: Path) -> None:
    pair = next(iter(tables.pairs(made(tmp_path, composite=False))))
    assert len(np.unique(pair.loser.pixels.reshape(-1, 3), axis=0)) == 1


def test_a_second_run_changes_and_computes_nothing(tmp_path: Path) -> None:
    first = made(tmp_path)
    edited = len(dye.EDITED)
    assert made(tmp_path).fingerprint == first.fingerprint
    assert len(dye.EDITED) == edited


def test_more_pairs_repaint_only_what_is_further_down_the_ranking(tmp_path: Path) -> None:
    few = made(tmp_path)
    before = len(dye.EDITED)
    many = made(tmp_path, keep={"reward": "tests.fakes.red", "top": 20})
    assert ids(many)[:10] == ids(few)
    assert 0 < len(dye.EDITED) - before <= many.summary["tried"] - few.summary["tried"]


def test_another_gap_repaints_nothing(tmp_path: Path) -> None:
    made(tmp_path)
    before = len(dye.EDITED)
    made(tmp_path, gap={"reward": "tests.fakes.red", "at_least": 0.0})
    assert len(dye.EDITED) == before


def test_a_shard_that_was_lost_is_computed_again_to_the_same_bytes(tmp_path: Path) -> None:
    first = made(tmp_path / "one")
    losers = [row["loser"]["bytes"] for row in first.rows()]
    (repaint,) = (node for node in Store(tmp_path / "one").nodes() if node.verb == "repaint")
    repaint.shard(0).unlink()
    (first.path / "node.json").unlink()
    again = made(tmp_path / "one")
    assert [row["loser"]["bytes"] for row in again.rows()] == losers


def test_a_pilots_quantile_is_the_threshold_and_its_repaints_are_used_again(tmp_path: Path) -> None:
    gap = {"reward": "tests.fakes.red", "pilot_quantile": 0.5, "pilot": 32}
    before = len(dye.EDITED)
    lazy = made(tmp_path, gap=gap)
    edited = dye.EDITED[before:]
    assert len(edited) == len(set(edited))
    lineages = [json.loads(row["lineage"]) for row in lazy.rows()]
    assert min(lineage["gap"] for lineage in lineages) >= lazy.summary["threshold"]
    assert ids(lazy) == ids(made(tmp_path / "eager", gap=gap, eager=True))


def test_a_reward_that_no_picture_passes_says_where_all_were_lost(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match=r"no picture is left:.*116 of 116 were dropped at tests.fakes.red \(115 x below 2,"):
        made(tmp_path, filters=[{"reward": "tests.fakes.red", "rule": "at_least", "value": 2.0}])


def test_a_picture_that_cannot_be_scored_leaves_with_that_reason(tmp_path: Path) -> None:
    node = made(tmp_path, source={"name": "tests.fakes.colours", "count": 120, "seed": 3}, keep=None, gap=None,
                filters=[{"reward": "tests.fakes.red", "rule": "at_least", "value": 0.0}])  # fmt: skip
    reasons = {row["reason"] for row in node.rows("rejected") if row["step"] == "tests.fakes.red"}
    assert reasons == {"could not be scored: too blue"}


def test_photographs_below_the_least_side_are_rejected_with_their_size(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match="no picture is left"):
        made(tmp_path, least_side=33)


def test_several_views_of_a_photograph_have_ids_of_their_own(tmp_path: Path) -> None:
    node = made(tmp_path, crops=3, keep=None, gap=None)
    assert len(set(ids(node))) == len(ids(node)) > 120
    assert red.CALLS is not None


def test_a_region_is_grown_by_a_disc() -> None:
    saliency = np.zeros((15, 20), np.float32)
    saliency[7, 9] = saliency[0, 19] = 1
    rows, columns = np.mgrid[:15, :20]
    for radius in (0, 1, 2, 3, 5, 40):
        near = ((rows - 7) ** 2 + (columns - 9) ** 2 <= radius**2) | (rows**2 + (columns - 19) ** 2 <= radius**2)
        assert np.array_equal(cut(saliency, Mask(dilate=radius)) > 0, near)
    assert not cut(np.zeros((4, 4), np.float32), Mask(dilate=3)).any()


def test_without_saliency_the_whole_picture_is_changed_and_nothing_is_pasted_back(tmp_path: Path) -> None:
    node = made(tmp_path, saliency=False)
    pair = next(iter(tables.pairs(node)))
    assert pair.mask is None
    assert len(np.unique(pair.loser.pixels.reshape(-1, 3), axis=0)) == 1
    assert pair.lineage["mask_area"] == 1.0
    assert "mask" in [each["step"] for each in node.summary["funnel"]]


def test_what_a_perturbation_drew_for_a_picture_is_in_the_lineage(tmp_path: Path) -> None:
    node = made(tmp_path, perturbation={"name": "photometric", "kinds": ["jpeg", "blur"]}, gap=None)
    edits = [json.loads(row["lineage"])["edit"] for row in node.rows()]
    assert {each["kind"] for each in edits} == {"jpeg", "blur"}
    assert all(0.3 <= each["strength"] <= 1 for each in edits)
    assert "edit" not in json.loads(next(iter(made(tmp_path / "dye").rows()))["lineage"])


def test_a_vetoed_pair_leaves_with_its_reason_and_the_next_one_takes_its_place(tmp_path: Path) -> None:
    plain = made(tmp_path)
    first, second = ids(plain)[:2]
    context = Context(Store(tmp_path), vetoed={first: "blurred", second: ""})
    before = len(dye.EDITED)
    lazy = curate(Curate.model_validate(PLAIN), context)
    assert ids(lazy)[:8] == ids(plain)[2:]
    assert len(ids(lazy)) == 10
    left = {row["id"]: row["reason"] for row in lazy.rows("rejected") if row["step"] == "veto"}
    assert left == {first: "vetoed: blurred", second: "vetoed"}
    assert {"step": "veto", "left": 2} in [{name: each[name] for name in ("step", "left")} for each in lazy.summary["funnel"]]
    assert len(dye.EDITED) - before <= 16, "what was repainted is used again"
    eager = curate(Curate.model_validate({**PLAIN, "eager": True}), context)
    assert ids(eager) == ids(lazy)
    assert made(tmp_path).fingerprint == plain.fingerprint != lazy.fingerprint


def test_vetoes_may_come_from_a_file_and_stand_by_their_content(tmp_path: Path) -> None:
    first = ids(made(tmp_path))[0]
    for name in ("a.json", "b.json"):
        vetoes.change(tmp_path / name, "pairs", first, "dull")
    one, other = (made(tmp_path, vetoes=str(tmp_path / name)) for name in ("a.json", "b.json"))
    assert first not in ids(one)
    assert one.fingerprint == other.fingerprint
    with pytest.raises(vetoes.VetoError, match="there is no file of vetoes"):
        made(tmp_path, vetoes=str(tmp_path / "absent.json"))


def test_photographs_of_equal_pixels_are_one_and_like_ones_where_asked_for(tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for name, seed, form in (("a", 1, "png"), ("b", 1, "webp"), ("c", 1, "jpeg"), ("d", 2, "png")):
        small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize((40, 40)).save(photographs / f"{name}.{form}", lossless=form == "webp")
        (photographs / f"{name}.txt").write_text(name)
    source = {"name": "imagefolder", "path": str(photographs)}
    said = {}
    for near in (False, 6):
        node = made(tmp_path / str(near), source=source, near_duplicates=near, keep=None, gap=None)
        said[near] = {row["id"]: row["reason"] for row in node.rows("rejected") if row["step"] == "duplicate"}
    assert said[False] == {"b.webp": "same pixels as a.png"}
    assert set(said[6]) == {"b.webp", "c.jpeg"}
