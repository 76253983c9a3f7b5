"""A recipe's steps as a plan reads them: what flows between them, and which models stand behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pairwright import catalogue, models, options, places, plugins
from pairwright.errors import Explained
from pairwright.literals import option
from pairwright.options import Curate, Feedback, Generate, Import, Plugin, Train
from pairwright.plan import costs
from pairwright.protocols import PairSource
from pairwright.recipe import Recipe, Step
from pairwright.store import Store

PAIRS = (Curate, Import, Feedback)
"""Options of the steps that make pairs."""
PAIRS_PER_CANDIDATE = 0.4
"""Share of repaints that pass the gap in the paper (4,041 of 10,475); what is assumed where a gap has a fixed threshold."""


@dataclass
class Graph:
    """The recipe and everything that can be known of it without running it."""

    recipe: Recipe
    root: Path
    hub: places.Hub
    problems: dict[str, list[str]] = field(default_factory=dict)
    """What would stop the run, and the steps that it would stop."""
    _places: dict[tuple[str, places.Role], places.Place] = field(default_factory=dict)

    @cached_property
    def steps(self) -> dict[str, Step]:
        """By name."""
        return {step.name: step for step in self.recipe.steps}

    def problem(self, where: str, text: str) -> None:
        """Something that would stop the run, said once."""
        steps = self.problems.setdefault(text, [])
        if where not in steps:
            steps.append(where)

    def place(self, name: str, role: places.Role) -> places.Place:
        """Where a named thing is; asked for once."""
        key = (name, role)
        if key not in self._places:
            self._places[key] = places.place(name, role, self.hub)
        return self._places[key]

    def base(self, model: options.Model) -> str | None:
        """The public base at the bottom of a model's chain; None where an earlier run would know it and does not."""
        name = model.base.partition("@")[0]
        if name in self.steps:
            chosen = self.steps[name].options
            return self.base(chosen.start) if isinstance(chosen, Train) else None
        if name.startswith(models.RUNS_PREFIX):
            return self._base_of_run(name)
        return model.base

    def layers(self, model: options.Model) -> Iterator[str]:
        """Files or hub ids of all LoRAs in a model's chain."""
        name = model.base.partition("@")[0]
        if name in self.steps and isinstance(chosen := self.steps[name].options, Train):
            yield from self.layers(chosen.start)
        for text in model.layers:
            head, separator, strength = text.rpartition(":")
            yield head if separator and _is_number(strength) else text

    def _base_of_run(self, name: str) -> str | None:
        _, run, *step = name.split("/")
        path = self.root / run / "run.json"
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))["steps"]["/".join(step)]
            return models.of_node(Store(self.root).open(entry["verb"], entry["fingerprint"])).base
        except (OSError, ValueError, KeyError, TypeError, Explained):
            self.problem("models", f"{name} is not a finished training step under {self.root}")
            return None

    def pipeline(self, model: options.Model, side: int) -> catalogue.Costs | None:
        """What a model to train or to sample costs at ``side`` pixels."""
        base = self.base(model)
        return costs.pipeline(base, self.place(base, "pipeline").folder, side) if base else None

    def perturbation(self, plugin: Plugin, side: int) -> catalogue.Costs | None:
        """The same of a perturbation that names a pipeline, with the ControlNet that it may name besides."""
        name, control = (option("perturbations", plugin, each) for each in ("model", "controlnet"))
        if not isinstance(name, str):
            return None
        found = costs.pipeline(name, self.place(name, "pipeline").folder, side)
        if not isinstance(control, str):
            return found
        return costs.controlled(found, control, self.place(control, "weights").folder, side)

    def rewards(self, *asked: Plugin) -> list[catalogue.Costs | None]:
        """What rewards cost, by network; see :func:`pairwright.plan.costs.rewards`."""
        return costs.rewards(asked, lambda name: self.place(name, "weights").folder)

    def saliency(self, plugin: Plugin) -> catalogue.Costs | None:
        """What a saliency model costs."""
        name = option("saliency", plugin, "model")
        size = option("saliency", plugin, "size")
        if not isinstance(name, str):
            return None
        return costs.saliency(name, self.place(name, "weights").folder, size if isinstance(size, int) else None)

    def side(self, step: Step) -> int:
        """Pixels a side of the pictures that a step makes or works with; 512 where nobody says."""
        return self._side(step) or 512

    def _side(self, step: Step) -> int | None:
        chosen = step.options
        # A feedback's own resolution is that of its source: pictures of another step keep their size.
        own: int | None = None if isinstance(chosen, Feedback) and chosen.source is None else getattr(chosen, "resolution", None)
        if own:
            return own
        before = [self.steps[name] for name in step.inputs]
        found = [self._side(each) for each in before if not isinstance(each.options, Train)]
        return max((side for side in found if side), default=None)

    def photographs(self, step: Step) -> int | None:
        """How many the source lists; None where it cannot be read."""
        return self._count(step, len)

    def brought(self, step: Step) -> int | None:
        """How many preferences the source lists; None where it cannot be read."""

        def count(source: Any) -> int:
            if not isinstance(source, PairSource):
                raise TypeError("it gives pictures and no pairs")
            return source.pair_count()

        return self._count(step, count)

    def _found(self, step: Step) -> int | None:
        """How many pictures the source of a feedback step lists: of pairs one side each."""
        return self._count(step, lambda source: source.pair_count() if isinstance(source, PairSource) else len(source))

    def _count(self, step: Step, count: Callable[[Any], int]) -> int | None:
        assert isinstance(step.options, Curate | Import | Feedback)
        source = step.options.source
        assert source is not None
        try:
            return count(plugins.load("sources", source.name, **source.options))
        except Explained as error:
            self.problem(f"{step.name}.source", str(error))
        except (ImportError, OSError, TypeError, ValueError) as error:
            self.problem(f"{step.name}.source", f"{type(error).__name__}: {error}")
        return None

    def pairs(self, step: Step) -> int | None:
        """How many pairs a step works with, at most: of all its inputs that make pairs."""
        found = [self._made(self.steps[name]) for name in step.inputs if isinstance(self.steps[name].options, PAIRS)]
        known = [count for count in found if count is not None]
        return sum(known) if known and len(known) == len(found) else None

    def _made(self, step: Step) -> int | None:
        chosen = step.options
        if isinstance(chosen, Curate):
            return chosen.keep.top if chosen.keep else None
        return self.brought(step) if isinstance(chosen, Import) else self.originals(step)

    def originals(self, step: Step) -> int | None:
        """How many pictures a feedback step improves, at most."""
        assert isinstance(step.options, Feedback)
        count = self._found(step) if step.options.source else self.pairs(step) or self.pictures(step)
        return count if count is None or step.options.limit is None else min(count, step.options.limit)

    def prompts(self, step: Step) -> int | None:
        """How many prompts a generate step has; None where only the run will tell."""
        assert isinstance(step.options, Generate)
        wanted = step.options.prompts
        if wanted.name in self.steps:
            chosen = self.steps[wanted.name].options
            found = chosen.keep.top if isinstance(chosen, Curate) and chosen.keep else None
            return min(found, wanted.limit) if found and wanted.limit else found
        from pairwright import prompts

        if wanted.name in prompts.KNOWN and wanted.path is None:
            whole = prompts.KNOWN[wanted.name].count  # a plan downloads nothing
            return min(whole, wanted.limit) if wanted.limit else whole
        try:
            return len(prompts.load(wanted.name, path=wanted.path, limit=wanted.limit, seed=wanted.seed))
        except Explained as error:
            self.problem(f"{step.name}.prompts", str(error))
        return None

    def pictures(self, step: Step) -> int | None:
        """How many pictures reach a score step, all models together."""
        counts = [self._generated(self.steps[name]) for name in step.inputs]
        known = [each for each in counts if each is not None]
        return sum(known) if counts and len(known) == len(counts) else None

    def _generated(self, step: Step) -> int | None:
        if not isinstance(step.options, Generate):
            pairs = self.pairs(step) if not isinstance(step.options, Curate) else step.options.keep and step.options.keep.top
            return 2 * pairs if pairs else None
        prompts = self.prompts(step)
        return prompts * step.options.per_prompt * len(step.options.models) if prompts is not None else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
