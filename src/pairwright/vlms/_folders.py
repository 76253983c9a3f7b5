"""What models in transformers' own layout have in common: configuration, network, tokenizer and the PIL picture processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pairwright import runtime, state_dicts, weights
from pairwright.vlms import qwen2_vl

FILES = (*qwen2_vl.WEIGHT_FILES, "tokenizer.model")


def parts(
    model: str, config: Any, network: Any, pictures: Any, place: str, dtype: runtime.Dtype, device: torch.device
) -> tuple[Any, Any, Any]:
    """Network on its device and frozen, tokenizer, picture processor.

    Args:
        model: folder or hub id.
        config: the configuration's class.
        network: the model's class.
        pictures: the picture processor's class: PIL's by name, since transformers would choose another with torchvision.
        place: the token that stands for a picture.
        dtype: number format of the network.
        device: where it runs.

    Raises:
        pairwright.weights.WeightsError: something is not there or does not fit, with the keys named.
    """
    folder = weights.locate(model, patterns=FILES)
    qwen2_vl.configuration(config, folder)
    tokenizer = _tokenizer(folder)
    if place not in tokenizer.get_vocab():
        raise weights.WeightsError(f"The tokenizer in {folder} has no {place}: it is not that of a {network.__name__}")
    loaded = state_dicts.pretrained(network, folder, runtime.working_dtype(dtype, device))
    with state_dicts.quietly():
        reader = pictures.from_pretrained(folder, local_files_only=True)
    return loaded.to(device).requires_grad_(requires_grad=False), tokenizer, reader


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    lacking = [name for name in ("tokenizer.json", "preprocessor_config.json") if not (folder / name).is_file()]
    if lacking:
        raise weights.WeightsError(f"{folder} lacks {' and '.join(lacking)}")
    with state_dicts.quietly():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise weights.WeightsError(f"The tokenizer in {folder} cannot be read: {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
