"""The forward of a linear layer with low-rank adapters, in fewer passes over its input and output than peft's.

peft casts the layer's input to the adapters' float32 (which autocast undoes), multiplies the small product by its strength, and
adds it: each a pass over a tensor as large as the input or output, forwards and backwards. Here ``base(x) + s * (x A) B`` is one
product that is added while it is computed. The numbers are peft's to rounding, and an adapter whose B is 0 still changes no bit.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn


def quicken(network: nn.Module) -> None:
    """Give every linear layer with adapters the quick forward; other layers keep peft's.

    The adapters must be plain ones, as all that are put on here are: no dropout, no bias, no decomposed weights.
    """
    for module in network.modules():
        if type(module) is Linear and "forward" not in vars(module):
            module.forward = MethodType(_forward, module)


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if layer.merged or layer.disable_adapters:
        merged: Tensor = Linear.forward(layer, x, *args, **kwargs)
        return merged
    result: Tensor = layer.base_layer(x, *args, **kwargs)
    shape = result.shape
    for name in layer.active_adapters:
        if name in layer.lora_A:
            low, up = layer.lora_A[name](x), layer.lora_B[name].weight
            result = torch.addmm(result.flatten(0, -2), low.flatten(0, -2), up.t(), alpha=layer.scaling[name])
    return result.view(shape)
