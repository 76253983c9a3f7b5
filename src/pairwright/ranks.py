"""Several processes that train together, as ``accelerate launch`` and ``torchrun`` start them.

The first one (rank 0) does everything that one process does: it alone holds the run's lock, curates, writes and reports.
The others wait for the trainings that it tells them of and take their share of every step. Draws are keyed by occasion, so
the result is that of one process, to rounding. Without a launcher's environment variables nothing here does anything, and
torch is not imported.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PATIENCE = timedelta(days=14)
"""How long a process waits for the others: curation and evaluation lie between two trainings."""
BUCKET_BYTES = 64 << 20
"""Gradients are summed in parts of about this size, so that no second copy of all of them is needed."""
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def count() -> int:
    """How many processes train together; 1 without a launcher."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in _VARIABLES) else 1


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


@contextmanager
def together() -> Iterator[None]:
    """Inside, the processes know each other. Where the first one leaves in good order, it sends the others home.

    Where it leaves with a step half done, the launcher ends them.
    """
    if count() == 1:
        yield
        return
    import torch
    from torch import distributed

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        if rank() == 0 and not _BUSY:
            with contextlib.suppress(RuntimeError):  # they may have been ended by the same signal
                send({})
        distributed.destroy_process_group()


_BUSY: list[str] = []


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Inside, all processes work in lockstep and nobody listens for messages. An error leaves it that way."""
    _BUSY.append(what)
    yield
    _BUSY.remove(what)


def send(message: Mapping[str, Any]) -> None:
    """Tell the other processes something, as JSON; an empty message sends them home."""
    if count() > 1:
        _broadcast(json.dumps(message).encode())


def receive() -> dict[str, Any]:
    """What the first process says next."""
    return dict(json.loads(_broadcast(b"")))


def _broadcast(data: bytes) -> bytes:
    import torch
    from torch import distributed

    size = torch.tensor([len(data)])
    distributed.broadcast(size, 0)
    content = torch.zeros(int(size), dtype=torch.uint8) if rank() else torch.tensor(list(data), dtype=torch.uint8)
    distributed.broadcast(content, 0)
    return bytes(content.tolist())


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes."""
    if count() > 1:
        from torch import distributed

        distributed.all_reduce(values)
    return values


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the sum of all gradients, the same bits everywhere. Absent ones count as 0."""
    if count() == 1:
        return
    import torch

    for bucket in _buckets(parameters):
        grads = [each.grad if each.grad is not None else torch.zeros_like(each) for each in bucket]
        joined = total(torch.cat([grad.flatten() for grad in grads]))
        parts = torch.split(joined, [grad.numel() for grad in grads])
        for each, grad, part in zip(bucket, grads, parts, strict=True):
            each.grad = grad.copy_(part.view_as(grad))


def _buckets(parameters: Iterable[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    bucket: list[torch.nn.Parameter] = []
    size = 0
    for each in parameters:
        bucket.append(each)
        size += each.numel() * each.element_size()
        if size >= BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def device(name: str) -> str:
    """The name of this process's own device where several were started: ``auto`` and ``cuda`` are ``cuda:<local rank>``."""
    if count() == 1 or name not in {"auto", "cuda"}:
        return name
    import torch

    if not torch.cuda.is_available():
        return name
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
