"""The verb ``import``: preferences that somebody has already, brought into the store as ``curate`` leaves its pairs.

Ties and what cannot be read are dropped, each with its reason. With ``relabel`` a reward says anew which side wins: the second
paper's pairs that are aligned with ImageReward. Shards hold the pairs of 64 preferences each, in the order of
the source; a killed import goes on at the shard where it was and decodes nothing again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from pairwright import images, plugins, resolve, scoring, selection, tables
from pairwright.context import Context
from pairwright.errors import Explained
from pairwright.options import Import
from pairwright.protocols import PairSource, Reward, Row
from pairwright.records import Pair, Prompt, Rejected, Unscored
from pairwright.selection import Funnel
from pairwright.store import Node

VERSION = 1
ITEMS_PER_SHARD = 64


class ImportingError(Explained, RuntimeError):
    """Preferences that give no pairs; the message says where they were lost."""


def import_pairs(options: Import, context: Context) -> Node:
    """Bring preferences into the store.

    Returns:
        a node with the tables ``data`` (:data:`~pairwright.tables.PAIRS`) and ``rejected``; its summary holds the funnel.

    Raises:
        ImportingError: the source has pictures and no pairs, or every pair was lost.
        SourceError: a source that cannot be read at all.
    """
    source = plugins.load("sources", options.source.name, **options.source.options)
    if not isinstance(source, PairSource):
        raise ImportingError(f"the source {options.source.name!r} gives pictures and no pairs; 'curate' makes pairs of those")
    vetoed = context.vetoed
    meaning = {
        "version": VERSION,
        "options": {
            **{name: value for name, value in options.meaning().items() if name not in {"relabel", "column"}},
            "source": options.source.name,
            "least_side": least_side(options),
        },
    }
    if options.relabel is not None:
        meaning["relabel"] = {"reward": resolve.meaning("rewards", options.relabel), "column": options.column}
    node = context.node("import", meaning | ({"vetoes": dict(sorted(vetoed.items()))} if vetoed else {}), [source.fingerprint()])
    if node.complete:
        return node
    started = time.monotonic()
    read = source.pair_count()
    _read(source, node, options, context)
    kept = sum(len(node.read_shard(shard, columns=["id"])) for shard in range(_shards(read)))
    funnel = Funnel()
    funnel.add("read", read, [Rejected(**row) for row in node.rows("rejected")], by="step")
    if not kept:
        raise ImportingError(f"no pair is left: {funnel.losses() or 'the source holds none'}")
    said = _relabelled(node, kept) if options.relabel else {}
    node.finish(funnel=funnel.steps, read=read, kept=kept, **said, seconds=round(time.monotonic() - started, 3))
    return node


def least_side(options: Import) -> int:
    """Pixels that a picture's short side must have."""
    return (options.resolution or 0) // 2 if options.least_side is None else options.least_side


def _shards(read: int) -> int:
    return -(-read // ITEMS_PER_SHARD)


def _read(source: PairSource, node: Node, options: Import, context: Context) -> None:
    read = source.pair_count()
    shards = _shards(read)
    done = next((shard for shard in range(shards) if not node.shard(shard).exists()), shards)
    seen = {row["id"] for shard in range(done) for row in node.read_shard(shard, columns=["id"]).to_pylist()}
    items = source.pairs(done * ITEMS_PER_SHARD)
    reward: Reward | None = resolve.build("rewards", options.relabel, options.device) if options.relabel and done < shards else None
    with context.progress.task("import pairs", read, min(done * ITEMS_PER_SHARD, read)) as task:
        for shard in range(done, shards):
            kept: list[Pair] = []
            rejected: list[Rejected] = []
            for item in islice(items, ITEMS_PER_SHARD):
                found = item if isinstance(item, Rejected) else _judged(item, options, seen, context)
                if isinstance(found, Pair):
                    seen.add(found.id)
                    kept.append(found)
                else:
                    rejected.append(found)
                task.advance()
            judged = _labelled(kept, options, reward) if reward else kept
            rejected += [each for each in judged if isinstance(each, Rejected)]
            # What a shard has not kept is not known after an interruption either.
            seen -= {pair.id for pair, each in zip(kept, judged, strict=True) if isinstance(each, Rejected)}
            # The rejected first: the shard of `data` says that both are there.
            node.write(shard, [tables.rejected_row(each) for each in rejected], tables.REJECTED, "rejected")
            node.write(shard, [tables.pair_row(each) for each in judged if isinstance(each, Pair)], tables.PAIRS)


def _judged(pair: Pair, options: Import, seen: set[str], context: Context) -> Pair | Rejected:
    """The pair as it is kept, or why it is not."""
    name = str(pair.lineage.get("row", pair.id))
    if pair.id in seen:
        return Rejected(name, "duplicate", f"the same pictures and prompt as an earlier pair, {pair.id}")
    if pair.id in context.vetoed:
        return Rejected(pair.id, "veto", f"vetoed: {context.vetoed[pair.id]}".removesuffix(": "))
    sizes = [side.image.size for side in (pair.winner, pair.loser)]
    for side, (width, height) in zip(("winner", "loser"), sizes, strict=True):
        if min(width, height) < least_side(options):
            return Rejected(name, "small", f"{side}: {width} x {height}, short side below {least_side(options)}")
    if options.resolution is None and sizes[0] != sizes[1]:
        return Rejected(name, "size", "its pictures have different sizes, and no resolution is asked for")
    if pair.mask is not None and pair.mask.shape[::-1] != sizes[0]:
        return Rejected(name, "mask", "its mask has another size than its winner")
    return _fitted(replace(pair, lineage={**pair.lineage, "imported": options.source.name}), options.resolution)


def _labelled(pairs: Sequence[Pair], options: Import, reward: Reward) -> list[Pair | Rejected]:
    """Each pair with the side first that scores higher, or why it has none."""
    sides = [each.winner for each in pairs] + [each.loser for each in pairs]
    rows = list(scoring.score_all(reward, sides, [Prompt(each.prompt) for each in pairs] * 2, options.batch_size))
    return [_turned(*each, options, reward) for each in zip(pairs, rows[: len(pairs)], rows[len(pairs) :], strict=True)]


def _turned(pair: Pair, winner: Row, loser: Row, options: Import, reward: Reward) -> Pair | Rejected:
    assert options.relabel is not None
    name = str(pair.lineage.get("row", pair.id))
    columns = [each.name for each in reward.columns]
    numbers = []
    for side, row in (("winner", winner), ("loser", loser)):
        named = row if isinstance(row, Unscored) else dict(zip(columns, row, strict=True))
        value = selection.number(named, options.column)
        if isinstance(value, Unscored):
            return Rejected(name, "relabel", f"{side} could not be scored: {value.reason}")
        numbers.append(value)
    if numbers[0] == numbers[1]:
        return Rejected(name, "relabel", "equal scores")
    up = next(each.higher_is_better for each in reward.columns if options.column in {None, each.name})
    changed = (numbers[1] > numbers[0]) == up
    said = {"relabelled_by": options.relabel.name, "label_changed": changed, "gap_reward": options.relabel.name}
    first, second = reversed(numbers) if changed else numbers
    said |= {"winner_score": first, "loser_score": second, "gap": abs(first - second)}
    sides = (pair.loser, pair.winner) if changed else (pair.winner, pair.loser)
    known = {_other_side(name) if changed else name: value for name, value in pair.lineage.items()}
    return replace(pair, winner=sides[0], loser=sides[1], lineage={**known, **said})


def _other_side(name: str) -> str:
    """``winner_uid`` is ``loser_uid`` where the sides have changed places."""
    for one, other in (("winner_", "loser_"), ("loser_", "winner_")):
        if name.startswith(one):
            return other + name.removeprefix(one)
    return name


def _relabelled(node: Node, kept: int) -> dict[str, Any]:
    """How many labels changed, over every shard, whichever process wrote it."""
    changed = sum(json.loads(row["lineage"])["label_changed"] for row in node.rows(columns=["lineage"]))
    return {"labels_changed": changed, "share_changed": changed / kept}


def _fitted(pair: Pair, resolution: int | None) -> Pair:
    if resolution is None:
        return pair
    mask = pair.mask
    if mask is not None and mask.shape != (resolution, resolution):
        grey = Image.fromarray(np.rint(mask * 255).astype(np.uint8))
        mask = np.asarray(images.crop(grey, resolution, 0, pair.id), dtype=np.float32) / 255
    return replace(pair, winner=images.fitted(pair.winner, resolution), loser=images.fitted(pair.loser, resolution), mask=mask)
