"""Repaints of ranked candidates, shard by shard, each computed once and only when asked for."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from pairwright import images, resolve, scoring, seeds, selection, tables
from pairwright.context import Context
from pairwright.options import Curate, Mask, Plugin
from pairwright.protocols import Perturbation, Saliency
from pairwright.records import Column, Edit, Failed, Picture, Prompt, Rejected, Unscored
from pairwright.store import Node
from pairwright.tables import PictureIndex

VERSION = 1
CANDIDATES_PER_SHARD = 16
"""Small, since the lazy order stops between shards."""


@dataclass(frozen=True)
class Outcome:
    """What became of one candidate."""

    id: str
    seed: int
    area: float
    """Share of the picture that the mask covers."""
    how: Mapping[str, Any]
    """What the perturbation drew for it; empty where it drew nothing but noise."""
    failed: Rejected | None
    winner_score: float | None
    loser_score: float | None
    place: tuple[Node, int, int]
    """Repaint node, shard and row, from where loser and mask are read when they are needed."""

    @property
    def gap(self) -> float | None:
        """Winner's score minus loser's, where both are known."""
        if self.winner_score is None or self.loser_score is None:
            return None
        return self.winner_score - self.loser_score

    @property
    def loser_id(self) -> str:
        """Identifier of the repainted picture: of this candidate under these repaint options."""
        return images.content_id(f"{self.place[0].fingerprint}/{self.id}".encode())

    def rejected(self, threshold: float | None) -> Rejected | None:
        """Why this candidate gives no pair; None where it does."""
        if self.failed is not None or threshold is None:
            return self.failed
        if self.gap is None:
            return Rejected(self.id, "gap", "a side could not be scored")
        return Rejected(self.id, "gap", f"gap below {threshold:.4g}") if self.gap < threshold else None

    def loser(self) -> bytes:
        """The repainted picture, encoded."""
        data: bytes = self._cell("data", "image")["bytes"]
        return data

    def mask(self) -> np.ndarray | None:
        """The region that was repainted, ``float32 [h, w]``, 0 or 1; None where the whole picture was."""
        cell = self._cell("masks", "mask")
        return tables.decode_mask(cell["bytes"]) if cell else None

    def _cell(self, table: str, column: str) -> Any:
        node, shard, row = self.place
        return node.read_shard(shard, table, [column]).slice(row, 1).to_pylist()[0][column]


class Repaints:
    """The losers of ranked candidates. Shard ``i`` holds candidates ``16 i .. 16 i + 15`` of the ranking."""

    def __init__(
        self,
        options: Curate,
        context: Context,
        index: PictureIndex,
        ranked: Sequence[str],
        scorer: Callable[[Plugin], scoring.Scorer],
    ) -> None:
        self._options, self._index, self._ranked = options, index, ranked
        self._scorer = scorer(options.gap.reward) if options.gap else None
        digest = hashlib.sha256("\n".join(ranked).encode()).hexdigest()
        meaning = {
            "version": VERSION,
            "candidates": digest,
            "saliency": resolve.meaning("saliency", options.saliency) if options.saliency else None,
            "mask": options.mask.meaning() | ({"grown by": "a disc"} if options.mask.dilate else {}),
            "perturbation": resolve.meaning("perturbations", options.perturbation),
            "composite": options.composite,
            "seed": options.seed,
            "resolution": options.resolution,
        }
        self._node = context.store.node("repaint", meaning)
        self._gap_node: Node | None = None
        if options.gap is not None:
            gap = {"version": VERSION, "reward": resolve.meaning("rewards", options.gap.reward)}
            self._gap_node = context.store.node("gap", gap, [self._node.fingerprint])
        self.seconds = 0.0
        self.repainted = 0

    @property
    def nodes(self) -> list[Node]:
        """The results that hold the repaints and their scores."""
        return [self._node, *([self._gap_node] if self._gap_node else [])]

    @property
    def candidates(self) -> int:
        """How many there are."""
        return len(self._ranked)

    @property
    def shards(self) -> int:
        """How many shards all candidates make."""
        return -(-len(self._ranked) // CANDIDATES_PER_SHARD)

    def spread(self, candidates: int) -> list[int]:
        """Shards that hold so many candidates together, spread evenly over the ranking."""
        count = min(self.shards, -(-candidates // CANDIDATES_PER_SHARD))
        return sorted({(2 * each + 1) * self.shards // (2 * count) for each in range(count)})

    def shard(self, number: int) -> list[Outcome]:
        """The outcomes of one shard, computed where they are not in the store yet."""
        ids = self._ranked[number * CANDIDATES_PER_SHARD : (number + 1) * CANDIDATES_PER_SHARD]
        if not self._node.shard(number).exists():
            started = time.monotonic()
            self._repaint(number, self._index.get(ids))
            self.seconds += time.monotonic() - started
            self.repainted += len(ids)
        if self._gap_node is not None and not self._gap_node.shard(number).exists():
            self._score(number, self._gap_node)
        return self._outcomes(number)

    @cached_property
    def _saliency(self) -> Saliency:
        assert self._options.saliency is not None
        built: Saliency = resolve.build("saliency", self._options.saliency, self._options.device)
        return built

    @cached_property
    def _perturbation(self) -> Perturbation:
        built: Perturbation = resolve.build("perturbations", self._options.perturbation, self._options.device)
        return built

    def _repaint(self, number: int, pictures: Sequence[Picture]) -> None:
        options = self._options
        masks, edits = self._masked(pictures) if options.saliency else self._whole(pictures)
        rows: dict[str, dict[str, Any]] = {each.id: {"id": each.id, "failed": "no usable mask"} for each in pictures}
        for start in range(0, len(edits), options.batch_size):
            some = edits[start : start + options.batch_size]
            for edit, result in zip(some, self._perturbation.edit(some), strict=True):
                rows[edit.picture.id] = self._row(edit, result)
        # Masks first: the shard of `data` says that both are there.
        self._node.write(number, masks, tables.MASKS, "masks")
        self._node.write(number, list(rows.values()), tables.EDITS)

    def _masked(self, pictures: Sequence[Picture]) -> tuple[list[dict[str, Any]], list[Edit]]:
        masks: list[dict[str, Any]] = []
        edits: list[Edit] = []
        for picture, saliency in zip(pictures, self._saliency.maps(pictures), strict=True):
            region = cut(saliency, self._options.mask)
            area = float(region.mean())
            reason = _mask_reason(area, self._options.mask)
            masks.append({"id": picture.id, "mask": _mask_cell(picture.id, region), "area": area, "failed": reason})
            if reason is None:
                edits.append(self._edit(picture, region))
        return masks, edits

    def _whole(self, pictures: Sequence[Picture]) -> tuple[list[dict[str, Any]], list[Edit]]:
        masks = [{"id": each.id, "mask": None, "area": 1.0, "failed": None} for each in pictures]
        return masks, [self._edit(each, None) for each in pictures]

    def _edit(self, picture: Picture, region: np.ndarray | None) -> Edit:
        return Edit(picture, picture.caption, seeds.key(self._options.seed, "repaint", picture.id), region)

    def _row(self, edit: Edit, result: Any) -> dict[str, Any]:
        if isinstance(result, Failed):
            return {"id": edit.picture.id, "seed": edit.seed, "failed": result.reason}
        image: Image.Image = result.image
        if self._options.composite and edit.mask is not None:
            image = images.composite(edit.picture.image, image, edit.mask, self._options.mask.feather)
        cell = tables.image_cell(images.encode(image), edit.picture.id)
        how = json.dumps(dict(result.how), ensure_ascii=False) if result.how else None
        return {"id": edit.picture.id, "image": cell, "seed": edit.seed, "how": how, "failed": None}

    def _score(self, number: int, node: Node) -> None:
        rows = [row for row in self._node.read_shard(number).to_pylist() if row["image"] is not None]
        winners = self._index.get([row["id"] for row in rows])
        losers = [Picture(row["id"], row["image"]["bytes"], winner.caption) for row, winner in zip(rows, winners, strict=True)]
        prompts = [Prompt(winner.caption) for winner in winners] * 2
        assert self._options.gap is not None
        assert self._scorer is not None
        reward = self._scorer.reward
        scored = scoring.score_all(reward, [*winners, *losers], prompts, self._scorer.batch)
        sides = [_number(row, reward.columns, self._options.gap.column) for row in scored]
        content = [
            {"id": row["id"], "winner": winner, "loser": loser}
            for row, winner, loser in zip(rows, sides[: len(rows)], sides[len(rows) :], strict=True)
        ]
        node.write(number, content, tables.GAPS)

    def _outcomes(self, number: int) -> list[Outcome]:
        masks = self._node.read_shard(number, "masks", ["id", "area", "failed"]).to_pylist()
        edits = self._node.read_shard(number, "data", ["id", "seed", "how", "failed"]).to_pylist()
        gaps = {row["id"]: row for row in self._gap_node.read_shard(number).to_pylist()} if self._gap_node else {}
        found = []
        for row, (mask, edit) in enumerate(zip(masks, edits, strict=True)):
            failed = None
            if mask["failed"] is not None:
                failed = Rejected(mask["id"], "mask", mask["failed"])
            elif edit["failed"] is not None:
                failed = Rejected(mask["id"], "repaint", edit["failed"])
            scores = gaps.get(mask["id"], {})
            place = (self._node, number, row)
            sides = scores.get("winner"), scores.get("loser")
            how = json.loads(edit.get("how") or "{}")  # results from before the column was there have none
            found.append(Outcome(mask["id"], edit["seed"] or 0, mask["area"], how, failed, *sides, place))
        return found


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


def _mask_cell(name: str, region: np.ndarray) -> dict[str, Any] | None:
    return tables.image_cell(tables.encode_mask(region), f"{name}-mask")


def _number(row: tuple[float, ...] | Unscored, columns: Sequence[Column], wanted: str | None) -> float | None:
    named = row if isinstance(row, Unscored) else dict(zip((column.name for column in columns), row, strict=True))
    value = selection.number(named, wanted)
    return None if isinstance(value, Unscored) else value
