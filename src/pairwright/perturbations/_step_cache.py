"""Step caching: what a UNet computes deep down changes little from one sampling step to the next, and is used again.

After Ma et al. 2024, "DeepCache: Accelerating Diffusion Models for Free" (arXiv 2312.00858), uniform intervals, its first
branch: in every N-th step the whole UNet runs; in the others only the first convolution and the last layer of the last block,
which joins fresh shallow features with deep ones that were kept. Pictures come out near to, but not like, those of the whole
network: a setting of its own, never a default.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def every(unet: nn.Module, steps: int) -> Iterator[None]:
    """Inside, a ``UNet2DConditionModel`` runs whole in its first call and in every ``steps``-th after it.

    Meant for one sampling of one batch with one call per step. ``steps=1`` changes nothing.
    """
    if steps == 1:
        yield
        return
    calls = _Calls(steps)
    counting = unet.register_forward_pre_hook(calls.count)
    replaced = _deep(unet)
    for module in replaced:
        module.forward = calls.kept(module)  # shadows the class's; taken away below
    try:
        yield
    finally:
        counting.remove()
        for module in replaced:
            del module.forward


def _deep(unet: Any) -> list[nn.Module]:
    """Everything between the first convolution and the last layer of the last block."""
    last = unet.up_blocks[-1]
    layers = [*last.resnets[:-1], *getattr(last, "attentions", [])[:-1]]
    return [*unet.down_blocks, unet.mid_block, *unet.up_blocks[:-1], *layers]


class _Calls:
    """Which call of the UNet this is, and what its deep parts gave in the last whole one."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = -1
        self._kept: dict[int, Any] = {}

    def count(self, *_: Any) -> None:
        self._done += 1

    def kept(self, module: nn.Module) -> Any:
        """Its forward, run in whole calls only."""
        forward, key = module.forward, id(module)

        def cached(*args: Any, **kwargs: Any) -> Any:
            if self._done % self._steps == 0:
                self._kept[key] = forward(*args, **kwargs)
            return self._kept[key]

        return cached
