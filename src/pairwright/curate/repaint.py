"""Repaints of ranked candidates, shard by shard, each computed once and only when asked for."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import tee
from typing import Any

import numpy as np

from pairwright import engines, images, resolve, scoring, tables
from pairwright.context import Context
from pairwright.curate.stations import Gaps, Losers, Ranked, Regions
from pairwright.engines import Crew, Piece, Station
from pairwright.options import Curate, Plugin
from pairwright.progress import SILENT
from pairwright.records import Rejected
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
        crew: Crew | None = None,
    ) -> None:
        self._index, self._ranked, self._crew = index, ranked, crew
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
        self._stations: list[Station] = [Regions(self._node, options), Losers(self._node, options)]
        self._gap_node: Node | None = None
        if options.gap is not None:
            gap = {"version": VERSION, "reward": resolve.meaning("rewards", options.gap.reward)}
            self._gap_node = context.store.node("gap", gap, [self._node.fingerprint])
            # A worker elsewhere has nobody to tell how far it is.
            asked = scorer(options.gap.reward) if crew is None else replace(scorer(options.gap.reward), progress=SILENT)
            self._stations.append(Gaps(self._gap_node, self._node, options.gap.column, asked))
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

    def outcomes(self, numbers: Iterable[int]) -> Generator[list[Outcome]]:
        """The outcomes of these shards, in this order, computed where they are not in the store yet.

        Close it where you need no more: workers may be ahead of you, and stop then.
        """
        wanted, ahead = tee(numbers)
        with closing(self._done(self._piece(each) for each in ahead if not self._there(each))) as done:
            for number in wanted:
                while not self._there(number):
                    if next(done, None) is None:
                        raise engines.unseen(self._node.shard(number))
                yield self._outcomes(number)

    def _there(self, number: int) -> bool:
        return all(each.shard(number).exists() for each in self.nodes)

    def _piece(self, number: int) -> Piece:
        ids = self._ids(number)
        return Piece(number, Ranked(ids, self._index if self._crew is None else self._index.part(ids)))

    def _done(self, pieces: Iterable[Piece]) -> Generator[int]:
        """Have the pieces done; their numbers, as they are."""
        return self._here(pieces) if self._crew is None else self._elsewhere(self._crew, pieces)

    def _here(self, pieces: Iterable[Piece]) -> Generator[int]:
        for piece in pieces:
            started, new = time.monotonic(), not self._node.shard(piece.number).exists()
            for station in self._stations[:2]:
                station.work(piece)
            if new:
                self.seconds += time.monotonic() - started
                self.repainted += len(piece.content.ids)
            for station in self._stations[2:]:
                station.work(piece)
            yield piece.number

    def _elsewhere(self, crew: Crew, pieces: Iterable[Piece]) -> Generator[int]:
        started = time.monotonic()
        with closing(crew.do(self._stations, pieces)) as done:
            for number, _ in done:
                self.seconds += time.monotonic() - started
                self.repainted += len(self._ids(number))
                yield number
                started = time.monotonic()

    def _ids(self, number: int) -> tuple[str, ...]:
        return tuple(self._ranked[number * CANDIDATES_PER_SHARD : (number + 1) * CANDIDATES_PER_SHARD])

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
