"""Which models each step reads."""

from __future__ import annotations

from collections.abc import Iterator

from pairwright import options, places, plugins
from pairwright.literals import processor_of, weights_of
from pairwright.options import Curate, Generate, Plugin, Train
from pairwright.plan.graph import Graph
from pairwright.recipe import Step


def plugins_of(chosen: options.Options) -> Iterator[tuple[plugins.Shelf, Plugin]]:
    """Every plug-in that a step's options name, with its shelf, the source's apart."""
    if isinstance(chosen, Curate):
        yield from (("rewards", each.reward) for each in chosen.filters)
        if chosen.saliency is not None:
            yield "saliency", chosen.saliency
        yield "perturbations", chosen.perturbation
        yield from (("rewards", each.reward) for each in (chosen.gap, chosen.keep) if each is not None)
    if isinstance(chosen, options.Score):
        yield from (("rewards", each) for each in chosen.rewards)
    if isinstance(chosen, options.Feedback):
        yield "perturbations", chosen.editor
        yield from (("rewards", each) for each in (chosen.reward, *chosen.measures) if each is not None)


def speakers_of(chosen: options.Options) -> Iterator[tuple[plugins.Shelf, Plugin]]:
    """Critics and instructors, whose networks :func:`plugins_of` leaves out: what they take depends on their words."""
    if isinstance(chosen, options.Feedback):
        if chosen.critic is not None:
            yield "critics", chosen.critic
        yield "instructors", chosen.instructor


def needs(step: Step, graph: Graph) -> list[places.Place]:
    """Every model that a step reads, each once, in the order in which it is needed."""
    found: dict[str, places.Place] = {}
    for shelf, plugin in [*plugins_of(step.options), *speakers_of(step.options)]:
        names = weights_of(shelf, plugin)
        for number, name in enumerate(names):
            # A perturbation's model is a pipeline; what stands beside it (a ControlNet) is one network.
            found[name] = graph.place(name, "pipeline" if shelf == "perturbations" and number == 0 else "weights")
        processor = processor_of(shelf, plugin, found[names[0]].folder) if names else None
        if processor is not None and processor not in found:
            found[processor] = graph.place(processor, "processor")
    for model in models_of(step.options):
        base = graph.base(model)
        if base is not None:
            found[base] = graph.place(base, "pipeline")
        found |= {each: graph.place(each, "weights") for each in graph.layers(model)}
    return list(found.values())


def models_of(chosen: options.Options) -> list[options.Model]:
    """The models that a step trains, measures against or samples."""
    if isinstance(chosen, Train):
        return [chosen.start, *([chosen.reference] if isinstance(chosen.reference, options.Model) else [])]
    return list(chosen.models.values()) if isinstance(chosen, Generate) else []
