"""Llama 3.2 Vision in this process: meta-llama/Llama-3.2-11B-Vision-Instruct, a gated repository.

Grattafiori et al. 2024, "The Llama 3 Herd of Models" (arXiv 2407.21783), section 7: a picture's features are no tokens but are
looked at by layers of cross-attention, from the picture's token on.
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

PLACE = "<|image|>"
LONGEST = 160
"""Of pictures more oblong than this, less than one patch of 14 pixels would be left in four tiles of 560."""
MOST_IMAGES = 4


@dataclass(frozen=True)
class Processor:
    """Makes the model's inputs from pictures and texts."""

    tokenizer: Any
    pictures: Any

    def read(self, questions: Sequence[Question]) -> dict[str, Tensor]:
        """What the network takes by keyword.

        Returns:
            ``input_ids`` and ``attention_mask``, ``int64 [b, n]``, filled up on the left; ``cross_attention_mask``
            ``int64 [b, n, pictures, tiles]``, 1 where a token looks at a tile; ``pixel_values``
            ``float32 [b, pictures, tiles, 3, h, w]``; ``aspect_ratio_ids`` and ``aspect_ratio_mask``, ``int64``.
        """
        from transformers.models.mllama import processing_mllama

        seen = self.pictures(images=[list(each.images) for each in questions], return_tensors="pt")
        turns = [conversation(each) for each in questions]
        # The template says where a conversation begins; the tokenizer would say so once more.
        read = self.tokenizer(turns, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
        tokens = read["input_ids"].tolist()
        place = self.tokenizer.convert_tokens_to_ids(PLACE)
        looks = processing_mllama.convert_sparse_cross_attention_mask_to_dense(
            [processing_mllama.get_cross_attention_token_mask(each, place) for each in tokens],
            num_tiles=seen.pop("num_tiles"),
            max_num_tiles=self.pictures.max_image_tiles,
            length=len(tokens[0]),
        )
        kept = {name: read[name] for name in ("input_ids", "attention_mask")}
        return kept | {"cross_attention_mask": torch.from_numpy(looks)} | dict(seen)


def conversation(question: Question) -> str:
    """Llama 3's template for one message, up to where the model would answer.

    Meta's template refuses a system message beside pictures: it stands in front of the question.
    """
    said = f"{question.system}\n\n{question.text}" if question.system else question.text
    user = f"<|start_header_id|>user<|end_header_id|>\n\n{PLACE * len(question.images)}{said}<|eot_id|>"
    return f"<|begin_of_text|>{user}<|start_header_id|>assistant<|end_header_id|>\n\n"


def load(model: str, *, dtype: runtime.Dtype, device: str) -> asking.Speaker:
    """A model that is shown up to :data:`MOST_IMAGES` pictures with each question.

    Args:
        model: folder or hub id, in transformers' layout.
        dtype: number format of the network.
        device: see :func:`pairwright.runtime.device`.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
    """
    from transformers import MllamaConfig, MllamaForConditionalGeneration
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    where = runtime.device(device)
    kinds = (MllamaConfig, MllamaForConditionalGeneration, MllamaImageProcessorPil)
    network, tokenizer, pictures = _folders.parts(model, *kinds, PLACE, dtype, where)
    read = Processor(tokenizer, pictures).read
    return asking.Speaker(
        network, tokenizer, read, where, weights.identity(model), asking.reserved(tokenizer), MOST_IMAGES, LONGEST
    )
