"""Pairs as the files that other programs read. A file's name is a number: nothing of a prompt or a source is in it."""

from __future__ import annotations

import csv as table
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright import images, seeds, tables
from pairwright.options import PairFormat
from pairwright.records import Pair, Picture
from pairwright.store import ROWS_PER_GROUP

Write = Callable[[Path, Iterable[Pair], int], object]
"""Fills an empty folder with so many pairs."""

PAIRS_PER_FILE = 500
"""Of a Parquet file: some 400 MB at 512 pixels, which is what the hub's viewer reads well."""
LINEAGE = "lineage.jsonl"
"""Where a form has no column for it: one object per pair, in order."""

TRL = tables.schema({"id": pa.string(), "prompt": pa.string(), "chosen": tables.IMAGE, "rejected": tables.IMAGE})
PICKAPIC = tables.schema(
    {
        "are_different": pa.bool_(),
        "best_image_uid": pa.string(),
        "caption": pa.string(),
        "created_at": pa.timestamp("ns"),
        "has_label": pa.bool_(),
        "image_0_uid": pa.string(),
        "image_0_url": pa.string(),
        "image_1_uid": pa.string(),
        "image_1_url": pa.string(),
        "jpg_0": pa.binary(),
        "jpg_1": pa.binary(),
        "label_0": pa.float64(),
        "label_1": pa.float64(),
        "model_0": pa.string(),
        "model_1": pa.string(),
        "ranking_id": pa.int64(),
        "user_id": pa.int64(),
        "num_example_per_prompt": pa.int64(),
    }
)


def parquet(folder: Path, pairs: Iterable[Pair], total: int) -> None:
    """The store's own table: everything that is known of a pair."""
    _parquet(folder, (tables.pair_row(pair) for pair in pairs), tables.PAIRS, total)


def trl(folder: Path, pairs: Iterable[Pair], total: int) -> None:
    """``prompt``, ``chosen``, ``rejected``."""
    rows = (
        {
            "id": pair.id,
            "prompt": pair.prompt,
            "chosen": tables.image_cell(pair.winner.data, pair.winner.id),
            "rejected": tables.image_cell(pair.loser.data, pair.loser.id),
        }
        for pair in pairs
    )
    _parquet(folder, rows, TRL, total)


def pickapic(folder: Path, pairs: Iterable[Pair], total: int) -> None:
    """Version 2's columns. The winner is the first or the second picture as the pair's id decides: a place must tell nothing."""
    _parquet(folder, (pickapic_row(pair, number) for number, pair in enumerate(_told(folder, pairs))), PICKAPIC, total)


def pickapic_row(pair: Pair, number: int) -> dict[str, Any]:
    """One row. What Pick-a-Pic's interface knew and we do not (user, time, address) is empty; files keep their own encoding."""
    first = seeds.uniform(0, "side", pair.id) < 0.5
    sides = [("winner", pair.winner, 1.0), ("loser", pair.loser, 0.0)]
    row: dict[str, Any] = {
        "are_different": True,
        "best_image_uid": pair.winner.id,
        "caption": pair.prompt,
        "has_label": True,
        "ranking_id": number,
        "num_example_per_prompt": 1,
    }
    for place, (side, picture, label) in enumerate(sides if first else sides[::-1]):
        row |= {f"image_{place}_uid": picture.id, f"jpg_{place}": picture.data, f"label_{place}": label}
        row[f"model_{place}"] = _maker(pair.lineage, side)
    return row


def csv(folder: Path, pairs: Iterable[Pair], total: int) -> None:  # noqa: ARG001 - every form is told how many
    """The first paper's form: ``pairs.csv`` with paths of pictures in ``win/`` and ``lose/``, and the caption."""
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = table.writer(stream)
        writer.writerow(("win_image_path", "lose_image_path", "caption"))
        for number, pair in enumerate(_told(folder, pairs)):
            paths = [_picture(folder, side, number, picture) for side, picture in (("win", pair.winner), ("lose", pair.loser))]
            writer.writerow((*paths, pair.prompt))


def folders(folder: Path, pairs: Iterable[Pair], total: int) -> None:  # noqa: ARG001 - every form is told how many
    """``w/`` and ``l/`` with pictures of the same names, the caption on one line in a ``.txt`` beside each."""
    for number, pair in enumerate(_told(folder, pairs)):
        for side, picture in (("w", pair.winner), ("l", pair.loser)):
            path = folder / _picture(folder, side, number, picture)
            path.with_suffix(".txt").write_text(" ".join(pair.prompt.split()) + "\n", encoding="utf-8")


WRITERS: Mapping[PairFormat, Write] = {"parquet": parquet, "pickapic": pickapic, "trl": trl, "csv": csv, "folders": folders}


def _parquet(folder: Path, rows: Iterator[dict[str, Any]], schema: pa.Schema, total: int) -> None:
    files = max(1, -(-total // PAIRS_PER_FILE))
    for file in range(files):
        with pq.ParquetWriter(folder / f"train-{file:05d}-of-{files:05d}.parquet", schema) as writer:
            left = PAIRS_PER_FILE
            while left and (group := list(islice(rows, min(ROWS_PER_GROUP, left)))):
                writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=ROWS_PER_GROUP)
                left -= len(group)


def _picture(folder: Path, side: str, number: int, picture: Picture) -> str:
    """Write a picture; returns its path within the folder."""
    name = f"{side}/{number:06d}{images.suffix(picture.data)}"
    (folder / side).mkdir(exist_ok=True)
    (folder / name).write_bytes(picture.data)
    return name


def _told(folder: Path, pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The pairs as they are, their lineage written on the way."""
    with (folder / LINEAGE).open("w", encoding="utf-8") as stream:
        for number, pair in enumerate(pairs):
            said = {"number": number, "id": pair.id, "lineage": dict(pair.lineage)}
            stream.write(json.dumps(said, ensure_ascii=False) + "\n")
            yield pair


def _maker(lineage: Mapping[str, object], side: str) -> str:
    """What made a side: the model that is named, or curation's photograph and perturbation."""
    model = lineage.get(f"{side}_model")
    if model:
        return str(model)
    made = lineage.get("perturbation")
    if isinstance(made, Mapping):
        return "real_images" if side == "winner" else str(made.get("name", ""))
    return ""
