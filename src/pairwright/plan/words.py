"""What rich feedback costs: calls and tokens of critics and instructors, and what edits and labels compute.

How many words a model answers is not known beforehand. What is assumed is said with the estimate: templates and answers of the
length that ours have. A model behind a server costs calls and tokens, and no time here.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from pairwright import catalogue
from pairwright.literals import option, weights_of
from pairwright.options import Editors, Feedback, Plugin
from pairwright.plan.amounts import Work, painted
from pairwright.plan.graph import Graph
from pairwright.plugins import Shelf
from pairwright.recipe import Step

QUESTION = 250
"""Tokens of a template of ours with a prompt and a critique in it."""
ANSWER = {"critics": 70, "instructors": 25}
"""Tokens of at most three short sentences, and of an instruction as JSON."""
WRITING = 20.0
"""A token that is written takes so many times what one that is read takes: every weight is fetched for a few pictures' tokens.
Inferred from a GPU's bandwidth and speed, for 8 answers at once."""
PICTURE: dict[str, Callable[[int], int]] = {
    "qwen2_5_vl": lambda side: ceil(side / 28) ** 2,
    "llava_critic": lambda side: 729 * (1 + max(1, ceil(side / 384)) ** 2),
    "llava_next": lambda side: 576 * (1 + max(1, ceil(side / 336)) ** 2),
    "llama_vision": lambda side: 1601 * min(4, max(1, ceil(side / 560)) ** 2),
    "openai": lambda side: 85 + 170 * ceil(min(side, 1024) / 512) ** 2,
}
"""Tokens of a square picture, by plug-in; at most, where a model pools some of them. ``openai``: as GPT-4o counts."""
SHORT = 3
"""Network passes of a critic without a language model, in pictures: one, and its texts."""


def spoken(work: Work, shelf: Shelf, plugin: Plugin, count: int, side: int, graph: Graph) -> None:
    """What a critic or an instructor is asked, and what that computes where it runs in this process."""
    if plugin.name not in PICTURE:
        if option(shelf, plugin, "model") is not None:  # a scorer: attributes
            for each in graph.rewards(Plugin(name="pickscore", options={"model": option(shelf, plugin, "model")})):
                work.network(each, "score", count * SHORT, 32)
        return
    read, written = PICTURE[plugin.name](side) + QUESTION, ANSWER[shelf]
    work.said.append(f"{plugin.name}: {count:,} calls, about {count * read:,} tokens to read and {count * written:,} to write")
    for name in weights_of(shelf, plugin):
        known = catalogue.known(name)
        if known is None:
            work.unknown = work.unknown or f"how large {name} is"
            return
        work.flop += 2.0 * known.total * count * (read + WRITING * written)
        work.forwards += count / 8 * written


def rich(step: Step, chosen: Feedback, graph: Graph) -> Work:
    """Calls of critic, instructor and editor, at most, and the labels."""
    count = graph.originals(step)
    shown = "an unknown number of" if count is None else f"at most {count:,}"
    steps = ("critiques, " if chosen.critic else "") + "instructions and edits"
    work = Work(said=[f"{shown} pictures: as many {steps}"])
    if count is None:
        work.unknown = "the number of pictures"
        return work
    side = graph.side(step)
    if chosen.critic is not None:
        spoken(work, "critics", chosen.critic, count, side, graph)
    spoken(work, "instructors", chosen.instructor, count, side, graph)
    told = work.flop
    if painted(work, chosen.editor, count, chosen.batch_size, side, graph):
        for each in graph.rewards(*(reward for reward in (chosen.reward, *chosen.measures) if reward is not None)):
            work.network(each, "score", 2 * count, chosen.batch_size)
        work.pictures(4 * count, side)
        if told and work.flop:
            work.said.append(f"critics and instructors in this process are about {told / work.flop:.0%} of what is computed")
    return work


def contests(step: Step, chosen: Editors, graph: Graph) -> Work:
    """Two calls of the judge, one for each order, for every picture that two steps have edited."""
    sides = [found for name in step.inputs if isinstance(found := graph.steps[name].options, Feedback)]
    counts = [count for name in step.inputs if (count := graph.originals(graph.steps[name])) is not None]
    met = len(sides) * (len(sides) - 1) // 2
    if len(counts) < len(sides):
        return Work(unknown="the number of pictures")
    each = min([*counts, *([chosen.limit] if chosen.limit else [])], default=0)
    return Work(unknown="how many words a model answers", said=[f"at most {each * met * 2:,} calls of {chosen.judge.name}"])
