"""Devices and number formats, said once.

Network forwards run under autocast in a named dtype; losses, heads and trained weights stay float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

Dtype = Literal["bfloat16", "float16", "float32"]


def device(name: str = "auto") -> torch.device:
    """``auto`` is the first CUDA device, else Apple's, else the CPU.

    Raises:
        ValueError: a device that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    chosen = torch.device(name)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: this torch ({torch.__version__}) sees no CUDA device")
    return chosen


def dtype(name: Dtype) -> torch.dtype:
    """The torch dtype of that name."""
    return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[name]


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
