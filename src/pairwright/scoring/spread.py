"""Sets of pictures scored by one device or by several, each in a process of its own.

Workers share nothing but the store: a shard belongs to one of them by its number and is written whole or not at all, so that
a worker that dies loses the shard it was at and nothing else.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from pairwright.errors import Explained
from pairwright.options import Plugin
from pairwright.progress import SILENT, Progress
from pairwright.scoring.pictures import PictureSet
from pairwright.scoring.scorer import Scorer
from pairwright.scoring.together import WHOLE, Share, passes, score_together
from pairwright.store import Node, Store

_LOOK_EVERY_SECONDS = 0.5

Sets = Mapping[str, PictureSet]
"""Sets of pictures by a label of the caller's."""


class ScoringError(Explained, RuntimeError):
    """Scoring that could not go on; the message says why and that what was computed is kept."""


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
        ScoringError: a worker died.
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
    """Have the missing shards scored by one process per device; what they do is seen in the store."""
    nodes = [(Scorer(each).at(store, pictures), pictures.sizes()) for pictures in sets.values() for each in rewards]
    total = sum(sum(sizes.values()) for _, sizes in nodes)
    done = _written(nodes)
    if done == total:
        return
    # Spawned and not forked: a fork of a process that has used CUDA or threads cannot use them.
    context = multiprocessing.get_context("spawn")
    with (
        progress.task(f"score on {', '.join(devices)}", total, done) as task,
        ProcessPoolExecutor(len(devices), mp_context=context) as pool,
    ):
        running = {
            pool.submit(_work, store, sets, rewards, batch, device, Share(rank, len(devices)))
            for rank, device in enumerate(devices)
        }
        workers = set(running)
        while running:
            _, running = wait(running, _LOOK_EVERY_SECONDS, FIRST_COMPLETED)
            now = _written(nodes)
            if now > done:
                task.advance(now - done)
                done = now
        try:
            for each in workers:
                each.result()
        except BrokenProcessPool as error:
            raise ScoringError(
                "a worker process died without a word (out of memory, or killed); what was scored is kept: run the same "
                "command again, with fewer devices or a smaller --batch-size"
            ) from error


def _written(nodes: Sequence[tuple[Node, Mapping[int, int]]]) -> int:
    """Scores that are on the disk."""
    return sum(size for node, sizes in nodes for shard, size in sizes.items() if node.shard(shard).exists())
