"""The kinds of picture that the judges of the tiny pack are asked about, each a result of its own in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from pairwright import images, models, scoring, seeds, tables, weights
from pairwright.context import Context
from pairwright.diffusion import families
from pairwright.errors import Explained
from pairwright.options import Model, Plugin
from pairwright.records import Pair, Picture, Unscored
from pairwright.store import Node, Store

VERB = "sides"
VERSION = 1
SHARD = 64
BATCH = 16
BASE = "tiny:base"

Pictures = Callable[[Sequence[Pair]], list[Image.Image]]


class SidesError(Explained, ValueError):
    """Pairs or scores that do not suffice for the comparison; the message says how many there are."""


@dataclass(frozen=True)
class HeldOut:
    """Some of the pairs that a curation of held-out photographs has made."""

    node: Node
    pairs: tuple[Pair, ...]

    @property
    def captions(self) -> list[str]:
        """Of each photograph; equal ones are one cluster."""
        return [pair.prompt for pair in self.pairs]

    def masks(self) -> list[np.ndarray]:
        """Of each pair, ``float32 [h, w]``."""
        return [mask(pair) for pair in self.pairs]


def choose(node: Node, count: int, seed: int) -> HeldOut:
    """``count`` of a node's pairs, chosen by seed and their own ids.

    Raises:
        SidesError: there are fewer.
    """
    found = sorted(tables.pairs(node), key=lambda pair: seeds.key(seed, "held out", pair.id))
    if len(found) < count:
        raise SidesError(f"{len(found)} held-out photographs have a usable mask, {count} are needed")
    return HeldOut(node, tuple(found[:count]))


def photographs(pairs: Sequence[Pair]) -> list[Image.Image]:
    """(i) What was found."""
    return [pair.winner.image for pair in pairs]


def repainted(pairs: Sequence[Pair]) -> list[Image.Image]:
    """(iii) The curation's losers."""
    return [pair.loser.image for pair in pairs]


class RoundTrip:
    """(ii) What the base's autoencoder makes of pictures: of the photographs, where nothing else is said."""

    def __init__(self, store: Store, of: Pictures = photographs) -> None:
        ref = models.resolve(Model(base=BASE), Context(store))
        self._family = families.load_base(ref, dtype="float32", device=torch.device("cpu"))
        self._of = of

    def __call__(self, pairs: Sequence[Pair]) -> list[Image.Image]:
        """One picture per pair."""
        source, found = self._of(pairs), []
        for start in range(0, len(source), BATCH):
            latents = self._family.encode(images.batch(source[start : start + BATCH]))
            found += [images.from_tensor(each) for each in self._family.decode(latents)]
        return found


class Pasted:
    """The photograph with its round trip pasted through the mask as a repaint is: no content changes."""

    def __init__(self, store: Store, feather: float) -> None:
        self._trip, self._feather = RoundTrip(store), feather

    def __call__(self, pairs: Sequence[Pair]) -> list[Image.Image]:
        """One picture per pair."""
        return [
            images.composite(pair.winner.image, image, mask(pair), self._feather)
            for pair, image in zip(pairs, self._trip(pairs), strict=True)
        ]


def mask(pair: Pair) -> np.ndarray:
    """Where the sides of a curated pair differ, ``float32 [h, w]``."""
    assert pair.mask is not None, "curation keeps the mask of every pair"
    return pair.mask


def stored(store: Store, held_out: HeldOut, side: str, make: Pictures, **meaning: float | str) -> Node:
    """The pictures of one side, made where they are missing; their ids are their pairs'."""
    chosen = hashlib.sha256("\n".join(pair.id for pair in held_out.pairs).encode()).hexdigest()[:16]
    said = {"version": VERSION, "side": side, "chosen": chosen, "base": weights.identity(BASE), **meaning}
    node = store.node(VERB, said, [held_out.node.fingerprint])
    if node.complete:
        return node
    for shard, start in enumerate(range(0, len(held_out.pairs), SHARD)):
        if not node.shard(shard).exists():
            some = held_out.pairs[start : start + SHARD]
            rows = [
                tables.picture_row(Picture(pair.id, images.encode(image), pair.prompt))
                for pair, image in zip(some, make(some), strict=True)
            ]
            node.write(shard, rows, tables.PICTURES)
    node.finish(pictures=len(held_out.pairs))
    return node


def numbers(store: Store, node: Node, judge: Plugin) -> list[float]:
    """What a judge says of a side's pictures, in the order of the pairs; its column has its name.

    Raises:
        SidesError: it has no number for one.
    """
    scores = scoring.read_scores(scoring.score_node(store, node, judge))
    return [number(name, score, judge.name) for name, score in scores.items()]


def number(name: str, score: Mapping[str, float] | float | Unscored, column: str) -> float:
    """A score that must be there.

    Raises:
        SidesError: it is not.
    """
    if isinstance(score, Unscored):
        raise SidesError(f"{column} has no score for {name}: {score.reason}")
    return score if isinstance(score, float) else score[column]


def pixels(node: Node) -> list[np.ndarray]:
    """The pictures of a side, ``uint8 [h, w, 3]`` each."""
    return [picture.pixels for picture in tables.pictures(node)]
