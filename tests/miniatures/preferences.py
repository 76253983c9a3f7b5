"""Small data sets of preferences on disk, in the true schema of each."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

BROKEN = b"\xff\xd8\xff\xe0 and nothing of the kind"


def jpeg(seed: int, size: tuple[int, int] = (32, 32)) -> bytes:
    """A picture of its own for every seed."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def put(path: Path, content: bytes | str) -> Path:
    """A file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pickapic_row(number: int, label_0: float | None, **changes: Any) -> dict[str, Any]:
    """A row of version 2; pictures ``2 * number`` and ``2 * number + 1``."""
    return {
        "are_different": True,
        "best_image_uid": f"uid-{2 * number}",
        "caption": f"prompt {number}",
        "created_at": datetime(2023, 1, 1),  # noqa: DTZ001 - as the data set has it, without a zone
        "has_label": label_0 is not None,
        "image_0_uid": f"uid-{2 * number}",
        "image_0_url": "https://nowhere.invalid/0",
        "image_1_uid": f"uid-{2 * number + 1}",
        "image_1_url": "https://nowhere.invalid/1",
        "jpg_0": jpeg(2 * number),
        "jpg_1": jpeg(2 * number + 1),
        "label_0": label_0,
        "label_1": None if label_0 is None else 1 - label_0,
        "model_0": "dreamlike-art/dreamlike-photoreal-2.0",
        "model_1": "stabilityai/stable-diffusion-2-1",
        "ranking_id": 100 + number,
        "user_id": 7,
        "num_example_per_prompt": 1,
        **changes,
    }


PICKAPIC_V2 = pa.schema(
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


def pickapic(path: Path, rows: Sequence[Mapping[str, Any]], without: Sequence[str] = ()) -> Path:
    """A Parquet file of Pick-a-Pic, in row groups of three."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=PICKAPIC_V2).drop_columns(list(without))
    pq.write_table(table, path, row_group_size=3)
    return path


def parquet(path: Path, rows: Sequence[Mapping[str, Any]], group: int = 3) -> Path:
    """Any Parquet file; pictures are ``{"bytes": ..., "path": ...}`` or plain bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path, row_group_size=group)
    return path


def hpdv3(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """``all.json`` as published: one array on one line, non-ASCII escaped."""
    return put(folder / "all.json", json.dumps(list(rows)))


def hpdv3_row(prompt: str, one: tuple[str, str], two: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A row out of (path, model) of each side; the first is preferred."""
    return {"prompt": prompt, "path1": one[0], "path2": two[0], "model1": one[1], "model2": two[1], **more}


def tar(path: Path, entries: Sequence[tuple[str, bytes]] | Sequence[tarfile.TarInfo | tuple[str, bytes]]) -> Path:
    """A plain tar; an entry is (name, content), or a header of its own without content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            header = tarfile.TarInfo(entry[0])
            header.size = len(entry[1])
            archive.addfile(header, io.BytesIO(entry[1]))
    return path
