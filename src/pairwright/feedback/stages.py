"""Critiques, instructions and edits, each a result of its own in the store, shard by shard, computed where it is missing.

Each stage is fingerprinted by its plug-in and by the stage before it: another editor asks no critic again. Stages are stations
(:class:`pairwright.engines.Station`): in this process they are done one after the other, each plug-in built where a shard is
missing and its memory given back before the next one is built; the pools of an engine do them in one line, where a shard is edited
while the next one is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

from pairwright import images, locks, resolve, scoring, seeds, tables
from pairwright.context import Context
from pairwright.engines import Crew, Piece, PoolName, Station
from pairwright.feedback.originals import Item, Originals, Shard
from pairwright.options import Feedback
from pairwright.protocols import Critic, Instructor, Perturbation
from pairwright.records import Critique, Edit, Edited, Failed, Instruction, Picture, Prompt
from pairwright.store import Node

VERSION = 1


class Stage(Station, Protocol):
    """A station that writes one shard of its node for each shard of the originals."""

    @property
    def node(self) -> Node:
        """Its result."""
        ...


@dataclass(frozen=True)
class Critiques:
    """What the critic says of each picture: :data:`~pairwright.tables.CRITIQUES`, and heat maps in ``maps``."""

    node: Node
    options: Feedback

    label: ClassVar[str] = "critique"
    pool: ClassVar[PoolName] = "critic"

    @classmethod
    def of(cls, options: Feedback, originals: Originals, context: Context) -> Critiques | None:
        """The stage; None in one step."""
        if options.critic is None:
            return None
        meaning = {"version": VERSION, "critic": resolve.meaning("critics", options.critic), **originals.meaning}
        return cls(context.store.node("critique", meaning, [originals.node.fingerprint]), options)

    @property
    def accelerated(self) -> bool:
        """See :class:`pairwright.engines.Station`."""
        return self.options.critic is not None and scoring.takes_device(self.options.critic, "critics")

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        if self.node.shard(piece.number).exists():
            return
        shard: Shard = piece.content
        said = _answers(
            self._critic.critique(shard.read(), [Prompt(each.prompt) for each in shard.items]), shard.items, self._critic
        )
        maps = [
            {"id": item.id, "name": name, "map": tables.image_cell(tables.encode_mask(heat), f"{item.id}-{name}")}
            for item, each in zip(shard.items, said, strict=True)
            if isinstance(each, Critique)
            for name, heat in each.maps.items()
        ]
        # Maps first: the shard of `data` says that both are there.
        self.node.write(piece.number, maps, tables.HEAT, "maps")
        self.node.write(piece.number, [_text_row(*each) for each in zip(shard.items, said, strict=True)], tables.CRITIQUES)

    @cached_property
    def _critic(self) -> Critic:
        assert self.options.critic is not None
        built: Critic = resolve.build("critics", self.options.critic, self.options.device)
        return built


@dataclass(frozen=True)
class Instructions:
    """What the instructor says of each picture whose critique did not fail; :data:`~pairwright.tables.INSTRUCTIONS`."""

    node: Node
    options: Feedback
    critique: Node | None

    label: ClassVar[str] = "instruct"
    pool: ClassVar[PoolName] = "instruct"

    @classmethod
    def of(cls, options: Feedback, originals: Originals, critique: Node | None, context: Context) -> Instructions:
        """The stage behind the critiques; in one step, behind the pictures."""
        meaning = {"version": VERSION, "instructor": resolve.meaning("instructors", options.instructor), **originals.meaning}
        before = critique or originals.node
        return cls(context.store.node("instruct", meaning, [before.fingerprint]), options, critique)

    @property
    def accelerated(self) -> bool:
        """See :class:`pairwright.engines.Station`."""
        return scoring.takes_device(self.options.instructor, "instructors")

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        if self.node.shard(piece.number).exists():
            return
        shard: Shard = piece.content
        heard = read_critiques(self.critique, piece.number) if self.critique else {item.id: None for item in shard.items}
        some = [item for item in shard.items if item.id in heard]
        asked = shard.read(some), [Prompt(each.prompt) for each in some], [heard[each.id] for each in some]
        said = _answers(self._instructor.instruct(*asked), some, self._instructor) if some else []
        self.node.write(piece.number, [_text_row(*each) for each in zip(some, said, strict=True)], tables.INSTRUCTIONS)

    @cached_property
    def _instructor(self) -> Instructor:
        built: Instructor = resolve.build("instructors", self.options.instructor, self.options.device)
        return built


@dataclass(frozen=True)
class Edits:
    """The edited picture of each instruction; :data:`~pairwright.tables.EDITS`."""

    node: Node
    options: Feedback
    instruction: Node

    label: ClassVar[str] = "edit"
    pool: ClassVar[PoolName] = "edit"

    @classmethod
    def of(cls, options: Feedback, instruction: Node, context: Context) -> Edits:
        """The stage behind the instructions."""
        meaning = {
            "version": VERSION,
            "editor": resolve.meaning("perturbations", options.editor),
            "with_prompt": options.with_prompt,
            "seed": options.seed,
        }
        return cls(context.store.node("edit", meaning, [instruction.fingerprint]), options, instruction)

    @property
    def accelerated(self) -> bool:
        """See :class:`pairwright.engines.Station`."""
        return scoring.takes_device(self.options.editor, "perturbations")

    def work(self, piece: Piece) -> None:
        """See :class:`pairwright.engines.Station`."""
        if self.node.shard(piece.number).exists():
            return
        shard: Shard = piece.content
        said = {row["id"]: row["text"] for row in self.instruction.read_shard(piece.number).to_pylist() if row["failed"] is None}
        some = [item for item in shard.items if item.id in said]
        edits = [self._edit(item, picture, said[item.id]) for item, picture in zip(some, shard.read(some), strict=True)]
        rows: list[dict[str, Any]] = []
        for start in range(0, len(edits), self.options.batch_size):
            part = edits[start : start + self.options.batch_size]
            names = [item.id for item in some[start : start + self.options.batch_size]]
            rows += [_edit_row(*each) for each in zip(names, part, self._editor.edit(part), strict=True)]
        self.node.write(piece.number, rows, tables.EDITS)

    @cached_property
    def _editor(self) -> Perturbation:
        built: Perturbation = resolve.build("perturbations", self.options.editor, self.options.device)
        return built

    def _edit(self, item: Item, picture: Picture, instruction: str) -> Edit:
        prompt = item.prompt if self.options.with_prompt else ""
        seed = seeds.key(self.options.seed, "feedback", item.id)
        if getattr(self._editor, "reads_instructions", False):
            return Edit(picture, prompt, seed, instruction=instruction)
        return Edit(picture, ", ".join(each for each in (prompt, instruction) if each), seed, instruction=instruction)


def fill(stages: Sequence[Stage], originals: Originals, context: Context, crew: Crew | None) -> None:
    """Have every shard written that is missing, each stage behind the one before, and finish their nodes.

    Raises:
        EngineError: a worker of the crew met an error that explains itself.
    """
    for line in [stages] if crew else [[each] for each in stages]:
        with locks.claimed([each.node for each in line], context.progress) as nodes:
            _fill_line([each for each in line if each.node in nodes], originals, context, crew)


def _fill_line(line: Sequence[Stage], originals: Originals, context: Context, crew: Crew | None) -> None:
    if not line:
        return
    lacking = [number for number in range(originals.shards) if not all(each.node.shard(number).exists() for each in line)]
    sizes = {number: len(originals.shard(number).items) for number in lacking}
    pieces = (Piece(number, originals.shard(number)) for number in lacking)
    done = len(originals.items) - sum(sizes.values())
    with context.progress.task(", ".join(each.label for each in line), len(originals.items), done) as task:
        if crew is not None and lacking:
            for number, _ in crew.do(line, pieces):
                task.advance(sizes[number])
        else:
            for number in _worked(line[0], pieces):
                task.advance(sizes[number])
            resolve.give_back()
    for each in line:
        each.node.finish(items=len(originals.items))


def _worked(stage: Stage, pieces: Iterable[Piece]) -> Iterator[int]:
    """A stage done in this process, piece by piece; what it has built is let go with the copy that built it."""
    worker: Stage = replace(stage)  # type: ignore[type-var]  # every stage is a dataclass
    for piece in pieces:
        worker.work(piece)
        yield piece.number


def read_critiques(node: Node, number: int) -> dict[str, Critique | None]:
    """The critiques of one shard by item, with their heat maps."""
    maps: dict[str, dict[str, Any]] = {}
    for row in node.read_shard(number, "maps").to_pylist():
        maps.setdefault(row["id"], {})[row["name"]] = tables.decode_mask(row["map"]["bytes"])
    return {
        row["id"]: Critique(row["text"], maps.get(row["id"], {}), json.loads(row["made_by"]))
        for row in node.read_shard(number).to_pylist()
        if row["failed"] is None
    }


def _answers(said: Sequence[Any], items: Sequence[Item], plugin: object) -> Sequence[Any]:
    if len(said) != len(items):
        raise ValueError(f"{type(plugin).__name__} returned {len(said)} results for {len(items)} pictures")
    return said


def _text_row(item: Item, said: Critique | Instruction | Failed) -> dict[str, Any]:
    if isinstance(said, Failed):
        return {"id": item.id, "failed": said.reason}
    return {"id": item.id, "text": said.text, "made_by": json.dumps(dict(said.made_by), ensure_ascii=False), "failed": None}


def _edit_row(name: str, edit: Edit, result: Edited | Failed) -> dict[str, Any]:
    if isinstance(result, Failed):
        return {"id": name, "seed": edit.seed, "failed": result.reason}
    if result.image.size != edit.picture.image.size:
        sizes = [" x ".join(map(str, each)) for each in (result.image.size, edit.picture.image.size)]
        return {"id": name, "seed": edit.seed, "failed": f"the editor returned {sizes[0]} pixels for {sizes[1]}"}
    how = json.dumps(dict(result.how), ensure_ascii=False) if result.how else None
    cell = tables.image_cell(images.encode(result.image), name)
    return {"id": name, "image": cell, "seed": edit.seed, "how": how, "failed": None}
