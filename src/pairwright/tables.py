"""The schemas of the store's tables, and the way between rows and records.

Pictures are ``struct<bytes, path>`` columns marked as ``datasets.Image``; scores are narrow side tables (``id`` and the
reward's columns), so that adding a score rewrites no picture.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pairwright.records import Column, Pair, Picture, Prompt, Rejected, Unscored
from pairwright.store import Node, open_shard

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

_DTYPES = {
    pa.string(): "string",
    pa.binary(): "binary",
    pa.int64(): "int64",
    pa.float64(): "float64",
    pa.bool_(): "bool",
    pa.timestamp("ns"): "timestamp[ns]",
}


def schema(fields: Mapping[str, pa.DataType], units: Mapping[str, str] | None = None) -> pa.Schema:
    """An Arrow schema that ``datasets`` opens with the right features; ``units`` go into the columns' metadata."""
    features = {
        name: {"_type": "Image"} if kind == IMAGE else {"dtype": _DTYPES[kind], "_type": "Value"} for name, kind in fields.items()
    }
    columns = [
        pa.field(name, kind, metadata={"unit": units[name]} if units and name in units else None) for name, kind in fields.items()
    ]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


PICTURES = schema(
    {
        "id": pa.string(),
        "image": IMAGE,
        "caption": pa.string(),
        "width": pa.int64(),
        "height": pa.int64(),
        "provenance": pa.string(),
    }
)
REJECTED = schema({"id": pa.string(), "step": pa.string(), "reason": pa.string()})
LOOKS = schema(
    {
        "name": pa.string(),
        "id": pa.string(),
        "step": pa.string(),
        "reason": pa.string(),
        "pixels": pa.string(),
        "dhash": pa.string(),
        "views": pa.int64(),
    }
)
MASKS = schema({"id": pa.string(), "mask": IMAGE, "area": pa.float64(), "failed": pa.string()})
EDITS = schema({"id": pa.string(), "image": IMAGE, "seed": pa.int64(), "how": pa.string(), "failed": pa.string()})
GAPS = schema({"id": pa.string(), "winner": pa.float64(), "loser": pa.float64()})
DIVERSITY = schema({"prompt": pa.string(), "diversity": pa.float64()})
CRITIQUES = schema({"id": pa.string(), "text": pa.string(), "made_by": pa.string(), "failed": pa.string()})
INSTRUCTIONS = CRITIQUES
HEAT = schema({"id": pa.string(), "name": pa.string(), "map": IMAGE})
LABELS = schema({"id": pa.string(), "original": pa.float64(), "edited": pa.float64(), "choice": pa.string(), "failed": pa.string()})
CONTESTS = schema(
    {
        "id": pa.string(),
        "prompt": pa.string(),
        "instruction": pa.string(),
        "first": pa.string(),
        "second": pa.string(),
        "winner": pa.string(),
    }
)
PAIRS = schema(
    {
        "id": pa.string(),
        "prompt": pa.string(),
        "winner": IMAGE,
        "loser": IMAGE,
        "mask": IMAGE,
        "winner_id": pa.string(),
        "loser_id": pa.string(),
        "lineage": pa.string(),
    }
)
GENERATED = schema(
    {
        "id": pa.string(),
        "image": IMAGE,
        "caption": pa.string(),
        "prompt_id": pa.string(),
        "category": pa.string(),
        "index": pa.int64(),
        "width": pa.int64(),
        "height": pa.int64(),
        "provenance": pa.string(),
    }
)


def scores(columns: Sequence[Column]) -> pa.Schema:
    """The narrow table of one reward: ``id``, one float per column, and why a row has none."""
    fields = {"id": pa.string(), **{column.name: pa.float64() for column in columns}, "unscored": pa.string()}
    return schema(fields, {column.name: column.unit for column in columns})


def image_cell(data: bytes | None, name: str) -> dict[str, Any] | None:
    """The cell of an image column."""
    from pairwright import images

    return None if data is None else {"bytes": data, "path": f"{name}{images.suffix(data)}"}


def picture_row(picture: Picture) -> dict[str, Any]:
    """A row of :data:`PICTURES`."""
    width, height = picture.image.size
    return {
        "id": picture.id,
        "image": image_cell(picture.data, picture.id),
        "caption": picture.caption,
        "width": width,
        "height": height,
        "provenance": json.dumps(dict(picture.provenance), ensure_ascii=False),
    }


def picture_of(row: Mapping[str, Any]) -> Picture:
    """The record of a row of :data:`PICTURES` or :data:`GENERATED`."""
    return Picture(row["id"], row["image"]["bytes"], row["caption"] or "", json.loads(row["provenance"] or "{}"))


def pictures(node: Node) -> Iterator[Picture]:
    """The pictures of a node, one shard in memory at a time."""
    return (picture_of(row) for row in node.rows())


def prompt_of(row: Mapping[str, Any]) -> Prompt:
    """The prompt of a generated picture's row, or the caption of a found picture's."""
    return Prompt(row["caption"] or "", row.get("prompt_id") or "", row.get("category") or "")


def rejected_row(rejected: Rejected) -> dict[str, str]:
    """A row of :data:`REJECTED`."""
    return {"id": rejected.id, "step": rejected.step, "reason": rejected.reason}


def score_row(picture_id: str, columns: Sequence[Column], row: tuple[float, ...] | Unscored) -> dict[str, Any]:
    """A row of :func:`scores`."""
    if isinstance(row, Unscored):
        return {"id": picture_id, "unscored": row.reason}
    return {"id": picture_id, **dict(zip((column.name for column in columns), row, strict=True))}


def pair_row(pair: Pair) -> dict[str, Any]:
    """A row of :data:`PAIRS`."""
    return {
        "id": pair.id,
        "prompt": pair.prompt,
        "winner": image_cell(pair.winner.data, pair.winner.id),
        "loser": image_cell(pair.loser.data, pair.loser.id),
        "mask": image_cell(encode_mask(pair.mask), f"{pair.id}-mask") if pair.mask is not None else None,
        "winner_id": pair.winner.id,
        "loser_id": pair.loser.id,
        "lineage": json.dumps(dict(pair.lineage), ensure_ascii=False),
    }


def pair_of(row: Mapping[str, Any]) -> Pair:
    """The record of a row of :data:`PAIRS`."""
    mask = row["mask"]
    return Pair(
        id=row["id"],
        prompt=row["prompt"],
        winner=Picture(row["winner_id"], row["winner"]["bytes"], row["prompt"]),
        loser=Picture(row["loser_id"], row["loser"]["bytes"], row["prompt"]),
        mask=decode_mask(mask["bytes"]) if mask else None,
        lineage=json.loads(row["lineage"] or "{}"),
    )


def pairs(node: Node) -> Iterator[Pair]:
    """The pairs of a node, one shard in memory at a time."""
    return (pair_of(row) for row in node.rows())


class PictureIndex:
    """The pictures of a finished node by their id, read one row group at a time."""

    def __init__(self, places: Mapping[str, tuple[Path, int, int]]) -> None:
        """Made by :meth:`of`.

        Args:
            places: of each id: file, row group and row in it.
        """
        self._places = places

    @classmethod
    def of(cls, node: Node) -> PictureIndex:
        """All pictures of a node."""
        places: dict[str, tuple[Path, int, int]] = {}
        for path in node.shards():
            with open_shard(path) as file:
                for group in range(file.num_row_groups):
                    names = file.read_row_group(group, columns=["id"])["id"].to_pylist()
                    places |= {name: (path, group, row) for row, name in enumerate(names)}
        return cls(places)

    def part(self, ids: Sequence[str]) -> PictureIndex:
        """An index of these pictures alone, small enough to be sent to another process.

        Raises:
            KeyError: an id that the node does not hold.
        """
        return PictureIndex({name: self._places[name] for name in ids})

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id, in the node's order."""
        return tuple(self._places)

    def get(self, ids: Sequence[str]) -> list[Picture]:
        """The pictures of those ids, in that order.

        Raises:
            KeyError: an id that the node does not hold.
        """
        wanted: dict[tuple[Path, int], list[str]] = {}
        for name in ids:
            path, group, _ = self._places[name]
            wanted.setdefault((path, group), []).append(name)
        found: dict[str, Picture] = {}
        for (path, group), names in wanted.items():
            with open_shard(path) as file:
                table = file.read_row_group(group)
            for name in names:
                found[name] = picture_of(table.slice(self._places[name][2], 1).to_pylist()[0])
        return [found[name] for name in ids]


def encode_mask(mask: np.ndarray) -> bytes:
    """``float [h, w]`` in 0..1 -> one-channel PNG, 8 bits."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.rint(np.clip(mask, 0, 1) * 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def decode_mask(data: bytes) -> np.ndarray:
    """The inverse of :func:`encode_mask`: ``float32 [h, w]``."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=np.float32) / 255
