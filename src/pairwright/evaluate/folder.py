"""``pairwright score PICTURES``: any collection of pictures scored, summed up in words, and exported on request."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pairwright import options, ranks, scoring, wording
from pairwright.errors import Explained
from pairwright.evaluate.collections import Collection, collect
from pairwright.options import Plugin
from pairwright.progress import SILENT, Progress
from pairwright.records import Column, Unscored
from pairwright.shares import Share
from pairwright.store import Node, Store, write_file

FORMATS = (".csv", ".jsonl", ".parquet")
REASONS_SHOWN = 5
OUTLINED = 16
"""Pictures of each set whose size a plan looks at."""


class ExportError(Explained, ValueError):
    """A table that cannot be written as asked; the message says what can."""


@dataclass(frozen=True)
class Scored:
    """A scored collection."""

    collections: Mapping[str, Collection]
    """By label; ``""`` is the only one."""
    nodes: Mapping[str, Sequence[Node]]
    """By label, one per reward."""

    @property
    def complete(self) -> bool:
        """Whether every picture has been scored; false while other processes still score theirs."""
        return all(node.complete for nodes in self.nodes.values() for node in nodes)

    @property
    def columns(self) -> list[Column]:
        """Of all rewards, in order."""
        return [column for node in next(iter(self.nodes.values())) for column in scoring.read_columns(node)]


def score_collection(name: str | Path, asked: options.Score, root: Path, *, progress: Progress = SILENT) -> Scored:
    """Score everything that a path stands for (see :func:`~pairwright.evaluate.collections.collect`).

    Under ``torchrun`` or ``accelerate launch`` (``RANK`` and ``WORLD_SIZE`` are set) this process scores its share of the
    shards, and whichever process ends last finds the result complete.

    Args:
        name: what to score.
        asked: by which rewards, and where.
        root: folder of the store.
        progress: whom to tell.

    Raises:
        ExportError: two rewards report one column.
        Explained: nothing to score, weights that are not there, a worker that died.
    """
    collections = collect(name)
    share = shared()
    devices = asked.devices or (asked.device,)
    if share.of > 1:
        devices = (_local(asked.device),)
    nodes = scoring.score_sets(
        Store(root), collections, asked.rewards, batch=asked.batch_size, devices=devices, share=share, progress=progress
    )
    scored = Scored(collections, nodes)
    if scored.complete:
        twice = [column for column, count in Counter(each.name for each in scored.columns).items() if count > 1]
        if twice:
            raise ExportError(f"two rewards report the column {twice[0]!r}; score with one of them at a time")
    return scored


def outline(name: str | Path, asked: options.Score) -> tuple[list[list[Plugin]], int, float]:
    """What a plan needs to know: which rewards are in memory together, how many pictures, and pixels of one, about."""
    collections = collect(name)
    groups = [[each.plugin for each in group] for group in scoring.passes([scoring.Scorer(each) for each in asked.rewards])]
    areas = [area for each in collections.values() for area in _areas(each)]
    return groups, sum(sum(each.sizes().values()) for each in collections.values()), fmean(areas) if areas else 0.0


def _areas(collection: Collection) -> Iterator[float]:
    shard = next(iter(collection.sizes()), None)
    items = collection.read(shard) if shard is not None else []
    for _, closed in items[:OUTLINED]:
        content = scoring.opened(closed)
        if not isinstance(content, Unscored):
            with Image.open(io.BytesIO(content[0].data)) as opened:  # only its header
                yield float(opened.width * opened.height)


def shared() -> Share:
    """The share of this process among those that a launcher has started; all of it where there is no launcher."""
    return Share(ranks.rank(), ranks.count())


def _local(device: str) -> str:
    """The device of this process on its machine."""
    import torch

    if device != "auto" or not torch.cuda.is_available():
        return device
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


def summary(scored: Scored) -> str:
    """Mean, spread and number of every column, and why pictures have no score; as text for the terminal."""
    rows = [("", "mean", "deviation", "scored", "unscored", "unit")]
    reasons: list[str] = []
    for label, nodes in scored.nodes.items():
        for node in nodes:
            said = node.summary
            for column in scoring.read_columns(node):
                name = f"{label} {column.name}".strip()
                mean, spread = _moments(node, column.name)
                rows.append((name, mean, spread, f"{said['scored']:,}", f"{said['unscored']:,}", column.unit))
                reasons += _reasons(name, said["reasons"])
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(row[place].rjust(widths[place]) for place in range(1, 5)), row[5]]).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *reasons])


def _moments(node: Node, column: str) -> tuple[str, str]:
    values = [row[column] for row in node.rows(columns=[column]) if row[column] is not None]
    if not values:
        return "none", "none"
    mean = fmean(values)
    deviation = math.sqrt(fmean((value - mean) ** 2 for value in values))
    return wording.number(mean, digits=4), wording.number(deviation)


def _reasons(name: str, found: Mapping[str, int]) -> list[str]:
    common = sorted(found.items(), key=lambda each: (-each[1], each[0]))
    lines = [f"  {name}: {count:,} x {reason}" for reason, count in common[:REASONS_SHOWN]]
    rest = sum(count for _, count in common[REASONS_SHOWN:])
    return [*lines, f"  {name}: {rest:,} x other reasons; see the export"] if rest else lines


def rows(scored: Scored) -> Iterator[dict[str, Any]]:
    """One row per picture: id, set (where there are several), file, prompt, every column, and why one is empty."""
    names = [column.name for column in scored.columns]
    for label, collection in scored.collections.items():
        tables = [scoring.read_scores(node) for node in scored.nodes[label]]
        for picture in collection.described():
            verdicts = [table[picture.id] for table in tables]
            values: dict[str, float | None] = dict.fromkeys(names)
            for verdict in verdicts:
                values |= {} if isinstance(verdict, Unscored) else verdict
            why = dict.fromkeys(each.reason for each in verdicts if isinstance(each, Unscored))
            head = {"id": picture.id, **({"set": label} if label else {}), "file": picture.file, "prompt": picture.prompt}
            yield {**head, **values, "unscored": "; ".join(why) or None}


def check_format(path: Path) -> Path:
    """The path itself; asked before hours are spent on what could then not be written.

    Raises:
        ExportError: its suffix is not one of :data:`FORMATS`, or nothing can be written there.
    """
    if path.suffix.lower() not in FORMATS:
        raise ExportError(f"--out {path}: the suffix decides the format; it may be {', '.join(FORMATS)}")
    nearest = next(each for each in path.absolute().parents if each.exists())
    if path.is_dir() or not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ExportError(f"--out {path}: {'that is a folder' if path.is_dir() else f'{nearest} is no folder to write into'}")
    return path


def export(scored: Scored, path: Path) -> None:
    """Write :func:`rows` as one table, whole or not at all. Parquet carries each column's unit in its metadata.

    Raises:
        ExportError: another suffix than :data:`FORMATS`.
    """
    suffix = check_format(path).suffix.lower()
    table = list(rows(scored))
    if suffix == ".parquet":
        write_file(path, lambda temporary: pq.write_table(_arrow(scored, table), temporary))
        return
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in table) if suffix == ".jsonl" else _csv(scored, table)
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _arrow(scored: Scored, table: Sequence[Mapping[str, Any]]) -> pa.Table:
    units = {column.name: column.unit for column in scored.columns}
    fields = [
        pa.field(name, pa.float64() if name in units else pa.string(), metadata={"unit": units[name]} if name in units else None)
        for name in _header(scored)
    ]
    return pa.Table.from_pylist([dict(row) for row in table], schema=pa.schema(fields))


def _csv(scored: Scored, table: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, _header(scored), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return stream.getvalue()


def _header(scored: Scored) -> list[str]:
    labelled = any(scored.collections)
    return ["id", *(["set"] if labelled else []), "file", "prompt", *(column.name for column in scored.columns), "unscored"]
