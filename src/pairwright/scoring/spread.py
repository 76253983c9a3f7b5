"""Sets of pictures scored by one device or by several, each in a process of its own (:mod:`pairwright.shares`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from pairwright.options import Plugin
from pairwright.progress import SILENT, Progress
from pairwright.scoring.pictures import PictureSet
from pairwright.scoring.scorer import Scorer
from pairwright.scoring.together import passes, score_together
from pairwright.shares import WHOLE, Share, share_out
from pairwright.store import Node, Store

Sets = Mapping[str, PictureSet]
"""Sets of pictures by a label of the caller's."""


def score_sets(
    store: Store,
    sets: Sets,
    rewards: Sequence[Plugin],
    *,
    batch: int = 32,
    devices: Sequence[str] = ("auto",),
    share: Share = WHOLE,
    progress: Progress = SILENT,
) -> dict[str, list[Node]]:
    """The scores of each set by each reward, computed where they are missing.

    Args:
        store: where the scores are kept.
        sets: what is scored.
        rewards: by which rewards.
        batch: pictures per call of a reward.
        devices: where; more than one share the shards, each in a process of its own.
        share: only these shards, where other processes score the others.
        progress: whom to tell.

    Returns:
        by label, one node per reward, in order. With a share they may be unfinished.

    Raises:
        WorkerError: a worker died.
        ValueError, StoreError, PluginError: as :meth:`Scorer.node`.
    """
    if len(devices) > 1:
        _spread(store, sets, rewards, batch, devices, progress)
    scorers = [Scorer(each, batch, devices[0], progress) for each in rewards]
    open_ = [each for each in scorers if any(not each.at(store, pictures).complete for pictures in sets.values())]
    groups = passes(open_)
    for group in groups:
        for pictures in sets.values():
            score_together(store, pictures, group, share=share, progress=progress)
        for each in group:
            each.release()
    return {label: [each.at(store, pictures) for each in scorers] for label, pictures in sets.items()}


def _work(store: Store, sets: Sets, rewards: Sequence[Plugin], batch: int, device: str, share: Share) -> None:
    score_sets(store, sets, rewards, batch=batch, devices=(device,), share=share)


def _spread(store: Store, sets: Sets, rewards: Sequence[Plugin], batch: int, devices: Sequence[str], progress: Progress) -> None:
    nodes = [(Scorer(each).at(store, pictures), pictures.sizes()) for pictures in sets.values() for each in rewards]
    share_out(
        partial(_work, store, sets, rewards, batch),
        devices,
        label="score",
        total=sum(sum(sizes.values()) for _, sizes in nodes),
        written=partial(_written, nodes),
        progress=progress,
    )


def _written(nodes: Sequence[tuple[Node, Mapping[int, int]]]) -> int:
    """Scores that are on the disk."""
    return sum(size for node, sizes in nodes for shard, size in sizes.items() if node.shard(shard).exists())
