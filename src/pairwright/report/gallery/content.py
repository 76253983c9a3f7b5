"""What the page shows: every pair under a name that says nothing, its facts, its pictures, and the funnel that it came from."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pairwright import images, vetoes
from pairwright.pairsets import Outline, PairSet
from pairwright.records import Pair
from pairwright.report.funnel import funnel
from pairwright.report.gather import Step
from pairwright.report.pairs import credit, facts
from pairwright.report.pictures import jpeg, outline

STRIP_SIDE = 96
"""Pixels of the small pictures."""
REMEMBERED = 48
"""Pairs in memory, of some megabyte each."""
SCORES = ("gap", "winner_score", "loser_score", "mask_area", "rank", "rank_score")
"""Numbers of the lineage by which pairs can be sorted and filtered."""

Answer = tuple[str, bytes]
"""Content type and content."""


class Content:
    """A set of pairs as the page knows it. Nothing that a request says is ever part of a path."""

    def __init__(self, pairs: PairSet) -> None:
        self._pairs = pairs
        # Drawn anew each time: a name is good for this page alone.
        self._by_key: dict[str, Outline] = {secrets.token_hex(8): each for each in pairs.outlines}
        self._gone: dict[str, str] = {}
        self._changing = threading.Lock()
        self._pair = lru_cache(maxsize=REMEMBERED)(lambda key: pairs.get(self._by_key[key]))
        self._vetoed()  # a damaged file is said before anything is served

    def listing(self) -> dict[str, Any]:
        """Everything but the pictures."""
        vetoed = self._vetoed()
        keys = {outline.id: key for key, outline in self._by_key.items()}
        for name in vetoed:
            if name not in keys and name not in self._gone.values():
                self._gone[secrets.token_hex(8)] = name
        return {
            "name": self._pairs.name,
            "sides": ["photograph", "repainted"] if self._curated else ["winner", "loser"],
            "scores": [name for name in SCORES if any(_number(each, name) is not None for each in self._by_key.values())],
            "measure": next((str(m) for each in self._by_key.values() if (m := each.lineage.get("gap_reward"))), ""),
            "pairs": [self._described(key, each, vetoed) for key, each in self._by_key.items()],
            "gone": [{"key": key, "id": name, "reason": vetoed[name]} for key, name in self._gone.items() if name in vetoed],
            "funnel": self._funnel(),
            "run": self._pairs.run is not None,
        }

    def picture(self, key: str, side: str) -> Answer | None:
        """``winner`` or ``loser`` as it is, or ``small``: the loser in a few pixels. None: no such pair, or a damaged picture."""
        pair = self._known(key)
        if pair is None or side not in {"winner", "loser", "small"}:
            return None
        if side == "small":
            return "image/jpeg", jpeg(images.decode(pair.loser.data), STRIP_SIDE)
        data = (pair.winner if side == "winner" else pair.loser).data
        if data.startswith(b"\xff\xd8"):
            return "image/jpeg", data
        return "image/png", data if data.startswith(b"\x89PNG") else images.encode(images.decode(data))

    def shape(self, key: str) -> dict[str, Any] | None:
        """Size in pixels and the outline of the mask as SVG path data in a box of 100 x 100."""
        pair = self._known(key)
        if pair is None:
            return None
        width, height = pair.winner.image.size
        return {"width": width, "height": height, "outline": outline(pair.mask) if pair.mask is not None else ""}

    def veto(self, key: str, reason: str | None) -> bool:
        """Veto a pair or, without a reason, take its veto back; False where there is no such pair. It is on the disk then."""
        name = self._by_key[key].id if key in self._by_key else self._gone.get(key)
        if name is None:
            return False
        with self._changing:
            vetoes.change(self._pairs.vetoes, self._pairs.step, name, reason)
        return True

    @property
    def _curated(self) -> bool:
        return self._pairs.node is not None and self._pairs.node.verb == "curate"

    def _vetoed(self) -> Mapping[str, str]:
        return vetoes.read(self._pairs.vetoes).get(self._pairs.step, {})

    def _known(self, key: str) -> Pair | None:
        if key not in self._by_key:
            return None
        try:
            return self._pair(key)
        except images.ImageError:
            return None

    def _described(self, key: str, pair: Outline, vetoed: Mapping[str, str]) -> dict[str, Any]:
        return {
            "key": key,
            "caption": pair.prompt,
            "facts": list(facts(pair.lineage)) + _made(pair.lineage),
            "credit": " · ".join(credit(pair.lineage)),
            "numbers": {name: value for name in SCORES if (value := _number(pair, name)) is not None},
            "veto": vetoed.get(pair.id),
        }

    def _funnel(self) -> list[dict[str, Any]]:
        node = self._pairs.node
        if node is None:
            return []
        found = funnel(Step(self._pairs.step, node.verb, "complete", (), {}, 0.0, reused=False, error="", node=node))
        stages = found.stages if found else ()
        return [
            {"name": each.name, "entered": each.entered, "stayed": each.stayed, "reasons": list(each.reasons)} for each in stages
        ]


def _number(pair: Outline, name: str) -> float | None:
    value = pair.lineage.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _made(lineage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the loser was made, in short."""
    perturbation, edit = lineage.get("perturbation"), lineage.get("edit")
    named = [("by", str(perturbation["name"]))] if isinstance(perturbation, Mapping) and perturbation.get("name") else []
    drawn = [(str(name), str(value)) for name, value in edit.items()] if isinstance(edit, Mapping) else []
    return named + drawn
