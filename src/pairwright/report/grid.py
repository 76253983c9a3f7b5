"""The same prompt and the same initial noise, model by model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pairwright.report.gather import Run, Step, spread
from pairwright.report.pictures import Thumbnail, thumbnail
from pairwright.store import Store, StoreError
from pairwright.tables import PictureIndex

MOST_PROMPTS = 40
MOST_NOISES = 4
MOST_PICTURES = 360
SIDE = 224

Place = tuple[str, int]
"""Prompt and index: what pictures of several models have in common."""


@dataclass(frozen=True)
class GridRow:
    """One prompt."""

    prompt: str
    category: str
    cells: tuple[tuple[Thumbnail | None, ...], ...]
    """By model, then by noise. None: that picture is not there yet."""


@dataclass(frozen=True)
class Grid:
    """Prompt by model: one generate step, or the rows of a table."""

    models: tuple[str, ...]
    rows: tuple[GridRow, ...]
    noises: int
    """How many initial noises are shown."""
    prompts: int
    """How many prompts there are."""
    pictures: int
    """How many pictures there are."""


@dataclass(frozen=True)
class Generated:
    """The pictures of one model."""

    index: PictureIndex
    ids: dict[Place, str]
    texts: dict[str, tuple[str, str]]
    """Prompt and category, by the prompt's id."""


def grid(run: Run, step: Step) -> Grid | None:
    """Pictures of a generate step, prompts evenly spread; None before there are any."""
    return sheet(run.store, step.json("models.json") or {})


def sheet(store: Store, digests: Mapping[str, str]) -> Grid | None:
    """A contact sheet of results of ``pictures``, by label; None where none of them holds any.

    Args:
        store: where they are.
        digests: fingerprint by label.
    """
    models = read_models(store, digests)
    texts = {key: value for model in models.values() for key, value in model.texts.items()}
    if not texts:
        return None
    prompts, noises = list(texts), 1 + max(index for model in models.values() for _, index in model.ids)
    shown_noises = min(noises, MOST_NOISES)
    most = max(1, min(MOST_PROMPTS, MOST_PICTURES // (len(models) * shown_noises)))
    chosen = [prompts[place] for place in spread(len(prompts), most)]
    pictures = [_pictures(model, chosen, shown_noises) for model in models.values()]
    rows = tuple(
        GridRow(*texts[prompt], tuple(tuple(each.get((prompt, noise)) for noise in range(shown_noises)) for each in pictures))
        for prompt in chosen
    )
    return Grid(tuple(models), rows, shown_noises, len(prompts), sum(len(model.ids) for model in models.values()))


def read_models(store: Store, digests: Mapping[str, str]) -> dict[str, Generated]:
    """What results of ``pictures`` hold, by label; those that are not in the store are left out."""
    return {label: found for label, digest in digests.items() if (found := _model(store, digest))}


def _model(store: Store, digest: str) -> Generated | None:
    try:
        node = store.open("pictures", digest)
    except StoreError:
        return None
    ids: dict[Place, str] = {}
    texts: dict[str, tuple[str, str]] = {}
    for row in node.rows(columns=["id", "caption", "prompt_id", "category", "index"]):
        prompt = row["prompt_id"] or row["caption"]
        ids[prompt, int(row["index"])] = row["id"]
        texts[prompt] = (row["caption"], row["category"] or "")
    return Generated(PictureIndex.of(node), ids, texts)


def _pictures(model: Generated, prompts: list[str], noises: int) -> dict[Place, Thumbnail]:
    places = [(prompt, noise) for prompt in prompts for noise in range(noises) if (prompt, noise) in model.ids]
    found = model.index.get([model.ids[place] for place in places])
    return {place: thumbnail(picture.data, SIDE) for place, picture in zip(places, found, strict=True)}
