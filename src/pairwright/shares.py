"""Shards shared out among devices, each in a process of its own.

Workers share nothing but the store: a shard belongs to one of them by its number and is written whole or not at all, so that
a worker that dies loses the shard it was at and nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from pairwright import hardware, runtime
from pairwright.errors import Explained
from pairwright.progress import Progress

_LOOK_EVERY_SECONDS = 0.5


class WorkerError(Explained, RuntimeError):
    """A worker died; the message says that what was computed is kept."""


@dataclass(frozen=True)
class Share:
    """Which shards are one worker's. Membership follows from the shard's number alone."""

    rank: int = 0
    of: int = 1

    def __contains__(self, shard: int) -> bool:
        return shard % self.of == self.rank


WHOLE = Share()

Work = Callable[[str, Share], object]
"""Does a share on a device and writes it to the store. It is pickled: a function of a module, or a ``partial`` of one."""


def share_out(
    work: Work, devices: Sequence[str], *, label: str, total: int, written: Callable[[], int], progress: Progress
) -> None:
    """Have every device do its share; how far they are is seen in the store.

    Args:
        work: what a worker does.
        devices: as options name them; one that is named twice has two workers.
        label: of the progress.
        total: how much there is.
        written: how much of it is on the disk.
        progress: whom to tell.

    Raises:
        DeviceError: a device that is not there. Nothing is begun: the other workers would do their whole share first.
        WorkerError: a worker died.
        Exception: what a worker raised.
    """
    done = written()
    if done == total:
        return
    for name in devices:
        runtime.device(name)
    # Spawned and not forked: a fork of a process that has used CUDA or threads cannot use them.
    context = multiprocessing.get_context("spawn")
    threads = max(hardware.cores() // max(devices.count("cpu"), 1), 1)
    with (
        progress.task(f"{label} on {', '.join(devices)}", total, done) as task,
        ProcessPoolExecutor(len(devices), mp_context=context, initializer=_end_with_parent) as pool,
    ):
        running = {pool.submit(_begin, work, device, Share(rank, len(devices)), threads) for rank, device in enumerate(devices)}
        workers = set(running)
        while running:
            _, running = wait(running, _LOOK_EVERY_SECONDS, FIRST_COMPLETED)
            now = written()
            if now > done:
                task.advance(now - done)
                done = now
        try:
            for each in workers:
                each.result()
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process died without a word (out of memory, or killed); what was computed is kept: run the same "
                "command again, with fewer devices or a smaller batch_size"
            ) from error


def _end_with_parent() -> None:
    """In a worker: a parent that was killed leaves nobody behind who holds a device's memory for the rest of a share."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _begin(work: Work, device: str, share: Share, threads: int) -> None:
    """In a worker: workers on the CPU divide its cores."""
    if device == "cpu":
        import torch

        torch.set_num_threads(min(threads, torch.get_num_threads()))
    work(device, share)
