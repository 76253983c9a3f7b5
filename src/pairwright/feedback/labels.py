"""Which of the two pictures is better: by a reward's scores, or by a judge in both orders. Stages, as those before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from pairwright import resolve, scoring, selection, tables
from pairwright.context import Context
from pairwright.engines import Piece, PoolName
from pairwright.feedback.originals import Item, Shard
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


@dataclass(frozen=True)
class Scores:
    """Both pictures scored by a reward, and which is better by that; :data:`~pairwright.tables.LABELS`."""

    node: Node
    options: Feedback
    plugin: Plugin
    column: str | None
    edits: Node

    pool: ClassVar[PoolName] = "score"

    @classmethod
    def of(cls, plugin: Plugin, column: str | None, options: Feedback, edits: Node, context: Context) -> Scores:
        """The stage behind the edits."""
        meaning = {"version": VERSION, "reward": resolve.meaning("rewards", plugin), "column": column}
        return cls(context.store.node("relabel", meaning, [edits.fingerprint]), options, plugin, column, edits)

    @property
    def label(self) -> str:
        """See :class:`pairwright.engines.Station`."""
        return f"score with {self.plugin.name}"

    @property
    def accelerated(self) -> bool:
        """See :class:`pairwright.engines.Station`."""
        return scoring.takes_device(self.plugin)

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        if self.node.shard(piece.number).exists():
            return
        some, before, after = _both(piece, self.edits)
        prompts = [Prompt(each.prompt) for each in some] * 2
        columns = self._reward.columns
        rows = scoring.score_all(self._reward, [*before, *after], prompts, self.options.batch_size)
        sides = [_number(row, columns, self.column) for row in rows]
        up = next((each.higher_is_better for each in columns if self.column in {None, each.name}), True)
        pairs = zip(some, sides[: len(some)], sides[len(some) :], strict=True)
        self.node.write(piece.number, [_scored(*each, up=up) for each in pairs], tables.LABELS)

    @cached_property
    def _reward(self) -> Reward:
        built: Reward = resolve.build("rewards", self.plugin, self.options.device)
        return built


@dataclass(frozen=True)
class Choices:
    """A judge's choice of the two pictures, asked in both orders; :data:`~pairwright.tables.LABELS` without scores."""

    node: Node
    options: Feedback
    plugin: Plugin
    edits: Node

    pool: ClassVar[PoolName] = "score"

    @classmethod
    def of(cls, plugin: Plugin, options: Feedback, edits: Node, context: Context) -> Choices:
        """The stage behind the edits."""
        meaning = {"version": VERSION, "judge": resolve.meaning("rewards", plugin, "judge")}
        return cls(context.store.node("relabel", meaning, [edits.fingerprint]), options, plugin, edits)

    @property
    def label(self) -> str:
        """See :class:`pairwright.engines.Station`."""
        return f"judge with {self.plugin.name}"

    @property
    def accelerated(self) -> bool:
        """See :class:`pairwright.engines.Station`."""
        return scoring.takes_device(self.plugin, "rewards", "judge")

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        if self.node.shard(piece.number).exists():
            return
        some, before, after = _both(piece, self.edits)
        rows = [
            {"id": item.id, "choice": {"a": "original", "b": "edited", "undecided": "tie"}[choice]}
            for item, choice in zip(some, _asked(self._judge, some, before, after), strict=True)
        ]
        self.node.write(piece.number, rows, tables.LABELS)

    @cached_property
    def _judge(self) -> Judge:
        built: Judge = resolve.build("rewards", self.plugin, self.options.device, "judge")
        return built


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


def _both(piece: Piece, edits: Node) -> tuple[list[Item], list[Picture], list[Picture]]:
    """The items that were edited, as they were and as they are."""
    shard: Shard = piece.content
    made = {row["id"]: row["image"]["bytes"] for row in edits.read_shard(piece.number).to_pylist() if row["image"] is not None}
    some = [item for item in shard.items if item.id in made]
    return some, shard.read(some), [Picture(item.id, made[item.id], item.prompt) for item in some]


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
