"""Critiques, instructions and edits, each a result of its own in the store, shard by shard, computed where it is missing.

Each stage is fingerprinted by its plug-in and by the stage before it: another editor asks no critic again. A stage's plug-in is
built where a shard is missing, and its memory given back before the next one is built.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from pairwright import images, resolve, seeds, tables
from pairwright.context import Context
from pairwright.feedback.originals import Item, Originals
from pairwright.options import Feedback
from pairwright.protocols import Critic, Instructor, Perturbation
from pairwright.records import Critique, Edit, Edited, Failed, Instruction, Picture, Prompt
from pairwright.store import Node

VERSION = 1


def critiques(options: Feedback, originals: Originals, context: Context) -> Node | None:
    """What the critic says of each picture: :data:`~pairwright.tables.CRITIQUES`, and heat maps in ``maps``; None in one step."""
    if options.critic is None:
        return None
    plugin = options.critic
    meaning = {"version": VERSION, "critic": resolve.meaning("critics", plugin), **originals.meaning}
    node = context.store.node("critique", meaning, [originals.node.fingerprint])

    def build() -> Callable[[int, Sequence[Item]], None]:
        critic: Critic = resolve.build("critics", plugin, options.device)

        def work(number: int, items: Sequence[Item]) -> None:
            said = _answers(critic.critique(originals.read(items), [Prompt(each.prompt) for each in items]), items, critic)
            maps = [
                {"id": item.id, "name": name, "map": tables.image_cell(tables.encode_mask(heat), f"{item.id}-{name}")}
                for item, each in zip(items, said, strict=True)
                if isinstance(each, Critique)
                for name, heat in each.maps.items()
            ]
            # Maps first: the shard of `data` says that both are there.
            node.write(number, maps, tables.HEAT, "maps")
            node.write(number, [_text_row(item, each) for item, each in zip(items, said, strict=True)], tables.CRITIQUES)

        return work

    filled(node, "critique", originals, context, build)
    return node


def instructions(options: Feedback, originals: Originals, critique: Node | None, context: Context) -> Node:
    """What the instructor says of each picture whose critique did not fail; :data:`~pairwright.tables.INSTRUCTIONS`."""
    meaning = {"version": VERSION, "instructor": resolve.meaning("instructors", options.instructor), **originals.meaning}
    node = context.store.node("instruct", meaning, [critique.fingerprint if critique else originals.node.fingerprint])

    def build() -> Callable[[int, Sequence[Item]], None]:
        instructor: Instructor = resolve.build("instructors", options.instructor, options.device)

        def work(number: int, items: Sequence[Item]) -> None:
            heard = read_critiques(critique, number) if critique else {item.id: None for item in items}
            some = [item for item in items if item.id in heard]
            asked = originals.read(some), [Prompt(each.prompt) for each in some], [heard[each.id] for each in some]
            said = _answers(instructor.instruct(*asked), some, instructor) if some else []
            node.write(number, [_text_row(item, each) for item, each in zip(some, said, strict=True)], tables.INSTRUCTIONS)

        return work

    filled(node, "instruct", originals, context, build)
    return node


def edits(options: Feedback, originals: Originals, instruction: Node, context: Context) -> Node:
    """The edited picture of each instruction; :data:`~pairwright.tables.EDITS`."""
    meaning = {
        "version": VERSION,
        "editor": resolve.meaning("perturbations", options.editor),
        "with_prompt": options.with_prompt,
        "seed": options.seed,
    }
    node = context.store.node("edit", meaning, [instruction.fingerprint])

    def build() -> Callable[[int, Sequence[Item]], None]:
        editor: Perturbation = resolve.build("perturbations", options.editor, options.device)
        reads = bool(getattr(editor, "reads_instructions", False))

        def work(number: int, items: Sequence[Item]) -> None:
            said = {row["id"]: row["text"] for row in instruction.read_shard(number).to_pylist() if row["failed"] is None}
            some = [item for item in items if item.id in said]
            asked = [
                _edit(item, picture, said[item.id], options, reads=reads)
                for item, picture in zip(some, originals.read(some), strict=True)
            ]
            rows: list[dict[str, Any]] = []
            for start in range(0, len(asked), options.batch_size):
                part = asked[start : start + options.batch_size]
                names = [item.id for item in some[start : start + options.batch_size]]
                rows += [_edit_row(*each) for each in zip(names, part, editor.edit(part), strict=True)]
            node.write(number, rows, tables.EDITS)

        return work

    filled(node, "edit", originals, context, build)
    return node


def filled(
    node: Node, label: str, originals: Originals, context: Context, build: Callable[[], Callable[[int, Sequence[Item]], None]]
) -> None:
    """Let the worker that ``build`` makes write every shard that is missing, then finish the node."""
    if node.complete:
        return
    missing = [number for number in range(originals.shards) if not node.shard(number).exists()]
    done = len(originals.items) - sum(len(originals.shard(number)) for number in missing)
    with context.progress.task(label, len(originals.items), done) as task:
        work = build() if missing else None
        for number in missing:
            assert work is not None
            work(number, originals.shard(number))
            task.advance(len(originals.shard(number)))
    del work
    resolve.give_back()
    node.finish(items=len(originals.items))


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


def _edit(item: Item, picture: Picture, instruction: str, options: Feedback, *, reads: bool) -> Edit:
    prompt = item.prompt if options.with_prompt else ""
    seed = seeds.key(options.seed, "feedback", item.id)
    if reads:
        return Edit(picture, prompt, seed, instruction=instruction)
    return Edit(picture, ", ".join(each for each in (prompt, instruction) if each), seed, instruction=instruction)


def _edit_row(name: str, edit: Edit, result: Edited | Failed) -> dict[str, Any]:
    if isinstance(result, Failed):
        return {"id": name, "seed": edit.seed, "failed": result.reason}
    if result.image.size != edit.picture.image.size:
        sizes = [" x ".join(map(str, each)) for each in (result.image.size, edit.picture.image.size)]
        return {"id": name, "seed": edit.seed, "failed": f"the editor returned {sizes[0]} pixels for {sizes[1]}"}
    how = json.dumps(dict(result.how), ensure_ascii=False) if result.how else None
    cell = tables.image_cell(images.encode(result.image), name)
    return {"id": name, "image": cell, "seed": edit.seed, "how": how, "failed": None}
