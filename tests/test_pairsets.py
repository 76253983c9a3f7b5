"""Where pairs may be: a run, a step, a result in the store, and Parquet files that nobody vouches for."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairwright import images, pairsets
from pairwright.store import Store
from tests.miniatures.made_pairs import jpeg, scene, write
from tests.miniatures.run_folder import write_run


def test_a_run_its_step_and_its_result_are_the_same_pairs(tmp_path: Path) -> None:
    folder = write_run(tmp_path, until="pairs", pairs=20)
    run, step = pairsets.find(folder), pairsets.find(folder / "pairs")
    assert run.node is not None
    result = pairsets.find(run.node.path)
    assert run.outlines == step.outlines == result.outlines
    assert len(run.outlines) == 20
    assert (run.step, result.step) == ("pairs", "")
    assert run.vetoes == folder / "vetoes.json"
    assert result.vetoes == run.node.path.parent / f"{run.node.path.name}.vetoes.json"
    pair = run.get(run.outlines[17])
    assert pair.mask is not None
    assert pair.lineage["rank"] == 17
    assert [outline for outline, _ in run] == list(run.outlines)


def test_what_leads_to_no_pairs_says_what_was_looked_for(tmp_path: Path) -> None:
    folder = write_run(tmp_path, until="pairs")
    with pytest.raises(pairsets.PairSetError, match=r"no step 'pair' that makes pairs\. Did you mean 'pairs'"):
        pairsets.find(folder, "pair")
    with pytest.raises(pairsets.PairSetError, match="no step 'stage1' that makes pairs"):
        pairsets.find(folder / "stage1")
    with pytest.raises(pairsets.PairSetError, match="is not there"):
        pairsets.find(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(pairsets.PairSetError, match="no table with the columns prompt, winner, loser"):
        pairsets.find(tmp_path / "empty")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(pairsets.PairSetError, match=r"bad\.parquet is not a readable Parquet file"):
        pairsets.find(tmp_path / "bad.parquet")
    record = json.loads((folder / "run.json").read_text())
    record["steps"]["more"] = record["steps"]["pairs"]
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(pairsets.PairSetError, match="several steps that make pairs; say which with --step"):
        pairsets.find(folder)
    assert pairsets.find(folder, "more").step == "more"


def test_foreign_files_need_three_columns_and_are_decoded_safely(tmp_path: Path) -> None:
    good, cmyk = jpeg(80)(scene(0), 0), images.encode(scene(1))
    rows = [
        {"prompt": "one", "winner": good, "loser": cmyk},
        {"prompt": None, "winner": b"GIF89a broken", "loser": cmyk},
        {"prompt": "three", "winner": None, "loser": cmyk},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train-00000-of-00001.parquet")
    pairs = pairsets.find(tmp_path)
    assert len({outline.id for outline in pairs.outlines}) == 3
    assert pairsets.find(tmp_path).outlines == pairs.outlines, "names are the same every time"
    found = {outline.id: pair for outline, pair in pairs}
    first, second, third = (found[outline.id] for outline in pairs.outlines)
    assert not isinstance(first, images.ImageError)
    assert (first.prompt, first.winner.image.size) == ("one", (40, 40))
    assert isinstance(second, images.ImageError)
    assert str(third) == "the cell holds no picture"


def test_a_lineage_that_is_none_is_empty(tmp_path: Path) -> None:
    node = write(Store(tmp_path), 2)
    rows = pq.read_table(node.shard(0)).to_pylist()
    for row, text in zip(rows, ("[1, 2]", "{broken"), strict=True):
        row["lineage"] = text
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mine.parquet")
    assert [outline.lineage for outline in pairsets.find(tmp_path / "mine.parquet").outlines] == [{}, {}]
