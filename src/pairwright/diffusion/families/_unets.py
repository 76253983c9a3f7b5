"""What SD-1.x and SDXL share: a UNet."""

from __future__ import annotations

from typing import Any

import torch

from pairwright.diffusion.families._parts import Parts
from pairwright.single_files import NETWORK


def layout(device: torch.device) -> torch.memory_format:
    """The memory format of a UNet: tensor cores read channels last; on CPUs it was measured to gain nothing."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def frozen(parts: Parts, dtype: torch.dtype) -> Any:
    """The network, frozen, on its device."""
    from diffusers import UNet2DConditionModel

    return parts.network(UNet2DConditionModel, "unet", dtype, original=NETWORK).to(memory_format=layout(parts.device))
