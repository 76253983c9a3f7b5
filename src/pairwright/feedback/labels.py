"""Which of the two pictures is better: by a reward's scores, or by a judge in both orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pairwright import resolve, scoring, selection, tables
from pairwright.context import Context
from pairwright.feedback import stages
from pairwright.feedback.originals import Item, Originals
from pairwright.options import Feedback, Plugin
from pairwright.protocols import Choice, Judge, Reward
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.store import Node

VERSION = 1
Winner = Literal["original", "edited", "tie"]
_TURNED: dict[Choice, Choice] = {"a": "b", "b": "a", "undecided": "undecided"}


@dataclass(frozen=True)
class Label:
    """What was said of an original and its edit."""

    winner: Winner | None
    """None where it could not be said."""
    reason: str = ""
    original: float | None = None
    edited: float | None = None


def scores(plugin: Plugin, column: str | None, options: Feedback, originals: Originals, edits: Node, context: Context) -> Node:
    """Both pictures scored by a reward, and which is better by that; :data:`~pairwright.tables.LABELS`."""
    meaning = {"version": VERSION, "reward": resolve.meaning("rewards", plugin), "column": column}
    node = context.store.node("relabel", meaning, [edits.fingerprint])

    def build() -> Callable[[int, Sequence[Item]], None]:
        reward: Reward = resolve.build("rewards", plugin, options.device)

        def work(number: int, items: Sequence[Item]) -> None:
            some, before, after = _both(items, originals, edits, number)
            prompts = [Prompt(each.prompt) for each in some] * 2
            rows = scoring.score_all(reward, [*before, *after], prompts, options.batch_size)
            sides = [_number(row, reward.columns, column) for row in rows]
            up = next((each.higher_is_better for each in reward.columns if column in {None, each.name}), True)
            pairs = zip(some, sides[: len(some)], sides[len(some) :], strict=True)
            node.write(number, [_scored(*each, up=up) for each in pairs], tables.LABELS)

        return work

    stages.filled(node, f"score with {plugin.name}", originals, context, build)
    return node


def choices(plugin: Plugin, options: Feedback, originals: Originals, edits: Node, context: Context) -> Node:
    """A judge's choice of the two pictures, asked in both orders; :data:`~pairwright.tables.LABELS` without scores."""
    meaning = {"version": VERSION, "judge": resolve.meaning("rewards", plugin, "judge")}
    node = context.store.node("relabel", meaning, [edits.fingerprint])

    def build() -> Callable[[int, Sequence[Item]], None]:
        judge: Judge = resolve.build("rewards", plugin, options.device, "judge")

        def work(number: int, items: Sequence[Item]) -> None:
            some, before, after = _both(items, originals, edits, number)
            rows = []
            for item, choice in zip(some, _asked(judge, some, before, after), strict=True):
                rows.append({"id": item.id, "choice": {"a": "original", "b": "edited", "undecided": "tie"}[choice]})
            node.write(number, rows, tables.LABELS)

        return work

    stages.filled(node, f"judge with {plugin.name}", originals, context, build)
    return node


def read(node: Node, tie: float) -> dict[str, Label]:
    """Labels by item; scores that differ by no more than ``tie`` are one."""
    return {row["id"]: _label(row, tie) for row in node.rows()}


def _asked(judge: Judge, items: Sequence[Item], before: Sequence[Picture], after: Sequence[Picture]) -> Iterator[Choice]:
    """Where the two orders disagree, nothing is decided, whoever the judge is."""
    prompts = [Prompt(each.prompt) for each in items]
    straight, turned = list(zip(before, after, prompts, strict=True)), list(zip(after, before, prompts, strict=True))
    many = getattr(judge, "verdicts", None)  # of judges that are asked many things at once
    if many is not None:
        pairs = zip((each.choice for each in many(straight)), (each.choice for each in many(turned)), strict=True)
    else:
        pairs = ((judge.judge(*one), judge.judge(*other)) for one, other in zip(straight, turned, strict=True))  # type: ignore[assignment]
    for one, other in pairs:
        yield one if one == _TURNED[other] else "undecided"


def _both(items: Sequence[Item], originals: Originals, edits: Node, number: int) -> tuple[list[Item], list[Picture], list[Picture]]:
    made = {row["id"]: row["image"]["bytes"] for row in edits.read_shard(number).to_pylist() if row["image"] is not None}
    some = [item for item in items if item.id in made]
    return some, originals.read(some), [Picture(item.id, made[item.id], item.prompt) for item in some]


def _number(row: tuple[float, ...] | Unscored, columns: Sequence[Column], wanted: str | None) -> float | Unscored:
    named = row if isinstance(row, Unscored) else dict(zip((column.name for column in columns), row, strict=True))
    return selection.number(named, wanted)


def _scored(item: Item, original: float | Unscored, edited: float | Unscored, *, up: bool) -> dict[str, Any]:
    if isinstance(original, Unscored):
        return {"id": item.id, "failed": f"original: {original.reason}"}
    if isinstance(edited, Unscored):
        return {"id": item.id, "failed": f"edited: {edited.reason}"}
    better = "tie" if edited == original else "edited" if (edited > original) == up else "original"
    return {"id": item.id, "original": original, "edited": edited, "choice": better}


def _label(row: dict[str, Any], tie: float) -> Label:
    if row["failed"] is not None:
        return Label(None, row["failed"])
    original, edited = row["original"], row["edited"]
    if original is None:
        return Label(row["choice"], "neither is better in both orders" if row["choice"] == "tie" else "")
    if abs(edited - original) <= tie:
        return Label("tie", "equal scores" if tie == 0 else f"scores differ by no more than {tie:g}", original, edited)
    return Label(row["choice"], "", original, edited)
