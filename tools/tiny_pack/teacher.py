"""The saliency teacher: u2netp's published weights, read out of its ONNX file."""

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional

from pairwright.saliency.u2net_network import SMALL, ConvNormRelu, U2Net

INPUT = 160  # pixels; the photographs have 128, so the published 320 would add time only
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalised(images: Tensor) -> Tensor:
    """[b, 3, h, w] in 0..1 -> ImageNet's mean and spread."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    return (images - mean) / std


def load_teacher(path: Path) -> U2Net:
    """u2netp as a torch module.

    The ONNX file has its batch norms folded into nameless convolutions, in the order in which
    they run, which is the order in which the modules are defined: so the n-th belongs to the
    n-th, with a batch norm that does nothing. Equal to onnxruntime's output to 1e-5.
    """
    graph = onnx.load(str(path)).graph
    weights = {entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy()) for entry in graph.initializer}
    network = U2Net(SMALL)
    state = network.state_dict()
    state.update({name: value for name, value in weights.items() if name in state})
    folded = [n for n in graph.node if n.op_type == "Conv" and n.input[1] not in state]
    modules = [n for n, module in network.named_modules() if isinstance(module, ConvNormRelu)]
    for module, node in zip(modules, folded, strict=True):
        state[f"{module}.conv_s1.weight"] = weights[node.input[1]]
        state[f"{module}.conv_s1.bias"] = weights[node.input[2]]
        spread = state[f"{module}.bn_s1.running_var"]
        state[f"{module}.bn_s1.weight"] = (spread + 1e-5).sqrt()
    network.load_state_dict(state)
    return network.eval()


@torch.no_grad()
def saliency_maps(teacher: U2Net, pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """uint8 pictures [n, h, w, 3] -> uint8 maps [n, size, size], min-max normalised."""
    maps = []
    for start in range(0, len(pixels), 8):
        images = torch.from_numpy(pixels[start : start + 8]).permute(0, 3, 1, 2) / 255
        large = functional.interpolate(images, size=(INPUT, INPUT), mode="bilinear")
        raw = teacher(normalised(large).contiguous(memory_format=torch.channels_last))
        low, high = raw.amin((1, 2, 3), keepdim=True), raw.amax((1, 2, 3), keepdim=True)
        scaled = (raw - low) / (high - low).clamp_min(1e-6)
        small = functional.interpolate(scaled, size=(size, size), mode="area")
        maps.append((small[:, 0] * 255).round().to(torch.uint8).numpy())
    return np.concatenate(maps)
