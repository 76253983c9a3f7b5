"""Each model's pictures, scored by each reward."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pairwright import engines, options, resolve, scoring, suggestions
from pairwright.context import Context
from pairwright.errors import Explained
from pairwright.evaluate import diversity
from pairwright.store import Node, write_json

VERSION = 1


class ScoreError(Explained, ValueError):
    """Inputs that cannot be scored; the message says what is missing or met twice."""


def score(chosen: options.Score, context: Context) -> Node:
    """Score every picture of the ``generate`` steps among the inputs.

    The result holds ``tables.json``::

        {"pictures": {label: fingerprint of the "pictures" node},
         "tables": {label: {reward: fingerprint of the "scores" node}},
         "columns": [{"reward", "name", "unit", "higher_is_better"}, ...],
         "diversity": {"by": what is compared, "tables": {label: fingerprint of the "diversity" node}}, where it is asked for}

    Raises:
        ScoreError: no input has pictures of models, two inputs use one label, or two rewards report one column.
        pairwright.plugins.PluginError: an unknown reward or option.
    """
    meaning = {"version": VERSION, "rewards": [resolve.meaning("rewards", each) for each in chosen.rewards]}
    if chosen.diversity:
        meaning["diversity"] = chosen.diversity
    node = context.node("score", meaning, [each.fingerprint for each in context.inputs.values()])
    if node.complete:
        return node
    if chosen.engine != "local":
        context = context.absolute()
    models = _models(context)
    named = _named(chosen.rewards)
    diverse = _diversity(chosen, models, context)
    scored = _scored(chosen, {label: scoring.Stored(pictures) for label, pictures in models.items()}, context)
    names = [name for name, _ in named]
    tables = {label: {name: each.fingerprint for name, each in zip(names, nodes, strict=True)} for label, nodes in scored.items()}
    unscored = {name: sum(nodes[place].summary["unscored"] for nodes in scored.values()) for place, name in enumerate(names)}
    parts = [each for nodes in scored.values() for each in nodes]
    columns = [
        {"reward": name, **asdict(column)}
        for name, each in zip(names, next(iter(scored.values())), strict=True)
        for column in scoring.read_columns(each)
    ]
    _distinct([*(column["name"] for column in columns), *([diversity.VERB] if chosen.diversity else [])])
    record: dict[str, Any] = {"pictures": {label: each.fingerprint for label, each in models.items()}, "tables": tables}
    record["columns"] = columns
    if chosen.diversity:
        record["diversity"] = {"by": chosen.diversity, "tables": {label: each.fingerprint for label, each in diverse.items()}}
    write_json(node.path / "tables.json", record)
    node.finish(parts=[*parts, *diverse.values()], models=list(models), rewards=names, unscored=unscored)
    return node


def _scored(chosen: options.Score, sets: Mapping[str, scoring.Stored], context: Context) -> dict[str, list[Node]]:
    """Each set's scores by each reward, by whoever scores."""
    shared: dict[str, Any] = {"batch": chosen.batch_size, "progress": context.progress}
    with engines.crew(chosen.engine, chosen.ray, context.store.root, context.progress) as crew:
        if crew is None:
            devices = chosen.devices or (chosen.device,)
            return scoring.score_sets(context.store, sets, chosen.rewards, devices=devices, **shared)
        return scoring.score_sets_crewed(context.store, sets, chosen.rewards, crew, device=chosen.device, **shared)


def _diversity(chosen: options.Score, models: Mapping[str, Node], context: Context) -> dict[str, Node]:
    """The diversity of each model's pictures, by label; nothing where it is not asked for."""
    if not chosen.diversity:
        return {}
    by = next((each for each in chosen.rewards if each.name == chosen.diversity), None)
    if by is None and chosen.diversity != diversity.PIXELS:
        names = [each.name for each in chosen.rewards]
        raise ScoreError(
            f"diversity = {chosen.diversity!r} names no reward of this step."
            + suggestions.hint(chosen.diversity, ["pixels", *names])
        )
    how: dict[str, Any] = {"batch": chosen.batch_size, "device": chosen.device, "progress": context.progress}
    return {label: diversity.measure(context.store, node, by, **how) for label, node in models.items()}


def _models(context: Context) -> dict[str, Node]:
    """The pictures of each model, by label, in the order of the inputs."""
    found: dict[str, Node] = {}
    for step, node in context.inputs.items():
        path = node.path / "models.json"
        if not path.exists():
            continue
        for label, fingerprint in json.loads(path.read_text(encoding="utf-8")).items():
            if label in found:
                raise ScoreError(f"two steps have a model called {label!r}; rename the one in {step!r}")
            found[label] = context.store.open("pictures", fingerprint)
    if not found:
        raise ScoreError(f"score needs a generate step among its inputs; it has: {', '.join(context.inputs) or 'none'}")
    return found


def _named(rewards: tuple[options.Plugin, ...]) -> list[tuple[str, options.Plugin]]:
    """Rewards by name; the same reward with other options is called ``name-2``."""
    seen: Counter[str] = Counter()
    named = []
    for reward in rewards:
        seen[reward.name] += 1
        named.append((reward.name if seen[reward.name] == 1 else f"{reward.name}-{seen[reward.name]}", reward))
    return named


def _distinct(names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ScoreError(f"two rewards report the column {twice[0]!r}; score them in steps of their own")
