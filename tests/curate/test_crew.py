"""Curation by workers elsewhere: the same tables as done here, whatever the order, and nothing is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairwright import engines
from pairwright.curate import CurationError
from pairwright.options import Curate
from pairwright.store import Store
from tests.curate.on_ray import files, made
from tests.fakes.crew import DiedError, Shuffled


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many(tmp_path_factory.mktemp("photographs"))


def many(folder: Path) -> Path:
    """150 pictures: some unreadable, some too small, some there twice as files or as pixels."""
    for number in range(150):
        blocks = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        blocks[..., 0] //= 1 + number % 3
        path = folder / f"{number:03d}.png"
        Image.fromarray(blocks).resize((16, 16) if number % 40 == 7 else (36, 32)).save(path)
        if number % 30 == 13:
            path.write_bytes(b"no picture")
        path.with_suffix(".txt").write_text(f"picture {number}")
    for name, like in (("070.png", "003.png"), ("071.png", "070.png"), ("047a.png", "047.png"), ("100.webp", "004.png")):
        Image.open(folder / like).save(folder / name, lossless=True)
        (folder / name).with_suffix(".txt").write_text(name)
    (folder / "100.png").unlink()
    return folder


def crewed(monkeypatch: pytest.MonkeyPatch, root: Path, photographs: Path, crew: Shuffled, **changes: Any) -> Any:
    monkeypatch.setattr(engines, "crew", crew.crew)
    node = made(root, photographs, engine="ray", **changes)
    monkeypatch.undo()
    return node


@pytest.mark.parametrize("changes", [{}, {"eager": True}, {"crops": 3, "near_duplicates": 6}, {"saliency": False, "gap": False}])
def test_workers_give_the_tables_that_are_made_here(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    here = made(tmp_path / "here", photographs, **changes)
    there = crewed(monkeypatch, tmp_path / "there", photographs, Shuffled(), **changes)
    assert there.fingerprint == here.fingerprint
    final = ("pictures", "scores", "curate")
    assert files(tmp_path / "there", *final) == files(tmp_path / "here", *final)
    made_here, made_there = (files(tmp_path / each, "repaint", "gap") for each in ("here", "there"))
    assert made_here.items() <= made_there.items(), "workers may be ahead of a walk that stops"
    for name in ("funnel", "tried", "kept", "not_reached", "threshold"):
        assert there.summary[name] == here.summary[name]


def test_repeats_are_seen_across_parts_and_called_by_the_first(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = crewed(monkeypatch, tmp_path, photographs, Shuffled())
    assert {row["id"]: row["reason"] for row in node.rows("rejected") if row["step"] == "duplicate"} == {
        "047a.png": "same content as 047.png",
        "070.png": "same content as 003.png",
        "071.png": "same content as 003.png",
        "100.webp": "same pixels as 004.png",
    }
    assert not [path for word in ("looks", "views") for path in tmp_path.rglob(f"{word}-*")], "they are needed until all is read"


def test_wherever_it_ends_it_goes_on_and_does_nothing_again(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "whole", photographs, eager=True)
    every = ("pictures", "scores", "repaint", "gap", "curate")
    done: list[tuple[str, int]] = []
    deaths = finished = 0
    while not finished:
        crew = Shuffled(lives=0)
        try:
            crewed(monkeypatch, tmp_path / "often", photographs, crew, eager=True)
            finished += 1
        except DiedError:
            deaths += 1
        finally:
            monkeypatch.undo()
        done += crew.done
    assert deaths >= 4
    assert len(done) == len(set(done)), "no station did a piece again"
    assert files(tmp_path / "often", *every) == files(tmp_path / "whole", *every)


def test_an_engine_may_take_over_from_the_other(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "whole", photographs)
    for first, lives in (("elsewhere", 1), ("elsewhere", 3), ("here", 0)):
        root = tmp_path / f"{first}-{lives}"
        if first == "here":
            made(root, photographs, keep={"reward": "tests.fakes.red", "top": 2})
            (picture,) = (node for node in Store(root).nodes() if node.verb == "pictures")
            picture.shard(1).unlink()
            crewed(monkeypatch, root, photographs, Shuffled())
        else:
            with pytest.raises(DiedError):
                crewed(monkeypatch, root, photographs, Shuffled(lives))
            monkeypatch.undo()
            made(root, photographs)
        final = ("pictures", "curate")
        mine = files(root, *final)
        assert {name: mine[name] for name in files(tmp_path / "whole", *final)} == files(tmp_path / "whole", *final)
        assert not list(root.rglob("looks-*"))


def test_a_source_that_is_read_in_order_alone_is_read_here(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"name": "tests.fakes.colours", "count": 120}
    crew = Shuffled()
    made(tmp_path / "here", photographs, source=source)
    crewed(monkeypatch, tmp_path / "there", photographs, crew, source=source)
    assert "read" not in {label for label, _ in crew.done}
    assert files(tmp_path / "there", "curate") == files(tmp_path / "here", "curate")


def test_what_is_sent_does_not_grow_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for count in (120, 480):
        crew = Shuffled()
        crewed(
            monkeypatch, tmp_path / str(count), tmp_path, crew, source={"name": "tests.fakes.colours", "count": count}, eager=True
        )
        sizes.append(crew.largest)
    assert sizes[1] < 1.2 * sizes[0] < 20_000


def test_the_funnel_is_written_where_nobody_is_left(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [{"reward": "tests.fakes.red", "rule": "at_least", "value": 2.0}]
    with pytest.raises(CurationError, match="no picture is left"):
        crewed(monkeypatch, tmp_path, photographs, Shuffled(), filters=rules)


def test_engine_and_pools_are_no_part_of_the_meaning() -> None:
    plain = Curate.model_validate({"source": {"name": "tests.fakes.colours"}})
    other = plain.model_copy(update={"engine": "ray"})
    assert plain.meaning() == other.meaning()
    assert not {"engine", "ray"} & plain.meaning().keys()
