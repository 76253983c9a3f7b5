"""Rich feedback: from pictures to better ones, and pairs of the two ("Rich Preference Optimization", section 3).

A critic says what is wrong with a picture for its prompt, an instructor says what to change, an editor changes it, and a reward or
a judge says which of the two is better::

    pictures -> critique -> instruction -> edit -> label -> pairs

The edited picture does not have to win: where the original does, the pair is kept the other way round (a flip). Ties are dropped.
Whatever fails at a step leaves with its reason. Every step is its own result in the store, in shards whose membership is fixed
before work starts: a killed run goes on at the shard where it was, and another editor or label asks no critic again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pairwright import engines, images, plugins, resolve, seeds, tables
from pairwright.context import Context
from pairwright.engines import Crew
from pairwright.feedback import labels, stages
from pairwright.feedback.contests import editors
from pairwright.feedback.labels import Label
from pairwright.feedback.originals import FeedbackError, Originals
from pairwright.feedback.stages import Stage
from pairwright.options import Feedback
from pairwright.records import Pair, Picture, Rejected
from pairwright.selection import Funnel
from pairwright.store import Node

__all__ = ["FeedbackError", "editors", "feedback"]

VERSION = 2


def feedback(options: Feedback, context: Context) -> Node:
    """Improve pictures and make pairs of originals and edits.

    Args:
        options: critic, instructor, editor and label; see :class:`pairwright.options.Feedback`.
        context: ``inputs`` holds one step with pairs, or with pictures of a model; none where ``options.source`` names a source.

    Returns:
        a node with the tables ``data`` (:data:`~pairwright.tables.PAIRS`) and ``rejected``. Its summary holds the funnel, the
        share of edits that won, the flips, and the mean scores of both sides.

    Raises:
        FeedbackError: no step with pictures among the inputs, or every picture was lost.
        ServerError: a critic's, an instructor's or a judge's server cannot be used; what it has answered is kept.
        EngineError: the engine is not there, or a worker met an error that explains itself.
    """
    if options.engine != "local":
        context = context.absolute()
    originals = Originals.of(options, context)
    road = _Road(options, context, originals)
    meaning = {"version": VERSION, "options": _meaning(options), **originals.meaning}
    if context.vetoed:
        meaning["vetoes"] = dict(sorted(context.vetoed.items()))
    node = context.node("feedback", meaning, [originals.node.fingerprint])
    if node.complete:
        return node
    _validate(options)
    started = time.monotonic()
    with engines.crew(options.engine, options.ray, context.store.root, context.progress) as crew:
        road.run(crew)
    kept = road.decide()
    _write_rejected(node, road.funnel)
    if not kept:
        raise FeedbackError(f"no pair is left: {road.funnel.losses()}")
    for shard in range(originals.shards):
        node.write(shard, [tables.pair_row(each) for each in road.pairs(shard, kept)], tables.PAIRS)
    node.finish(parts=road.parts, **road.summary(kept), seconds=round(time.monotonic() - started, 3))
    return node


def _meaning(options: Feedback) -> dict[str, Any]:
    """The options with every plug-in's defaults and weights."""
    said = options.meaning()
    for name in ("source", "resolution", "side", "model", "limit"):
        del said[name]  # the originals stand by themselves
    said["critic"] = resolve.meaning("critics", options.critic) if options.critic else None
    said["instructor"] = resolve.meaning("instructors", options.instructor)
    said["editor"] = resolve.meaning("perturbations", options.editor)
    said["reward"] = resolve.meaning("rewards", options.reward) if options.reward else None
    said["judge"] = resolve.meaning("rewards", options.judge, "judge") if options.judge else None
    said["measures"] = [resolve.meaning("rewards", each) for each in options.measures]
    return said


def _validate(options: Feedback) -> None:
    """Every option's value before any work: an editor that cannot be built would be met after the critiques were paid for."""
    plugins.validate("instructors", options.instructor.name, options.instructor.options)
    plugins.validate("perturbations", options.editor.name, options.editor.options)
    if options.critic:
        plugins.validate("critics", options.critic.name, options.critic.options)
    if options.judge:
        plugins.validate("rewards", options.judge.name, options.judge.options, "judge")
    for each in (options.reward, *options.measures):
        if each:
            plugins.validate("rewards", each.name, each.options)


@dataclass
class _Road:
    """The steps of one feedback, and what came of them."""

    options: Feedback
    context: Context
    originals: Originals
    funnel: Funnel = field(default_factory=Funnel)
    measured: dict[str, Node] = field(default_factory=dict)
    """Scores of both sides by reward; the one that labels is the first."""

    def run(self, crew: Crew | None) -> None:
        """Everything expensive, computed where the store does not hold it, by the workers of an engine where there are some."""
        options, context = self.options, self.context
        critiques = stages.Critiques.of(options, self.originals, context)
        self.critique = critiques.node if critiques else None
        instructions = stages.Instructions.of(options, self.originals, self.critique, context)
        self.instruction = instructions.node
        edits = stages.Edits.of(options, self.instruction, context)
        self.edit = edits.node
        measures = [labels.Scores.of(each, None, options, self.edit, context) for each in options.measures]
        label: Stage
        if options.reward is not None:
            label = labels.Scores.of(options.reward, options.column, options, self.edit, context)
            measures.insert(0, label)
        else:
            assert options.judge is not None, "options hold a reward or a judge"
            label = labels.Choices.of(options.judge, options, self.edit, context)
        self.label = label.node
        line: list[Stage] = [critiques] if critiques else []
        stages.fill([*line, instructions, edits, label], self.originals, context, crew)
        for each in measures:
            if each.node not in self.measured.values():
                stages.fill([each], self.originals, context, crew)
                self.measured[_free(each.plugin.name, self.measured)] = each.node

    def decide(self) -> dict[str, Label]:
        """The labels of those that become pairs; everybody else goes into the funnel."""
        self.labels = labels.read(self.label, self.options.tie)
        entered = len(self.originals.items) + len(self.originals.rejected)
        self.funnel.add("read", entered, self.originals.rejected)
        left = {item.id: None for item in self.originals.items}
        for step, node in (("critique", self.critique), ("instruct", self.instruction), ("edit", self.edit)):
            if node is not None:
                self._drop(step, left, {row["id"]: row["failed"] for row in node.rows(columns=["id", "failed"]) if row["failed"]})
        self._drop("label", left, {name: each.reason for name, each in self.labels.items() if each.winner is None})
        self._drop("tie", left, {name: each.reason for name, each in self.labels.items() if each.winner == "tie"})
        if not self.options.flips:
            self._drop("flip", left, {name: "the original won" for name, each in self.labels.items() if each.winner == "original"})
        if self.context.vetoed:
            self._drop("veto", left, {name: f"vetoed: {why}".removesuffix(": ") for name, why in self.context.vetoed.items()})
        if self.options.most is not None and len(left) > self.options.most:
            names = list(left)
            order = seeds.permutation(len(names), self.options.seed, "feedback", "most")
            self._drop("most", left, {names[place]: "more pairs than asked for" for place in order[self.options.most :]})
        return {name: self.labels[name] for name in left}

    def _drop(self, step: str, left: dict[str, None], reasons: Mapping[str, str]) -> None:
        entered = len(left)
        gone = [name for name in left if name in reasons]
        for name in gone:
            del left[name]
        self.funnel.add(step, entered, [Rejected(name, step, reasons[name]) for name in gone])

    def pairs(self, shard: int, kept: Mapping[str, Label]) -> Iterator[Pair]:
        """The pairs of one shard."""
        there = self.originals.shard(shard)
        items = [item for item in there.items if item.id in kept]
        critiques = _rows(self.critique, shard) if self.critique else {}
        instructions, edits = _rows(self.instruction, shard), _rows(self.edit, shard)
        for item, original in zip(items, there.read(items), strict=True):
            said, edit = instructions[item.id], edits[item.id]
            name = images.content_id(f"{self.edit.fingerprint}/{item.id}".encode())
            edited = Picture(name, edit["image"]["bytes"], item.prompt)
            lineage = {**item.origin, **self._lineage(critiques.get(item.id), said, edit, kept[item.id])}
            winner, loser = (edited, original) if kept[item.id].winner == "edited" else (original, edited)
            yield Pair(item.id, item.prompt, winner, loser, None, lineage)

    def _lineage(self, critique: Any, said: Any, edit: Any, label: Label) -> dict[str, Any]:
        scores = (label.edited, label.original) if label.winner == "edited" else (label.original, label.edited)
        labelled = self.options.reward or self.options.judge
        assert labelled is not None
        gap = None if label.edited is None or label.original is None else abs(label.edited - label.original)
        return {
            "critic": self.options.critic.name if self.options.critic else None,
            "critique": critique["text"] if critique else None,
            "critique_by": json.loads(critique["made_by"]) if critique else None,
            "instructor": self.options.instructor.name,
            "instruction": said["text"],
            "instruction_by": json.loads(said["made_by"]),
            "perturbation": self._editor,
            "with_prompt": self.options.with_prompt,
            **({"edit": json.loads(edit["how"])} if edit["how"] else {}),
            "seed": edit["seed"],
            "edited_won": label.winner == "edited",
            "labelled_by": labelled.name,
            "winner_score": scores[0],
            "loser_score": scores[1],
            "gap": gap,
            "gap_reward": self.options.reward.name if self.options.reward else None,
        }

    @cached_property
    def _editor(self) -> dict[str, Any]:
        return resolve.meaning("perturbations", self.options.editor)

    @property
    def parts(self) -> list[Node]:
        """The results that were made on the way."""
        found = [self.critique, self.instruction, self.edit, self.label, *self.measured.values()]
        return list({each.fingerprint: each for each in found if each is not None}.values())

    def summary(self, kept: Mapping[str, Label]) -> dict[str, Any]:
        """What the step says of itself. Ties are in no share."""
        options = self.options
        won = sum(each.winner == "edited" for each in self.labels.values())
        flips = sum(each.winner == "original" for each in self.labels.values())
        return {
            "funnel": self.funnel.steps,
            "critic": options.critic.name if options.critic else None,
            "instructor": options.instructor.name,
            "editor": options.editor.name,
            "with_prompt": options.with_prompt,
            "column": self.originals.column,
            "pictures": {"verb": self.originals.node.verb, "fingerprint": self.originals.node.fingerprint},
            "instruct": self.instruction.fingerprint,
            "edit": self.edit.fingerprint,
            "kept": len(kept),
            "edited_won": won,
            "flips": flips,
            "ties": sum(each.winner == "tie" for each in self.labels.values()),
            "share_won": won / (won + flips) if won + flips else None,
            "means": {name: _means(node) for name, node in self.measured.items()},
        }


def _means(node: Node) -> dict[str, Any]:
    """Mean scores of originals and edits, over those of which both were scored: Figure 4's measure."""
    rows = [(row["original"], row["edited"]) for row in node.rows() if row["failed"] is None]
    if not rows:
        return {"pictures": 0, "original": None, "edited": None}
    return {
        "pictures": len(rows),
        "original": sum(each for each, _ in rows) / len(rows),
        "edited": sum(each for _, each in rows) / len(rows),
    }


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """The name, or with a number where another has it."""
    number = sum(each == name or each.startswith(f"{name}-") for each in taken)
    return f"{name}-{number + 1}" if number else name


def _rows(node: Node, shard: int) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in node.read_shard(shard).to_pylist()}


def _write_rejected(node: Node, funnel: Funnel) -> None:
    rejected: Sequence[Rejected] = funnel.rejected
    if rejected:
        node.write(0, [tables.rejected_row(each) for each in rejected], tables.REJECTED, "rejected")
