"""Qwen2.5-VL in this process: Qwen/Qwen2.5-VL-7B-Instruct, lmms-lab/LLaVA-Critic-R1-7B and whatever else is one.

Bai et al. 2025 (arXiv 2502.13923).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from pairwright import runtime, state_dicts, weights
from pairwright.vlms import asking, qwen2_vl

MOST_IMAGES = 8


def load(model: str, *, dtype: runtime.Dtype, device: str) -> asking.Speaker:
    """A model that is shown up to :data:`MOST_IMAGES` pictures with each question.

    Args:
        model: folder or hub id.
        dtype: number format of the network.
        device: see :func:`pairwright.runtime.device`.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
    """
    where = runtime.device(device)
    network, processor = parts(model, dtype, where)
    return asking.Speaker(
        network,
        processor.tokenizer,
        partial(processor.read, padding="left"),
        where,
        weights.identity(model),
        asking.reserved(processor.tokenizer),
        MOST_IMAGES,
        qwen2_vl.LONGEST,
    )


def parts(model: str, dtype: runtime.Dtype, device: torch.device) -> tuple[Any, qwen2_vl.Processor]:
    """The network on its device, frozen, and what makes its inputs.

    Raises:
        pairwright.weights.WeightsError: as :func:`load`.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    folder = weights.locate(model, patterns=qwen2_vl.WEIGHT_FILES)
    qwen2_vl.configuration(Qwen2_5_VLConfig, folder)
    network = state_dicts.pretrained(Qwen2_5_VLForConditionalGeneration, folder, runtime.working_dtype(dtype, device))
    return network.to(device).requires_grad_(requires_grad=False), qwen2_vl.processor(folder)
