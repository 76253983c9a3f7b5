"""The steps that ask which checkpoint of a training is best: generate, score, compare."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairwright.options import Plugin
from pairwright.recipe.files import RecipeError
from pairwright.suggestions import hint

_FEWEST = 3
"""Models that make a curve."""


@dataclass(frozen=True)
class Question:
    """What is asked of the checkpoints."""

    prompts: str
    """A small set that nothing else is judged on."""
    rewards: tuple[Plugin, ...]
    """The first one's first column decides."""
    limit: int | None = None
    """Of the prompts."""
    per_prompt: int = 2
    like: str = ""
    """The generate step whose settings are taken; default: the run's only one."""


def steps(document: Mapping[str, Any], training: str, checkpoints: Sequence[str], asked: Question) -> dict[str, dict[str, Any]]:
    """Three steps by name; the last is the comparison.

    The model that the training started from comes first, as the baseline: a training whose best checkpoint is no better than
    that has not helped.

    Args:
        document: the run's recipe.
        training: name of its train step.
        checkpoints: their names (``step-00000100``).
        asked: what is asked of them.

    Raises:
        RecipeError: no such train step, no checkpoint, or no generate step whose settings could be taken.
    """
    there = document.get("step", {})
    trained = [name for name, table in there.items() if table.get("verb") == "train"]
    if training not in trained:
        raise RecipeError(f"there is no train step {training!r}." + hint(training, trained))
    if not checkpoints:
        raise RecipeError(f"step {training!r} left no checkpoints; train with checkpoint_every = N")
    models = {"start": there[training]["start"]}
    models |= {f"step {int(name.removeprefix('step-'))}": {"base": f"{training}@{name}"} for name in checkpoints}
    generate = {**_like(there, asked.like), "verb": "generate", "from": [], "models": models, "per_prompt": asked.per_prompt}
    generate |= {"prompts": {"name": asked.prompts, "limit": asked.limit}, "protocol": None}
    pictures, scores, choice = (f"{training}-checkpoint{part}" for part in ("-pictures", "-scores", "s"))
    rewards = [each.model_dump(mode="json") for each in asked.rewards]
    return {
        pictures: generate,
        scores: {"verb": "score", "from": [pictures], "rewards": rewards},
        choice: {"verb": "compare", "from": [scores], "best": True},
    }


def place(label: str) -> int | None:
    """Steps of training behind a model that is called as :func:`steps` calls them; None for any other."""
    if label == "start":
        return 0
    return int(label.removeprefix("step ")) if re.fullmatch(r"step \d+", label) else None


def places(models: Sequence[str]) -> dict[str, float]:
    """The place of every model, where they are three checkpoints of a training or more; empty otherwise."""
    at = {label: float(found) for label in models if (found := place(label)) is not None}
    return at if len(at) == len(models) >= _FEWEST else {}


def _like(there: Mapping[str, Mapping[str, Any]], wanted: str) -> dict[str, Any]:
    found = {name: table for name, table in there.items() if table.get("verb") == "generate" and "-checkpoint-" not in name}
    if wanted not in found and (wanted or len(found) != 1):
        what = f"no generate step {wanted!r}" if wanted else f"{len(found)} generate steps whose settings could be taken"
        raise RecipeError(f"the run has {what}; name one with --like." + hint(wanted, found))
    return dict(found[wanted] if wanted else next(iter(found.values())))


def same_prompts(document: Mapping[str, Any], prompts: str) -> list[str]:
    """Steps of the run that are judged on the same set: what is chosen on it is favoured by it."""
    return [
        name
        for name, table in document.get("step", {}).items()
        if table.get("verb") == "generate" and "-checkpoint-" not in name and _name(table.get("prompts")) == prompts
    ]


def _name(prompts: Any) -> str:
    return str(prompts.get("name", "")) if isinstance(prompts, Mapping) else str(prompts)
