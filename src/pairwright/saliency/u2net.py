"""U^2-Net: the salient object of a photograph, as published (u2net, u2netp) or as rembg users have it (ONNX).

Qin et al. 2020, "U^2-Net: Going Deeper with Nested U-Structure for Salient Object Detection", arXiv 2005.09007. As in the
official repository's ``u2net_test.py``: the picture is squashed to 320 x 320, divided by its own maximum (not by 255),
normalised with ImageNet's mean and deviation; the map is the network's *first* output (the fused one, which its code calls
d0 and its test script d1), min-max normalised per picture and resized back bilinearly. A constant map is all zeros.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pairwright import onnx_files, runtime, state_dicts, weights
from pairwright.records import Picture
from pairwright.saliency.u2net_network import DECODERS, STAGES, U2Net, Widths

SIZE = 320
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
FILES = ("u2net.safetensors", "model.safetensors", "u2net.pth", "u2netp.pth", "u2net.onnx", "u2netp.onnx")
CONSTANT = 1e-6
"""A map whose range is below this shows nothing: it is the sigmoid's rounding that would be stretched to 0..1."""

Forward = Callable[[Tensor], Tensor]
"""``float32 [b, 3, s, s]``, normalised -> ``float32 [b, 1, s, s]`` in 0..1, on the CPU."""


def load(*, model: str = "u2net.pth", size: int | None = None, device: str = "auto", batch_size: int = 8) -> U2NetSaliency:
    """U^2-Net at any width.

    Args:
        model: ``u2net.pth`` or ``u2netp.pth``, a ``.safetensors`` file with the same keys, an ``.onnx`` file (needs the
            package onnxruntime), a folder or hub id that holds one of them, or ``tiny:u2net``.
        size: side of the network's input in pixels; default: what ``config.json`` beside the file says, else 320.
        device: see :func:`pairwright.runtime.device`. An ONNX file runs on the CPU unless onnxruntime has CUDA.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there (with where to get them) or do not fit.
    """
    path = _find(model)
    config = path.parent / "config.json"
    settings: dict[str, Any] = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    side = size or int(settings.get("image_size", SIZE))
    forward = _onnx(path, runtime.device(device)) if path.suffix == ".onnx" else _torch(path, runtime.device(device))
    return U2NetSaliency(forward, side, batch_size)


@dataclass(frozen=True)
class U2NetSaliency:
    """Salient regions; see :class:`pairwright.protocols.Saliency`."""

    forward: Forward
    size: int
    batch_size: int = 8

    def maps(self, pictures: Sequence[Picture]) -> list[np.ndarray]:
        """One map per picture: ``float32 [h, w]`` in 0..1 at the picture's own size."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        result: list[np.ndarray] = []
        for start in range(0, len(pictures), self.batch_size):
            images = [picture.image for picture in pictures[start : start + self.batch_size]]
            outputs = self.forward(torch.stack([prepared(image, self.size) for image in images]))
            result += [restored(output, image.height, image.width) for output, image in zip(outputs, images, strict=True)]
        return result


def prepared(image: Image.Image, size: int) -> Tensor:
    """The network's input, ``float32 [3, size, size]``: squashed, over its own maximum, normalised."""
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)
    # A black picture has no maximum to divide by, and stays black.
    scaled = pixels / max(float(pixels.max()), 1.0)
    return torch.from_numpy((scaled - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).permute(2, 0, 1)


def restored(output: Tensor, height: int, width: int) -> np.ndarray:
    """``[1, s, s]`` -> ``float32 [height, width]``, min-max normalised; zeros where it is constant or not finite."""
    low, high = output.min(), output.max()
    if not bool(torch.isfinite(output).all()) or float(high - low) < CONSTANT:
        return np.zeros((height, width), dtype=np.float32)
    scaled = (output - low) / (high - low)
    # antialias matters where the picture is smaller than the network's input; enlarging is the same with and without.
    resized = functional.interpolate(scaled[None], size=(height, width), mode="bilinear", antialias=True)
    return resized[0, 0].clamp(0, 1).numpy()


def widths(state: dict[str, Tensor]) -> Widths:
    """How wide each stage is, read from the tensors."""

    def outputs(stages: Sequence[str], layer: str) -> tuple[int, ...]:
        return tuple(state[f"{stage}.{layer}.conv_s1.weight"].shape[0] for stage in stages)

    return Widths(
        outputs(STAGES, "rebnconv1"), outputs(STAGES, "rebnconvin"), outputs(DECODERS, "rebnconv1"), outputs(DECODERS, "rebnconvin")
    )


def _torch(path: Path, device: torch.device) -> Forward:
    state = {name: value.float() for name, value in state_dicts.read(path).items()}
    try:
        network = U2Net(widths(state))
    except KeyError as error:
        raise weights.WeightsError(f"{path} is not U^2-Net's checkpoint: it has no {error}") from error
    state_dicts.fill(network, state, str(path))
    network = network.eval().to(device).requires_grad_(requires_grad=False)

    @torch.inference_mode()
    def forward(images: Tensor) -> Tensor:
        return torch.sigmoid(network.side_outputs(images.to(device))[0]).cpu()

    return forward


def _onnx(path: Path, device: torch.device) -> Forward:
    session = onnx_files.session(path, threads=torch.get_num_threads(), device=device.type)
    entry = session.get_inputs()[0].name
    first = session.get_outputs()[0].name

    def forward(images: Tensor) -> Tensor:
        # One at a time: the files that rembg ships are exported for a batch of one.
        outputs = [session.run([first], {entry: image[None].numpy()})[0] for image in images]
        return torch.from_numpy(np.concatenate(outputs))

    return forward


def _find(model: str) -> Path:
    try:
        located = weights.locate(model, patterns=[*FILES, "config.json"])
    except weights.WeightsError as error:
        raise weights.WeightsError(f"{error} {_where()}") from error
    if located.is_file():
        return located
    for name in FILES:
        if (located / name).is_file():
            return located / name
    raise weights.WeightsError(f"{model} has none of {', '.join(FILES)}. {_where()}")


def _where() -> str:
    return (
        "The authors publish u2net.pth and u2netp.pth on Google Drive, linked from github.com/xuebinqin/U-2-Net; they have no "
        "repository on the hub. rembg keeps u2net.onnx in ~/.u2net. Give the file's path as model."
    )
