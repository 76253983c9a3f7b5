"""What is done with the candidates of a shard: regions, losers, gaps. Each writes its own table of the shard, whole or not at all.

They are stations (:class:`pairwright.engines.Station`): whoever does them, and wherever, the tables are the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from pairwright import images, resolve, scoring, seeds, selection, tables
from pairwright.engines import Piece, PoolName
from pairwright.options import Curate, Mask
from pairwright.protocols import Perturbation, Saliency
from pairwright.records import Column, Edit, Failed, Picture, Prompt, Unscored
from pairwright.store import Node


@dataclass(frozen=True)
class Ranked:
    """What a station is told of a shard: its candidates, in the order of their ranks, and where their pictures lie."""

    ids: tuple[str, ...]
    index: tables.PictureIndex

    def pictures(self) -> list[Picture]:
        """The candidates' photographs."""
        return self.index.get(self.ids)


@dataclass(frozen=True)
class Regions:
    """Finds what is repainted: the table ``masks``."""

    node: Node
    options: Curate

    label: ClassVar[str] = "find regions"
    pool: ClassVar[PoolName] = "saliency"

    @property
    def accelerated(self) -> bool:
        """See :class:`pairwright.engines.Station`."""
        return self.options.saliency is not None and scoring.takes_device(self.options.saliency, "saliency")

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        if self.node.shard(piece.number, "masks").exists() or self.node.shard(piece.number).exists():
            return
        pictures = piece.content.pictures()
        rows = self._cut(pictures) if self.options.saliency else [_row(each.id, None, 1.0) for each in pictures]
        self.node.write(piece.number, rows, tables.MASKS, "masks")

    def _cut(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        rows = []
        for picture, saliency in zip(pictures, self._saliency.maps(pictures), strict=True):
            region = cut(saliency, self.options.mask)
            area = float(region.mean())
            rows.append(_row(picture.id, region, area, _mask_reason(area, self.options.mask)))
        return rows

    @cached_property
    def _saliency(self) -> Saliency:
        assert self.options.saliency is not None
        built: Saliency = resolve.build("saliency", self.options.saliency, self.options.device)
        return built


@dataclass(frozen=True)
class Losers:
    """Repaints the regions: the table ``data``, which says that both are there."""

    node: Node
    options: Curate

    label: ClassVar[str] = "repaint"
    pool: ClassVar[PoolName] = "repaint"

    @property
    def accelerated(self) -> bool:
        """See :class:`pairwright.engines.Station`."""
        return scoring.takes_device(self.options.perturbation, "perturbations")

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        if self.node.shard(piece.number).exists():
            return
        masks = self.node.read_shard(piece.number, "masks").to_pylist()
        pictures = piece.content.pictures()
        edits = [self._edit(*each) for each in zip(pictures, masks, strict=True) if each[1]["failed"] is None]
        rows: dict[str, dict[str, Any]] = {each.id: {"id": each.id, "failed": "no usable mask"} for each in pictures}
        for start in range(0, len(edits), self.options.batch_size):
            some = edits[start : start + self.options.batch_size]
            for edit, result in zip(some, self._perturbation.edit(some), strict=True):
                rows[edit.picture.id] = self._row(edit, result)
        self.node.write(piece.number, list(rows.values()), tables.EDITS)

    @cached_property
    def _perturbation(self) -> Perturbation:
        built: Perturbation = resolve.build("perturbations", self.options.perturbation, self.options.device)
        return built

    def _edit(self, picture: Picture, mask: dict[str, Any]) -> Edit:
        region = tables.decode_mask(mask["mask"]["bytes"]) if mask["mask"] else None
        return Edit(picture, picture.caption, seeds.key(self.options.seed, "repaint", picture.id), region)

    def _row(self, edit: Edit, result: Any) -> dict[str, Any]:
        if isinstance(result, Failed):
            return {"id": edit.picture.id, "seed": edit.seed, "failed": result.reason}
        image: Image.Image = result.image
        if self.options.composite and edit.mask is not None:
            image = images.composite(edit.picture.image, image, edit.mask, self.options.mask.feather)
        cell = tables.image_cell(images.encode(image), edit.picture.id)
        how = json.dumps(dict(result.how), ensure_ascii=False) if result.how else None
        return {"id": edit.picture.id, "image": cell, "seed": edit.seed, "how": how, "failed": None}


@dataclass(frozen=True)
class Gaps:
    """Scores both sides of each pair."""

    node: Node
    losers: Node
    column: str | None
    scorer: scoring.Scorer

    label: ClassVar[str] = "score the gap"
    pool: ClassVar[PoolName] = "score"

    @property
    def accelerated(self) -> bool:
        """See :class:`pairwright.engines.Station`."""
        return scoring.takes_device(self.scorer.plugin)

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        if self.node.shard(piece.number).exists():
            return
        there = {row["id"]: row for row in self.losers.read_shard(piece.number).to_pylist() if row["image"] is not None}
        winners = [each for each in piece.content.pictures() if each.id in there]
        losers = [Picture(each.id, there[each.id]["image"]["bytes"], each.caption) for each in winners]
        prompts = [Prompt(each.caption) for each in winners] * 2
        reward = self.scorer.reward
        scored = scoring.score_all(reward, [*winners, *losers], prompts, self.scorer.batch)
        sides = [_number(row, reward.columns, self.column) for row in scored]
        content = [
            {"id": each.id, "winner": winner, "loser": loser}
            for each, winner, loser in zip(winners, sides[: len(winners)], sides[len(winners) :], strict=True)
        ]
        self.node.write(piece.number, content, tables.GAPS)


def cut(saliency: np.ndarray, options: Mask) -> np.ndarray:
    """Saliency map -> region, ``float32 [h, w]``, 0 or 1: above the threshold, and all within ``dilate`` pixels."""
    return _grown(saliency > options.threshold, options.dilate).astype(np.float32)


def _grown(region: np.ndarray, radius: int) -> np.ndarray:
    """All that lies within ``radius`` pixels of the region: dilation by a disc, ``bool [h, w]``."""
    if not radius or not region.any():
        return region
    height, width = region.shape
    # Per row, how many marked pixels lie left of each place: a stretch holds one where the counts at its ends differ.
    counts = np.pad(np.cumsum(np.pad(region, radius), axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    grown = np.zeros_like(region)
    for down in range(-radius, radius + 1):
        reach = math.isqrt(radius**2 - down**2)
        rows = counts[radius + down : radius + down + height]
        grown |= rows[:, radius + reach + 1 :][:, :width] > rows[:, radius - reach :][:, :width]
    return grown


def _mask_reason(area: float, options: Mask) -> str | None:
    if area < options.least_area:
        return f"salient region below {options.least_area:.0%} of the picture"
    return f"salient region above {options.most_area:.0%} of the picture" if area > options.most_area else None


def _row(name: str, region: np.ndarray | None, area: float, failed: str | None = None) -> dict[str, Any]:
    cell = tables.image_cell(tables.encode_mask(region), f"{name}-mask") if region is not None else None
    return {"id": name, "mask": cell, "area": area, "failed": failed}


def _number(row: tuple[float, ...] | Unscored, columns: Sequence[Column], wanted: str | None) -> float | None:
    named = row if isinstance(row, Unscored) else dict(zip((column.name for column in columns), row, strict=True))
    value = selection.number(named, wanted)
    return None if isinstance(value, Unscored) else value
