"""The numbers of all models, joined by prompt and initial noise."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from pairwright import scoring
from pairwright.context import Context
from pairwright.errors import Explained
from pairwright.evaluate import diversity
from pairwright.records import Column, Unscored
from pairwright.store import Node


class CompareError(Explained, ValueError):
    """Scores that cannot be compared; the message says why and what there is."""


Place = tuple[str, int]
"""(prompt, index): pictures of several models at the same place share prompt and initial noise."""


@dataclass(frozen=True)
class Scored:
    """What a score step said: the numbers of every model, joined by place."""

    columns: tuple[Column, ...]
    values: dict[str, dict[str, dict[Place, float | Unscored]]]
    """By model label, then column name."""
    categories: dict[Place, str]
    texts: dict[str, str] = field(default_factory=dict)
    """What a prompt says, by its name in places."""
    rewards: dict[str, str] = field(default_factory=dict)
    """Which reward reports a column."""
    pictures: dict[str, Node] = field(default_factory=dict)
    """By model label."""


@dataclass(frozen=True)
class Pairs:
    """One metric of two models at the places where both have a number."""

    places: tuple[Place, ...]
    treatment: tuple[float, ...]
    baseline: tuple[float, ...]
    unscored: int
    """Places that both models have and at least one has no number for."""
    unmatched: int
    """Places that only one of the two has."""

    @property
    def prompts(self) -> list[str]:
        """The prompt of each place."""
        return [prompt for prompt, _ in self.places]


def paired(treatment: dict[Place, float | Unscored], baseline: dict[Place, float | Unscored]) -> Pairs:
    """One metric of two models, place by place."""
    shared = sorted(treatment.keys() & baseline.keys())
    kept = [
        (place, left, right)
        for place, left, right in ((place, treatment[place], baseline[place]) for place in shared)
        if not isinstance(left, Unscored) and not isinstance(right, Unscored)
    ]
    return Pairs(
        tuple(place for place, _, _ in kept),
        tuple(left for _, left, _ in kept),
        tuple(right for _, _, right in kept),
        unscored=len(shared) - len(kept),
        unmatched=len(treatment.keys() ^ baseline.keys()),
    )


def read_scored(context: Context) -> Scored:
    """The numbers of the ``score`` steps among the inputs.

    Raises:
        CompareError: there are none, or they are of different pictures.
    """
    records = [
        json.loads((node.path / "tables.json").read_text(encoding="utf-8"))
        for node in context.inputs.values()
        if (node.path / "tables.json").exists()
    ]
    if not records:
        raise CompareError(f"compare needs a score step among its inputs; it has: {', '.join(context.inputs) or 'none'}")
    if any(record["pictures"] != records[0]["pictures"] for record in records):
        raise CompareError("the score steps to compare are of different pictures; compare them in steps of their own")
    columns = [Column(each["name"], each["unit"], each["higher_is_better"]) for record in records for each in record["columns"]]
    diverse = next((record["diversity"] for record in records if "diversity" in record), None)
    if diverse:
        columns.append(diversity.column(diverse["by"]))
    rewards = {each["name"]: each["reward"] for record in records for each in record["columns"]}
    scored = Scored(tuple(columns), {}, {}, rewards=rewards)
    for label, fingerprint in records[0]["pictures"].items():
        scored.pictures[label] = context.store.open("pictures", fingerprint)
        places = _places(scored.pictures[label], scored)
        values = scored.values[label] = {}
        for record in records:
            for digest in record["tables"][label].values():
                node = context.store.open(scoring.VERB, digest)
                scores = scoring.read_scores(node)
                for column in scoring.read_columns(node):
                    values[column.name] = {place: _number(scores[key], column.name) for key, place in places.items()}
        if diverse:
            rows = context.store.open(diversity.VERB, diverse["tables"][label]).rows()
            values[diversity.VERB] = {(row["prompt"], 0): row["diversity"] for row in rows}
    return scored


def _places(pictures: Node, scored: Scored) -> dict[str, Place]:
    """The place of every picture, by id; categories and texts are filled on the way."""
    places = {}
    for row in pictures.rows(columns=["id", "caption", "prompt_id", "category", "index"]):
        place = (row["prompt_id"] or row["caption"], int(row["index"]))
        places[row["id"]] = place
        scored.categories[place] = row["category"] or ""
        scored.texts[place[0]] = row["caption"] or ""
    return places


def _number(score: dict[str, float] | Unscored, name: str) -> float | Unscored:
    return score if isinstance(score, Unscored) else score[name]
