"""Every vote as one row of a long table: CSV and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairwright import tables
from pairwright.store import write_file
from pairwright.study.database import Database
from pairwright.study.design import StudyError

SCHEMA = tables.schema(
    {
        "rater": pa.int64(),
        "position": pa.int64(),
        "role": pa.string(),
        "pair": pa.int64(),
        "prompt_id": pa.string(),
        "prompt": pa.string(),
        "category": pa.string(),
        "left_model": pa.string(),
        "right_model": pa.string(),
        "left_picture": pa.string(),
        "right_picture": pa.string(),
        "answer": pa.string(),
        "preferred": pa.string(),
        "milliseconds": pa.int64(),
        "seconds": pa.float64(),
        "layout": pa.string(),
        "received": pa.string(),
        "undone": pa.string(),
        "vote": pa.string(),
    },
    {"milliseconds": "since both pictures were seen, by the page", "seconds": "since the pair was handed out, by the server"},
)
"""``role`` is ``main``, ``repeat`` or ``check``; ``preferred`` a model's label, empty for a tie; ``undone`` when it was
taken back."""

SUFFIXES = (".csv", ".parquet")


def export(folder: Path, out: Path) -> int:
    """Write all votes, those that were taken back included, whole or not at all.

    Raters are numbers: links and tokens are not exported.

    Args:
        folder: of the study.
        out: ``.csv`` or ``.parquet``.

    Returns:
        the number of votes.

    Raises:
        StudyError: another suffix, or no study.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise StudyError(f"{out}: votes are written as {' or '.join(SUFFIXES)}")
    with Database(folder / "study.sqlite") as database:
        rows = long(database)
    data = csv_bytes(rows) if out.suffix.lower() == ".csv" else parquet_bytes(rows)
    write_file(out, lambda temporary: temporary.write_bytes(data))
    return len(rows)


def long(database: Database) -> list[dict[str, Any]]:
    """The rows of :data:`SCHEMA`, by rater and in the order of their votes."""
    return [_row(vote) for vote in database.votes()]


def csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """UTF-8 with a header line; what is not there is empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, SCHEMA.names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def parquet_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The same as a Parquet file that ``datasets`` opens."""
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA), stream)
    return stream.getvalue()


def _row(vote: Mapping[str, Any]) -> dict[str, Any]:
    sides = ["first", "second"] if vote["first_left"] else ["second", "first"]
    left, right = (vote[f"{side}_model"] for side in sides)
    return {
        **{name: vote[name] for name in SCHEMA.names if name in vote},
        "left_model": left,
        "right_model": right,
        "left_picture": vote[f"{sides[0]}_id"],
        "right_picture": vote[f"{sides[1]}_id"],
        "preferred": {"left": left, "right": right, "tie": ""}[vote["answer"]],
        "received": said_time(vote["received"]),
        "undone": said_time(vote["undone"]) if vote["undone"] is not None else None,
    }


def said_time(seconds: float) -> str:
    """Seconds since the epoch in ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
