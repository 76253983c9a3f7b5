"""ImageReward: how well people would like a picture for its prompt (BLIP tuned on expert rankings).

Xu et al. 2023, "ImageReward: Learning and Evaluating Human Preferences for Text-to-Image Generation", arXiv 2304.05977.
The column is the published score: the head's output on [CLS], less 0.1672, over 1.0333; about -2.3 to 2, mean 0 over the
authors' validation pictures. The text is padded and cut to 35 tokens; the picture is resized (bicubic, short side 224) and
cropped as in the official code. That code converts to RGB after the resize and drops transparency; here a picture is RGB
from its decoding on, which differs for palette and transparent files only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pairwright import runtime, weights
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt
from pairwright.rewards import _batches, _blip, _clip

TOKENS = 35
PROCESSOR = "google-bert/bert-base-uncased"
FILES = ("ImageReward.safetensors", "ImageReward.pt")
TOKENIZER_FILES = ("vocab.txt", "tokenizer*.json", "special_tokens_map.json")


def load(
    *,
    model: str = "THUDM/ImageReward",
    processor: str | None = None,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 32,
) -> ImageReward:
    """ImageReward from its published checkpoint.

    Args:
        model: folder, file or hub id with ``ImageReward.pt`` (or the same as ``.safetensors``) and ``med_config.json``.
        processor: whose BERT vocabulary is used; default: ``vocab.txt`` in the model's own folder, else `PROCESSOR`.
        dtype: number format of the two encoders; the head is float32.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
    """
    where = runtime.device(device)
    located = weights.locate(model, patterns=[FILES[1], "*.json", "vocab.txt"])
    path = located if located.is_file() else _checkpoint(located, model)
    network = _blip.half(_blip.build(path, path.parent), runtime.working_dtype(dtype, where)).to(where)
    tokenizer = _tokenizer(path.parent, processor)
    rows = network.text.config.vocab_size
    if len(tokenizer) > rows:
        raise weights.WeightsError(f"The vocabulary beside {path} has {len(tokenizer)} entries, its embedding {rows} rows")
    return ImageReward(network.requires_grad_(requires_grad=False), tokenizer, where, batch_size)


@dataclass(frozen=True)
class ImageReward:
    """Scores a picture with its prompt. Column ``imagereward``, the published normalised reward."""

    network: _blip.RewardNetwork
    tokenizer: Any
    device: torch.device
    batch_size: int = 32
    columns: tuple[Column, ...] = (Column("imagereward", "normalised reward: (raw - 0.1672) / 1.0333"),)

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, self.batch_size, self._rows)

    @torch.inference_mode()
    def _rows(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        vision = self.network.vision
        pixels = _clip.original_transform(images, vision.config.image_size).to(self.device, vision.dtype)
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt").to(
            self.device
        )
        rewards = self.network(pixels, tokens["input_ids"], tokens["attention_mask"])
        return [(reward,) for reward in rewards.tolist()]


def _checkpoint(folder: Path, model: str) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise weights.WeightsError(f"{model} has neither {' nor '.join(FILES)}")


def _tokenizer(folder: Path, processor: str | None) -> Any:
    from transformers import BertTokenizer

    own = processor is None and (folder / "vocab.txt").is_file()
    source = folder if own else weights.locate(processor or PROCESSOR, patterns=TOKENIZER_FILES)
    tokenizer = BertTokenizer.from_pretrained(source, local_files_only=True)
    # BLIP's two own tokens take the last rows of its embedding. Neither is ever put in, but a prompt may spell them.
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    return tokenizer
