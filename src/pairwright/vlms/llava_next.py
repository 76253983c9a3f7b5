"""LLaVA-1.6 (LLaVA-NeXT) with Mistral in this process: llava-hf/llava-v1.6-mistral-7b-hf.

Liu et al. 2024, "LLaVA-NeXT: Improved reasoning, OCR, and world knowledge". A picture is seen whole at 336 x 336 and in up to four
tiles of that size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairwright import runtime, weights
from pairwright.vlms import _folders, asking
from pairwright.vlms.asking import Question

PLACE = "<image>"
TURNS = frozenset({"[INST]", "[/INST]"})
"""Mistral's marks of a turn are plain text to its tokenizer; a prompt must not spell them either."""
LONGEST = 48
"""Of pictures more oblong than this, less than one patch of 14 pixels would be left in two tiles of 336."""
MOST_IMAGES = 4


@dataclass(frozen=True)
class Processor:
    """Makes the model's inputs from pictures and texts."""

    tokenizer: Any
    pictures: Any
    body: Any
    """The network's ``LlavaNextModel``, which knows how many features a picture of some size has."""

    def read(self, questions: Sequence[Question]) -> dict[str, Tensor]:
        """What the network takes by keyword.

        Returns:
            ``input_ids`` and ``attention_mask``, ``int64 [b, n]``, filled up on the left; ``pixel_values``
            ``float32 [pictures, tiles, 3, h, w]`` and ``image_sizes`` ``int64 [pictures, 2]``, height and width.
        """
        shown = [image for each in questions for image in each.images]
        seen = self.pictures(images=shown, return_tensors="pt")
        counts = iter([self.places(size) for size in seen["image_sizes"]])
        turns = [conversation(each, [next(counts) for _ in each.images]) for each in questions]
        read = self.tokenizer(turns, padding=True, padding_side="left", return_tensors="pt")
        kept = {name: read[name] for name in ("input_ids", "attention_mask")}
        return kept | {name: seen[name] for name in ("pixel_values", "image_sizes")}

    def places(self, size: Tensor) -> int:
        """How many features a picture of ``[height, width]`` pixels has, counted by the model's own packing on empty tensors."""
        from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

        config = self.body.config
        side, strategy = config.vision_config.image_size, config.vision_feature_select_strategy
        tiles = image_size_to_num_patches(image_size=size, grid_pinpoints=config.image_grid_pinpoints, patch_size=side)
        length = (side // config.vision_config.patch_size) ** 2 + (strategy == "full")
        empty, newline = torch.empty(tiles, length, 1, device="meta"), torch.empty(1, device="meta")
        (packed,), _ = self.body.pack_image_features([empty], size[None], strategy, newline)
        return int(packed.shape[0])


def conversation(question: Question, places: Sequence[int]) -> str:
    """Mistral's template for one message, up to where the model would answer; it has no place of its own for a system message."""
    pictures = "".join(f"{PLACE * count}\n" for count in places)
    said = f"{question.system}\n\n{question.text}" if question.system else question.text
    return f"[INST] {pictures}{said} [/INST]"


def load(model: str, *, dtype: runtime.Dtype, device: str) -> asking.Speaker:
    """A model that is shown up to :data:`MOST_IMAGES` pictures with each question.

    Args:
        model: folder or hub id, in transformers' layout.
        dtype: number format of the network.
        device: see :func:`pairwright.runtime.device`.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
    """
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    where = runtime.device(device)
    kinds = (LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextImageProcessorPil)
    network, tokenizer, pictures = _folders.parts(model, *kinds, PLACE, dtype, where)
    read = Processor(tokenizer, pictures, network.model).read
    reserved = asking.reserved(tokenizer) | TURNS
    return asking.Speaker(network, tokenizer, read, where, weights.identity(model), reserved, MOST_IMAGES, LONGEST)
