"""Which models each step reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pairwright import options, places, plugins
from pairwright.options import Curate, Generate, Plugin, Train
from pairwright.plan.graph import Graph
from pairwright.plan.literals import constant, option
from pairwright.recipe import Step


def plugins_of(chosen: options.Options) -> Iterator[tuple[plugins.Shelf, Plugin]]:
    """Every plug-in that a step's options name, with its shelf, the source's apart."""
    if isinstance(chosen, Curate):
        yield from (("rewards", each.reward) for each in chosen.filters)
        yield "saliency", chosen.saliency
        yield "perturbations", chosen.perturbation
        yield from (("rewards", each.reward) for each in (chosen.gap, chosen.keep) if each is not None)
    if isinstance(chosen, options.Score):
        yield from (("rewards", each) for each in chosen.rewards)


def needs(step: Step, graph: Graph) -> list[places.Place]:
    """Every model that a step reads, each once, in the order in which it is needed."""
    found: dict[str, places.Place] = {}
    for shelf, plugin in plugins_of(step.options):
        model = option(shelf, plugin, "model")
        if not isinstance(model, str):
            continue
        found[model] = graph.place(model, "pipeline" if shelf == "perturbations" else "weights")
        processor = processor_of(shelf, plugin, found[model].folder)
        if processor is not None:
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


def processor_of(shelf: plugins.Shelf, plugin: Plugin, path: Path | None) -> str | None:
    """What tokenizer and preprocessing come from, where that is not the model's own folder.

    By convention that is the plug-in's option ``processor``, else its constant ``PROCESSOR``.
    """
    named = option(shelf, plugin, "processor")
    if isinstance(named, str) or _has_tokenizer(path):
        return named if isinstance(named, str) else None
    return constant(plugins.signature(shelf, plugin.name).module, "PROCESSOR")


def _has_tokenizer(path: Path | None) -> bool:
    folder = path if path is None or path.is_dir() else path.parent
    return folder is not None and any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "vocab.txt"))
