"""The plan of a study: which pairs there are, and in which order and on which sides each rater sees them.

Everything is keyed by the study's seed and the rater's number: a rater who is added later changes nothing for the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pairwright import seeds
from pairwright.errors import Explained
from pairwright.options import Study
from pairwright.suggestions import hint

DAMAGED = "damaged"
"""Stands for a model where an attention check shows a mosaic."""
_FIRST_CHECK = 2  # a rater has seen what is asked before a check comes

Role = Literal["main", "repeat", "check"]


class StudyError(Explained, ValueError):
    """A study that cannot be made, found or run; the message says why and what to do."""


@dataclass(frozen=True)
class Generated:
    """Where the pictures of a ``generate`` step are: for a prompt, by its picture's number, by model, the picture's id."""

    prompt_id: str
    prompt: str
    category: str
    pictures: Mapping[int, Mapping[str, str]]


@dataclass(frozen=True)
class Pair:
    """Two pictures for one prompt. Of an attention check the first is the picture and the second its mosaic."""

    number: int
    kind: Literal["main", "check"]
    prompt_id: str
    prompt: str
    category: str
    models: tuple[str, str]
    pictures: tuple[str, str]
    """Ids of the pictures in the store."""


@dataclass(frozen=True)
class Turn:
    """One showing of a pair to one rater."""

    pair: int
    role: Role
    first_left: bool
    """Whether the pair's first picture stands on the left."""


def models_of(options: Study, there: Sequence[str]) -> tuple[str, ...]:
    """The models to compare, the one that the others are measured against first.

    Raises:
        StudyError: fewer than two, one named twice, one that is not there, or a label with a meaning of its own.
    """
    chosen = options.models or tuple(there)
    for name in chosen:
        if name not in there:
            raise StudyError(f"models: the pictures have no model {name!r}." + hint(name, there, listed="There are"))
    if DAMAGED in chosen:
        raise StudyError(f"models: {DAMAGED!r} is what attention checks are called; give the model another label")
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise StudyError(f"models: two or more different ones are compared, got {', '.join(chosen) or 'none'}")
    return chosen


def pairs_of(options: Study, models: Sequence[str], generated: Iterable[Generated]) -> list[Pair]:
    """All pairs of a study: every chosen prompt with every two models (or each with the first), then the attention checks.

    Of a prompt's several pictures one number is drawn, the same for all models: they start from the same noise.

    Raises:
        StudyError: no prompt has pictures of all the models.
    """
    whole = [each for each in generated if _numbers(each, models)]
    if not whole:
        raise StudyError(f"no prompt has pictures of all of: {', '.join(models)}")
    chosen = _choose(options, whole)
    contests = list(itertools.combinations(models, 2))
    if options.against_first:
        contests = [contest for contest in contests if contest[0] == models[0]]
    found = []
    for prompt in chosen:
        numbers = _numbers(prompt, models)
        shown = prompt.pictures[numbers[seeds.integer(len(numbers), options.seed, "study picture", prompt.prompt_id)]]
        found += [(prompt, contest, (shown[contest[0]], shown[contest[1]])) for contest in contests]
    main = [
        Pair(number, "main", prompt.prompt_id, prompt.prompt, prompt.category, contest, ids)
        for number, (prompt, contest, ids) in enumerate(found)
    ]
    return main + _checks(options, models, whole, {each.prompt_id for each in chosen}, len(main))


def _numbers(prompt: Generated, models: Sequence[str]) -> list[int]:
    return sorted(number for number, by_model in prompt.pictures.items() if all(model in by_model for model in models))


def _choose(options: Study, prompts: Sequence[Generated]) -> list[Generated]:
    chosen = []
    for category in sorted({each.category for each in prompts}):
        members = sorted(
            (each for each in prompts if each.category == category),
            key=lambda each: seeds.key(options.seed, "study prompts", each.prompt_id),
        )
        chosen += members[: options.per_category]
    return chosen


def _checks(options: Study, models: Sequence[str], prompts: Sequence[Generated], used: set[str], first: int) -> list[Pair]:
    """From prompts that the study does not use, as far as there are any: no rater sees the picture of a pair twice for it."""
    ordered = sorted(prompts, key=lambda each: (each.prompt_id in used, seeds.key(options.seed, "study checks", each.prompt_id)))
    found = []
    for number, prompt in enumerate(ordered[: math.ceil(options.checks * first)]):
        model = models[seeds.integer(len(models), options.seed, "study check model", prompt.prompt_id)]
        picture = prompt.pictures[_numbers(prompt, models)[0]][model]
        found.append(
            Pair(
                first + number,
                "check",
                prompt.prompt_id,
                prompt.prompt,
                prompt.category,
                (model, DAMAGED),
                (picture, f"{DAMAGED} {picture}"),
            )
        )
    return found


def turns(pairs: Sequence[Pair], rater: int, *, repeats: float, seed: int) -> list[Turn]:
    """What one rater sees, in order.

    Sides are balanced to one: within a rater for every two models and category, and over raters for every pair. Repeats come
    at least a third of the pairs later and with swapped sides; checks are spread evenly.

    Args:
        pairs: of the study.
        rater: number of the rater, from 1.
        repeats: share of the main pairs that are shown again.
        seed: of the study.
    """
    main = [pair for pair in pairs if pair.kind == "main"]
    order = [main[place] for place in seeds.permutation(len(main), seed, "study order", rater)]
    sides = _sides(main, rater, seed)
    placed = [(float(place), Turn(pair.number, "main", sides[pair.number])) for place, pair in enumerate(order)]
    gap = max(1, len(order) // 3)
    early = range(len(order) - gap)
    drawn = sorted(early, key=lambda place: seeds.key(seed, "study repeats", rater, place))[: math.ceil(repeats * len(order))]
    for place in drawn:
        later = place + gap + (len(order) - place - gap) * seeds.uniform(seed, "study repeat place", rater, place)
        number = order[place].number
        placed.append((later, Turn(number, "repeat", not sides[number])))
    checks = [pair for pair in pairs if pair.kind == "check"]
    for place, chosen in enumerate(seeds.permutation(len(checks), seed, "study check order", rater)):
        at = (place + seeds.uniform(seed, "study check place", rater, place)) * len(order) / len(checks)
        left = (place + rater) % 2 == 0
        placed.append((max(_FIRST_CHECK - 0.5, at), Turn(checks[chosen].number, "check", left)))
    return [turn for _, turn in sorted(placed, key=lambda each: each[0])]


def _sides(main: Sequence[Pair], rater: int, seed: int) -> dict[int, bool]:
    """Alternating down a drawn list that goes contest by contest and category by category, and from rater to rater."""
    drawn = sorted(main, key=lambda pair: (pair.models, pair.category, seeds.key(seed, "study sides", pair.number)))
    return {pair.number: (place + rater) % 2 == 0 for place, pair in enumerate(drawn)}
