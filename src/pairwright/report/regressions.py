"""Where a model got worse: the prompts that lost most by the primary metric, with their pictures beside the baseline's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pairwright import scoring, wording
from pairwright.records import Unscored
from pairwright.report.gather import Run, Step
from pairwright.report.pictures import Thumbnail, thumbnail
from pairwright.store import Node, Store, StoreError
from pairwright.tables import PictureIndex

MOST = 6
"""Prompts shown of each model."""
SIDE = 224

Place = tuple[str, int]
"""Prompt and index."""


@dataclass(frozen=True)
class Regression:
    """One prompt on which a model lost."""

    prompt: str
    category: str
    difference: str
    """Of the prompt's mean: model minus baseline."""
    baseline: Thumbnail
    baseline_score: str
    model: Thumbnail
    model_score: str


@dataclass(frozen=True)
class Regressions:
    """The worst prompts of one model."""

    model: str
    against: str
    metric: str
    worse: int
    """Prompts whose mean got worse at all."""
    prompts: int
    rows: tuple[Regression, ...]


def regressions(run: Run, step: Step) -> list[Regressions]:
    """For each model of a compare step its worst prompts, worst first; nothing before the step is done.

    Of each prompt, the pair of pictures is shown whose scores fell furthest apart.
    """
    found = step.json("comparison.json")
    sources = [source for name in step.inputs if (source := run.step(name)) and source.verb == "score"]
    if found is None:
        return []
    primary = next(metric for metric in found["metrics"] if metric["primary"])
    record = next((each for source in sources if (each := source.json("tables.json")) and _holds(each, primary["name"])), None)
    if record is None:
        return []
    try:
        models = {label: _Model.read(run.store, record, label, primary["name"]) for label in found["models"]}
    except StoreError:
        return []  # scores or pictures were taken away since
    sign = 1 if primary["higher_is_better"] else -1
    baseline = models.pop(found["baseline"])
    names = found["baseline"], primary["name"]
    return [each for label, model in models.items() if (each := _worst(label, model, baseline, sign, names)).rows]


def _holds(record: Mapping[str, Any], column: str) -> bool:
    return any(each["name"] == column for each in record["columns"])


@dataclass(frozen=True)
class _Model:
    pictures: Node
    scores: dict[Place, float]
    ids: dict[Place, str]
    texts: dict[str, tuple[str, str]]

    @classmethod
    def read(cls, store: Store, record: Mapping[str, Any], label: str, column: str) -> _Model:
        reward = next(each["reward"] for each in record["columns"] if each["name"] == column)
        scored = scoring.read_scores(store.open(scoring.VERB, record["tables"][label][reward]))
        pictures = store.open("pictures", record["pictures"][label])
        scores: dict[Place, float] = {}
        ids, texts = {}, {}
        for row in pictures.rows(columns=["id", "caption", "prompt_id", "category", "index"]):
            prompt = row["prompt_id"] or row["caption"]
            score = scored.get(row["id"])
            if score is None or isinstance(score, Unscored):
                continue
            place = prompt, int(row["index"])
            scores[place], ids[place], texts[prompt] = score[column], row["id"], (row["caption"], row["category"] or "")
        return cls(pictures, scores, ids, texts)


def _worst(label: str, model: _Model, baseline: _Model, sign: int, names: tuple[str, str]) -> Regressions:
    falls: dict[str, dict[Place, float]] = defaultdict(dict)
    for place in model.scores.keys() & baseline.scores.keys():
        falls[place[0]][place] = sign * (model.scores[place] - baseline.scores[place])
    means = {prompt: fmean(each.values()) for prompt, each in falls.items()}
    order = sorted((prompt for prompt, mean in means.items() if mean < 0), key=lambda prompt: (means[prompt], prompt))
    places = [min(falls[prompt], key=lambda place: (falls[prompt][place], place)) for prompt in order[:MOST]]
    both = [PictureIndex.of(each.pictures).get([each.ids[place] for place in places]) for each in (baseline, model)]
    rows = tuple(
        Regression(
            *baseline.texts[place[0]],
            wording.number(sign * means[place[0]], sign=True),
            thumbnail(before.data, SIDE),
            wording.number(baseline.scores[place]),
            thumbnail(after.data, SIDE),
            wording.number(model.scores[place]),
        )
        for place, before, after in zip(places, *both, strict=True)
    )
    return Regressions(label, *names, len(order), len(means), rows)
