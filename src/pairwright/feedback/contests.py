"""Editors compared: a judge sees two edits of one picture by the same instruction ("Rich Preference Optimization", section 3.1).

The steps that are compared are feedback steps of one run. What they share, critiques and instructions, is shared in the store, so
that another editor, or the same one without the prompt in front of the instruction, is another edit of the same picture. Pictures
that one of two steps did not edit, or edited by another instruction, are left out and counted. Both orders are shown; a choice
that depends on the order is none.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pairwright import resolve, seeds, stats, tables
from pairwright.context import Context
from pairwright.feedback.originals import FeedbackError, Originals, Shard
from pairwright.options import Editors
from pairwright.protocols import Choice, EditJudge
from pairwright.records import Picture, Prompt, TwoEdits
from pairwright.store import Node, Store

VERSION = 1
SCORE = {"first": 1.0, "second": 0.0, "undecided": 0.5}


def editors(options: Editors, context: Context) -> Node:
    """Let a judge compare the edits of the feedback steps among the inputs, each with each.

    Returns:
        a node with the table ``data`` (:data:`~pairwright.tables.CONTESTS`: ids, the two steps and which of them won). Its summary
        holds ``contests``, one entry for each two steps, and ``editors``, one for each step over all its contests.

    Raises:
        FeedbackError: fewer than two feedback steps, or two without a picture that both edited by the same instruction.
        ServerError: the judge's server cannot be used; what it has answered is kept.
    """
    sides = {name: _Side.of(name, node, context.store) for name, node in context.inputs.items() if node.verb == "feedback"}
    if len(sides) < 2:
        raise FeedbackError(f"editors compares the edits of at least two feedback steps, and 'from' names {len(sides)}")
    contests = [_Contest.of(one, other, options) for one, other in itertools.combinations(sides.values(), 2)]
    meaning = {
        "version": VERSION,
        "judge": resolve.meaning("rewards", options.judge, "edit_judge"),
        "limit": options.limit,
        "seed": options.seed,
        "steps": list(sides),
        "how": [options.resamples, options.confidence],
    }
    node = context.node("editors", meaning, [each.edits.fingerprint for each in sides.values()])
    if node.complete:
        return node
    started = time.monotonic()
    _judged(node, contests, options, context)
    rows = list(node.rows())
    met = [_summed(each, rows, options) for each in contests]
    node.finish(
        contests=met,
        editors={side.name: {**side.said, **_overall(side.name, rows, options)} for side in sides.values()},
        seconds=round(time.monotonic() - started, 3),
    )
    return node


@dataclass(frozen=True)
class _Side:
    """A feedback step's edits."""

    name: str
    edits: Node
    instructions: Node
    originals: Node
    column: str
    said: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, node: Node, store: Store) -> _Side:
        summary = node.summary
        edits, instructions = (store.open(verb, summary[verb]) for verb in ("edit", "instruct"))
        pictures = store.open(summary["pictures"]["verb"], summary["pictures"]["fingerprint"])
        said = {key: summary[key] for key in ("editor", "with_prompt", "critic", "instructor", "share_won")}
        return cls(name, edits, instructions, pictures, summary["column"], said)

    @cached_property
    def told(self) -> dict[str, str]:
        """The instruction of each picture that was edited."""
        edited = {row["id"] for row in self.edits.rows(columns=["id", "failed"]) if row["failed"] is None}
        rows = self.instructions.rows(columns=["id", "text"])
        return {row["id"]: row["text"] for row in rows if row["id"] in edited}

    def pictures(self, names: Sequence[str]) -> dict[str, Picture]:
        """Some of its edits."""
        wanted = set(names)
        rows = self.edits.rows(columns=["id", "image"])
        return {row["id"]: Picture(row["id"], row["image"]["bytes"]) for row in rows if row["id"] in wanted}


@dataclass(frozen=True)
class _Contest:
    """Two steps, and the pictures that are judged."""

    one: _Side
    other: _Side
    originals: Originals
    left: Mapping[str, int]
    """How many were left out, by reason."""

    @classmethod
    def of(cls, one: _Side, other: _Side, options: Editors) -> _Contest:
        both = [name for name in one.told if name in other.told]
        same = [name for name in both if one.told[name] == other.told[name]]
        left = {
            "edited by one alone": len(one.told) + len(other.told) - 2 * len(both),
            "by another instruction": len(both) - len(same),
        }
        if not same:
            said = ", ".join(f"{count} {why}" for why, count in left.items() if count) or "neither has edited any"
            raise FeedbackError(
                f"{one.name!r} and {other.name!r} have no picture in common that both edited by the same instruction ({said}); "
                "compare steps with the same pictures, critic and instructor"
            )
        if options.limit is not None:
            order = seeds.permutation(len(same), options.seed, "editors")[: options.limit]
            same = [same[place] for place in sorted(order)]
        return cls(one, other, Originals.those(one.originals, one.column, set(same)), left)

    def asked(self, shard: Shard) -> list[TwoEdits]:
        """What the judge is shown, in one order."""
        names = [item.id for item in shard.items]
        first, second = self.one.pictures(names), self.other.pictures(names)
        return [
            TwoEdits(original, Prompt(item.prompt), self.one.told[item.id], first[item.id], second[item.id])
            for item, original in zip(shard.items, shard.read(), strict=True)
        ]


def _judged(node: Node, contests: Sequence[_Contest], options: Editors, context: Context) -> None:
    shards = [(contest, number) for contest in contests for number in range(contest.originals.shards)]
    missing = [place for place in range(len(shards)) if not node.shard(place).exists()]
    sizes = [len(contest.originals.shard(number).items) for contest, number in shards]
    with context.progress.task("judge edits", sum(sizes), sum(sizes) - sum(sizes[place] for place in missing)) as task:
        judge: EditJudge | None = resolve.build("rewards", options.judge, options.device, "edit_judge") if missing else None
        for place in missing:
            assert judge is not None
            contest, number = shards[place]
            node.write(place, list(_rows(contest, contest.originals.shard(number), judge)), tables.CONTESTS)
            task.advance(sizes[place])
    del judge
    resolve.give_back()


def _rows(contest: _Contest, shard: Shard, judge: EditJudge) -> Iterator[dict[str, Any]]:
    straight = contest.asked(shard)
    turned = [TwoEdits(each.original, each.prompt, each.instruction, each.b, each.a) for each in straight]
    answers: Callable[[Sequence[TwoEdits]], Sequence[Choice]] = judge.judge_edits
    for item, asked, one, other in zip(shard.items, straight, answers(straight), answers(turned), strict=True):
        agreed = {("a", "b"): "first", ("b", "a"): "second"}.get((one, other), "undecided")
        yield {
            "id": item.id, "prompt": item.prompt, "instruction": asked.instruction,
            "first": contest.one.name, "second": contest.other.name, "winner": agreed,
        }  # fmt: skip


def _summed(contest: _Contest, rows: Sequence[Mapping[str, Any]], options: Editors) -> dict[str, Any]:
    names = contest.one.name, contest.other.name
    scores = [(row["prompt"], SCORE[row["winner"]]) for row in rows if (row["first"], row["second"]) == names]
    return {"first": names[0], "second": names[1], **_share(scores, options), "left_out": dict(contest.left)}


def _overall(name: str, rows: Sequence[Mapping[str, Any]], options: Editors) -> dict[str, Any]:
    own = [(row["prompt"], SCORE[row["winner"]]) for row in rows if row["first"] == name]
    own += [(row["prompt"], 1 - SCORE[row["winner"]]) for row in rows if row["second"] == name]
    return _share(own, options)


def _share(scores: Sequence[tuple[str, float]], options: Editors) -> dict[str, Any]:
    """Won, lost and undecided; the share won, an undecided one as half, with its prompt-clustered interval."""
    found = stats.win_rate(
        [score for _, score in scores], [1 - score for _, score in scores], [prompt for prompt, _ in scores],
        resamples=options.resamples, confidence=options.confidence, seed=options.seed,
    )  # fmt: skip
    return {
        "won": found.wins, "lost": found.losses, "undecided": found.ties,
        "share": found.rate, "low": found.interval.low, "high": found.interval.high, "p": found.p,
    }  # fmt: skip
