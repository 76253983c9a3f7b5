"""Pairs to look at: the two sides, the photograph and its repainted copy for instance, and where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pairwright import tables, wording
from pairwright.report.gather import Step, read_rows, spread
from pairwright.report.pictures import Thumbnail, outline, thumbnail

MOST = 48
SIDE = 360
_CREDIT = ("author", "license", "source", "file")


@dataclass(frozen=True)
class PairCard:
    """One pair."""

    winner: Thumbnail
    loser: Thumbnail
    outline: str
    """Of the repainted region, as SVG path data in a box of 100 x 100; empty where it is not known."""
    caption: str
    facts: tuple[tuple[str, str], ...]
    credit: tuple[str, ...]
    """Author, licence, source, file: what of it is known."""


@dataclass(frozen=True)
class Pairs:
    """The pairs of one step, or an even choice of them."""

    step: Step
    cards: tuple[PairCard, ...]
    total: int
    measure: str
    """What the gap is a gap of."""

    @property
    def sides(self) -> tuple[str, str]:
        """What winner and loser are called."""
        return ("photograph", "repainted") if self.step.verb == "curate" else ("winner", "loser")


def pairs(step: Step) -> Pairs | None:
    """The pairs of a step, evenly spread over the gap, the widest first; None before there are any."""
    if step.node is None or not step.node.shards():
        return None
    lineage = [json.loads(row["lineage"] or "{}") for row in step.node.rows(columns=["lineage"])]
    order = sorted(range(len(lineage)), key=lambda position: -(lineage[position].get("gap") or 0.0))
    chosen = [order[place] for place in spread(len(order), MOST)]
    rows = dict(zip(sorted(chosen), read_rows(step.node, chosen), strict=True))
    cards = tuple(_card(rows[position], lineage[position]) for position in chosen)
    return Pairs(step, cards, len(lineage), str(lineage[0].get("gap_reward") or "") if lineage else "")


def _card(row: Mapping[str, Any], lineage: Mapping[str, Any]) -> PairCard:
    mask = row["mask"]
    return PairCard(
        winner=thumbnail(row["winner"]["bytes"], SIDE),
        loser=thumbnail(row["loser"]["bytes"], SIDE),
        outline=outline(tables.decode_mask(mask["bytes"])) if mask else "",
        caption=row["prompt"],
        facts=tuple(facts(lineage)),
        credit=credit(lineage),
    )


def credit(lineage: Mapping[str, Any]) -> tuple[str, ...]:
    """Author, licence, source and file: what of it is known."""
    return tuple(str(lineage[name]) for name in _CREDIT if lineage.get(name))


def facts(lineage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is worth knowing of a pair beside its pictures, as names and values."""
    winner, loser = lineage.get("winner_score"), lineage.get("loser_score")
    if lineage.get("gap") is not None:
        yield "gap", wording.number(lineage["gap"], sign=True)
    if winner is not None and loser is not None:
        yield "scores", f"{wording.number(winner)} over {wording.number(loser)}"
    if lineage.get("mask_area") is not None:
        yield "repainted", wording.percent(lineage["mask_area"])
    if lineage.get("rank") is not None:
        yield "rank", str(int(lineage["rank"]) + 1)
    if lineage.get("edited_won") is not None:
        yield "won", "the edit" if lineage["edited_won"] else "the original"
    for name in ("critique", "instruction"):
        if lineage.get(name):
            yield name, str(lineage[name])
