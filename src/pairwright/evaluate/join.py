"""The numbers of all models, joined by prompt and initial noise."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pairwright import scoring
from pairwright.context import Context
from pairwright.errors import Explained
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
    categories: dict[Place, str] = {}
    values: dict[str, dict[str, dict[Place, float | Unscored]]] = {}
    for label, fingerprint in records[0]["pictures"].items():
        places = _places(context.store.open("pictures", fingerprint), categories)
        values[label] = {}
        for record in records:
            for digest in record["tables"][label].values():
                node = context.store.open(scoring.VERB, digest)
                scores = scoring.read_scores(node)
                for column in scoring.read_columns(node):
                    values[label][column.name] = {place: _number(scores[key], column.name) for key, place in places.items()}
    return Scored(tuple(columns), values, categories)


def _places(pictures: Node, categories: dict[Place, str]) -> dict[str, Place]:
    """The place of every picture, by id; ``categories`` is filled on the way."""
    places = {}
    for row in pictures.rows(columns=["id", "caption", "prompt_id", "category", "index"]):
        place = (row["prompt_id"] or row["caption"], int(row["index"]))
        places[row["id"]] = place
        categories[place] = row["category"] or ""
    return places


def _number(score: dict[str, float] | Unscored, name: str) -> float | Unscored:
    return score if isinstance(score, Unscored) else score[name]
