"""A recipe's graph: what each step builds on, in which order, and whether it gets what its verb reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from pydantic import BaseModel

from pairwright import wording
from pairwright.options import Compare, Generate, Model, PromptSet, Train
from pairwright.recipe.files import RecipeError
from pairwright.recipe.steps import Step
from pairwright.suggestions import hint

_PAIRS = ("curate", "import", "feedback")
_NEEDS = {
    "feedback": (*_PAIRS, "generate"),
    "editors": ("feedback",),
    "train": _PAIRS,
    "score": ("generate",),
    "compare": ("score",),
}
"""What a verb reads must come from a step of one of these verbs."""


def check_inputs(ordered_steps: Sequence[Step], where: str) -> None:
    """Every step gets what its verb reads.

    Raises:
        RecipeError: a step whose inputs cannot be right.
    """
    steps = {step.name: step for step in ordered_steps}
    for step in ordered_steps:
        _check_step(step, steps, where)


def _check_step(step: Step, steps: Mapping[str, Step], where: str) -> None:
    needed = None if getattr(step.options, "source", None) else _NEEDS.get(step.verb)
    if needed and not any(steps[name].verb in needed for name in step.inputs):
        known = [name for name, each in steps.items() if each.verb in needed]
        raise RecipeError(f"{where}: step.{step.name}.from: {step.verb} needs a {wording.either(needed)} step." + hint("", known))
    if isinstance(step.options, Train):
        _check_mix(step, step.options.mix, steps, where)
    if isinstance(step.options, Compare) and step.options.baseline is not None:
        labels = _labels(step, steps)
        if labels and step.options.baseline not in labels:
            place = f"{where}: step.{step.name}.baseline"
            raise RecipeError(f"{place}: no model is called {step.options.baseline!r}." + hint(step.options.baseline, labels))


def _check_mix(step: Step, mix: Mapping[str, float], steps: Mapping[str, Step], where: str) -> None:
    made = [name for name in step.inputs if steps[name].verb in _PAIRS]
    if not mix and len(made) > 1:
        raise RecipeError(
            f"{where}: step.{step.name}.from: {wording.either(made).replace(' or ', ' and ')} are several sets of pairs; "
            f"say how much of each, such as mix = {{ {', '.join(f'{name} = 1' for name in made)} }}"
        )
    for name in mix:
        if name not in made:
            raise RecipeError(f"{where}: step.{step.name}.mix: {name!r} is no step with pairs in 'from'." + hint(name, made))
    left = [name for name in made if mix and name not in mix]
    if left:
        raise RecipeError(f"{where}: step.{step.name}.mix: {left[0]!r} is in 'from' and has no share; give it one, or leave it out")


def _labels(step: Step, steps: Mapping[str, Step]) -> list[str]:
    """The models whose pictures reach a step."""
    own = list(step.options.models) if isinstance(step.options, Generate) else []
    return own + [
        label for name in step.inputs if steps[name].verb in {"generate", "score"} for label in _labels(steps[name], steps)
    ]


def mentioned(value: object) -> Iterator[str]:
    """Names of models and prompt sets, which may be steps."""
    if isinstance(value, Model):
        yield value.base.partition("@")[0]
    elif isinstance(value, PromptSet):
        yield value.name
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from mentioned(getattr(value, name))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from mentioned(each)


def ordered(steps: Mapping[str, Step], where: str) -> tuple[Step, ...]:
    """The steps in an order in which they can be run: that of the file, but for those that build on a later one."""
    sorter = TopologicalSorter({name: step.inputs for name, step in steps.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise RecipeError(f"{where}: steps build on each other in a circle: {' -> '.join(error.args[1])}") from error
    place = {name: number for number, name in enumerate(steps)}
    found: list[Step] = []
    ready: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=place.__getitem__)
        first = ready.pop(0)
        found.append(steps[first])
        sorter.done(first)
    return tuple(found)
