"""Latents and text states of a set of pairs, computed once and kept in the store.

Both flips, the posterior's mean, and the empty prompt: nothing about them is drawn, so every training on the same pairs
and base shares them. Autoencoder and text encoder are in memory only while something is missing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from pairwright import images, locks, single_files, tables
from pairwright.context import Context
from pairwright.diffusion.families import Condition, Family, load_base
from pairwright.errors import Explained
from pairwright.models import ModelRef
from pairwright.records import Pair
from pairwright.store import Node, write_file

VERSION = 1
SHARD = 64
BATCH = 8
"""Pictures per forward; fixed, so that an interrupted run computes the same numbers."""

Side = Literal["winner", "loser", "mask"]
T = TypeVar("T")


class EncodingError(Explained, ValueError):
    """Pairs that cannot be trained on as they are; the message says which and what to do."""


@dataclass(frozen=True)
class Latents:
    """Of one side of every pair: shards ``[n, flips, c, h, w]`` float32, mapped from the disk."""

    shards: tuple[Tensor, ...]

    @cached_property
    def _starts(self) -> list[int]:
        return _starts(self.shards)

    def take(self, rows: Sequence[int], flips: Sequence[bool]) -> Tensor:
        """``[b, c, h, w]``."""
        places = [_place(self._starts, row) for row in rows]
        return torch.stack([self.shards[shard][row, int(flip)] for (shard, row), flip in zip(places, flips, strict=True)])


@dataclass(frozen=True)
class Encoded:
    """A set of pairs as training reads it."""

    ids: tuple[str, ...]
    """Of the pairs, in order."""
    captions: tuple[int, ...]
    """Each pair's row in ``conditions``."""
    conditions: tuple[Condition, ...]
    """Shards of distinct captions; row 0 is the empty prompt."""
    sides: Mapping[str, Latents]
    resolution: int
    nodes: tuple[Node, ...] = ()
    """Where all this lies in the store."""

    @cached_property
    def _starts(self) -> list[int]:
        return _starts(self.conditions)

    def condition(self, rows: Sequence[int], dropped: Sequence[bool]) -> Condition:
        """What the network is told of pairs; dropped captions are the empty prompt."""
        captions = [0 if drop else self.captions[row] for row, drop in zip(rows, dropped, strict=True)]
        places = [_place(self._starts, caption) for caption in captions]
        return Condition.cat([self.conditions[shard][slice(row, row + 1)] for shard, row in places])


def joined(sets: Sequence[Encoded]) -> Encoded:
    """Several sets, one after the other, as one.

    Raises:
        EncodingError: their pictures differ in size.
    """
    if len({each.resolution for each in sets}) > 1:
        said = " and ".join(str(each.resolution) for each in sets)
        raise EncodingError(f"the sets of pairs have {said} pixels a side; set 'resolution'")
    captions: list[int] = []
    conditions: list[Condition] = []
    for each in sets:
        told = sum(map(len, conditions))
        captions += [told + row for row in each.captions]
        conditions += each.conditions
    return Encoded(
        # Numbered: two sets may hold a pair of one name, and each draws its own noise.
        ids=tuple(f"{number}/{name}" for number, each in enumerate(sets) for name in each.ids),
        captions=tuple(captions),
        conditions=tuple(conditions),
        sides={side: Latents(tuple(shard for each in sets for shard in each.sides[side].shards)) for side in sets[0].sides},
        resolution=sets[0].resolution,
        nodes=tuple(node for each in sets for node in each.nodes),
    )


def _starts(shards: Sequence[Tensor | Condition]) -> list[int]:
    """The first row of each shard."""
    return [0, *accumulate(len(shard) for shard in shards)][:-1]


def _place(starts: Sequence[int], row: int) -> tuple[int, int]:
    """A row's shard, and its row there. Where sets are joined, a shard in the middle may be shorter."""
    shard = bisect_right(starts, row) - 1
    return shard, row - starts[shard]


def encode(
    pairs: Node,
    ref: ModelRef,
    context: Context,
    *,
    sides: Sequence[Side],
    resolution: int | None,
    flips: bool,
    device: torch.device,
) -> Encoded:
    """Encode what the store does not hold yet, and open it.

    Args:
        pairs: a node whose rows are pairs.
        ref: whose base encodes.
        context: store and progress.
        sides: which pictures of the pairs are needed; ``mask`` is where they differ, at the latents' size.
        resolution: side in pixels; None: the pairs' own.
        flips: also the mirrored pictures.
        device: where the encoders run.

    Raises:
        EncodingError: there are no pairs, their sizes differ and no resolution is given, or masks are needed that are not
            there.
    """
    listed = [(str(row["id"]), str(row["prompt"])) for row in pairs.rows(columns=["id", "prompt"])]
    if not listed:
        raise EncodingError(f"step {pairs.verb} {pairs.fingerprint} made no pairs, so there is nothing to train on")
    own = next(tables.pairs(pairs)).winner.image.size
    side = resolution or own[0]
    if resolution is None and own[0] != own[1]:
        raise EncodingError(f"the pairs are {own[0]} x {own[1]} pixels, not square; set 'resolution'")
    family = load_base(ref, dtype="float32", device=device)
    family.latent_shape(side)
    texts = list(dict.fromkeys(["", *(caption for _, caption in listed)]))
    base = {"version": VERSION, "base": single_files.identity(ref.base, ref.family), "family": ref.family}
    text_node = context.store.node("encode", {**base, "what": "captions"}, [pairs.fingerprint])
    with locks.claimed([text_node], context.progress) as unfinished:
        for each in unfinished:
            _captions(each, family, texts, context)
    nodes = [text_node]
    found: dict[str, Latents] = {}
    for what in sides:
        meaning = {**base, "what": what, "resolution": side, "flips": flips}
        node = context.store.node("encode", meaning, [pairs.fingerprint])
        with locks.claimed([node], context.progress) as unfinished:
            for each in unfinished:
                _latents(each, family, pairs, len(listed), meaning, context, crop=resolution is not None)
        nodes.append(node)
        found[what] = Latents(tuple(load_file(path)["latents"] for path in _shards(node)))
    rows = {text: row for row, text in enumerate(texts)}
    return Encoded(
        ids=tuple(pair_id for pair_id, _ in listed),
        captions=tuple(rows[caption] for _, caption in listed),
        conditions=tuple(Condition(load_file(path)) for path in _shards(text_node)),
        sides=found,
        resolution=side,
        nodes=tuple(nodes),
    )


def _captions(node: Node, family: Family, texts: Sequence[str], context: Context) -> None:
    with context.progress.task("encode captions", len(texts)) as task:
        for index, chunk in enumerate(chunks(texts, SHARD)):
            if not _shard(node, index).exists():
                condition = Condition.cat([family.condition(part) for part in chunks(chunk, BATCH)])
                _write(_shard(node, index), dict(condition.tensors))
            task.advance(len(chunk))
    node.finish(captions=len(texts))


def _latents(
    node: Node, family: Family, pairs: Node, count: int, meaning: Mapping[str, Any], context: Context, *, crop: bool
) -> None:
    with context.progress.task(f"encode {meaning['what']}s", count) as task:
        for index, chunk in enumerate(chunks(_pictures(pairs, meaning["what"]), SHARD)):
            if not _shard(node, index).exists():
                sized = [_fit(picture_id, image, meaning["resolution"], crop=crop) for picture_id, image in chunk]
                side, mirrored = meaning["what"], meaning["flips"]
                parts = [_flipped(family, images.batch(part), side=side, flips=mirrored) for part in chunks(sized, BATCH)]
                _write(_shard(node, index), {"latents": torch.cat(parts)})
            task.advance(len(chunk))
    node.finish(pictures=count)


def _pictures(pairs: Node, side: Side) -> Iterator[tuple[str, Image.Image]]:
    return ((pair.id, _picture(pair, side)) for pair in tables.pairs(pairs))


def _picture(pair: Pair, side: Side) -> Image.Image:
    if side != "mask":
        return (pair.winner if side == "winner" else pair.loser).image
    if pair.mask is None or not pair.mask.any():
        raise EncodingError(
            f"pair {pair.id} carries no mask of where its pictures differ, which focus.on = 'mask' needs; "
            "set focus.on to 'difference' (read from the pictures) or 'everywhere'"
        )
    return images.from_tensor(torch.from_numpy(pair.mask.copy()).expand(3, -1, -1))


def _flipped(family: Family, pixels: Tensor, *, side: Side, flips: bool) -> Tensor:
    """``[b, 3, h, w]`` -> latents ``[b, 1 or 2, c, h, w]``; the mirrored picture is encoded, not the mirrored latents.

    A mask becomes ``[b, 1 or 2, 1, h, w]``: the share of each latent's pixels that it covers.
    """
    views = [pixels, pixels.flip(-1)] if flips else [pixels]
    if side == "mask":
        size = family.latent_shape(pixels.shape[-1])[1:]
        return torch.stack([functional.adaptive_avg_pool2d(view[:, :1], size) for view in views], dim=1)
    return torch.stack([family.encode(view) for view in views], dim=1)


def _fit(pair_id: str, image: Image.Image, resolution: int, *, crop: bool) -> Image.Image:
    if image.size == (resolution, resolution):
        return image
    if not crop:
        raise EncodingError(
            f"pair {pair_id} is {image.width} x {image.height} pixels, others {resolution} x {resolution}; set 'resolution'"
        )
    return images.crop(image, resolution, 0, pair_id)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def _shard(node: Node, index: int) -> Path:
    return node.path / f"shard-{index:05d}.safetensors"


def _shards(node: Node) -> list[Path]:
    return sorted(node.path.glob("shard-*.safetensors"))


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    content = {name: value.cpu().contiguous() for name, value in tensors.items()}
    write_file(path, lambda temporary: save_file(content, temporary))
