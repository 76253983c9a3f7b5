"""Devices and number formats, said once.

Network forwards run under autocast in a named dtype, or in float32 where a CPU has no products of it; losses, heads and trained
weights stay float32.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch

from pairwright import hardware
from pairwright.errors import Explained

Dtype = hardware.Dtype


class DeviceError(Explained, ValueError):
    """A device that is not there; the message says which, and what there is."""


def device(name: str = "auto") -> torch.device:
    """``auto`` is the first CUDA device, else Apple's, else the CPU.

    Raises:
        DeviceError: a device that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"{name!r} is no device; there is: auto, cpu, mps, cuda, and one of several as cuda:1") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {name!r}: this torch ({torch.__version__}) sees no CUDA device")
    if chosen.type == "cuda" and chosen.index is not None and chosen.index >= torch.cuda.device_count():
        raise DeviceError(f"device {name!r}: there are {torch.cuda.device_count()} CUDA devices, counted from cuda:0")
    return chosen


def dtype(name: Dtype) -> torch.dtype:
    """The torch dtype of that name."""
    return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[name]


def working_dtype(name: Dtype, where: torch.device) -> torch.dtype:
    """The torch dtype that networks on ``where`` are kept and run in when ``name`` is asked for.

    The named one, but float32 on a CPU without products of that format (:func:`pairwright.hardware.working_dtype`), which is
    said once.
    """
    works = hardware.working_dtype(name, where.type)
    if works != name:
        _say(name, works)
    return dtype(works)


@cache
def _say(asked: str, works: str) -> None:
    logging.getLogger(__name__).warning(
        "This CPU has no products in %s and would imitate them, some 25 times slower: its networks run in %s.", asked, works
    )


def autocast(where: torch.device, number: torch.dtype) -> AbstractContextManager[object]:
    """Autocast to ``number`` on ``where``; nothing for float32."""
    if number == torch.float32:
        return nullcontext()
    return torch.autocast(where.type, dtype=number)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, diffusers and transformers show no progress bars of their own while they load weights."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = [each for each in (diffusers_logging, transformers_logging) if each.is_progress_bar_enabled()]
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in libraries:
            library.enable_progress_bar()
