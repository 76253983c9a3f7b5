"""Qwen2-VL and Qwen2.5-VL: pictures and one text in one turn of the user's.

Both models' ``AutoProcessor`` needs torchvision for the sake of videos. There are none here, so the inputs are made from
the PIL picture processor and the tokenizer alone; the turn is the published chat template's, written out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

from pairwright import state_dicts, weights
from pairwright.vlms.asking import Question

SYSTEM = "You are a helpful assistant."
"""What the chat template says where a conversation brings no system message."""
PLACE = "<|image_pad|>"
"""Stands where the picture's features go, once for each of them."""
LONGEST = 200
"""The published resizing refuses pictures whose sides differ by more than this factor."""
TEXT_FILES = ("tokenizer*.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")
PROCESSOR_FILES = ("config.json", "generation_config.json", "preprocessor_config.json", *TEXT_FILES)
WEIGHT_FILES = (*PROCESSOR_FILES, "model*.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class Processor:
    """Makes a model's inputs from pictures and texts."""

    tokenizer: Any
    pictures: Any

    def __call__(
        self, images: Sequence[Image.Image], texts: Sequence[str], *, padding: Literal["left", "right"], **size: Any
    ) -> dict[str, Tensor]:
        """One picture and one text each; see :meth:`read`."""
        return self.read([Question(text, (image,)) for image, text in zip(images, texts, strict=True)], padding=padding, **size)

    def read(self, questions: Sequence[Question], *, padding: Literal["left", "right"], **size: Any) -> dict[str, Tensor]:
        """What ``Qwen2VLModel`` and its relatives take by keyword.

        Args:
            questions: each with a picture at least; pictures come before the words.
            padding: the side on which shorter conversations are filled up.
            size: ``size={"shortest_edge": ..., "longest_edge": ...}`` in place of the checkpoint's, in pixels by area.

        Returns:
            ``input_ids``, ``attention_mask``, ``mm_token_type_ids`` (1 where a picture is), all ``int64 [b, n]``;
            ``pixel_values`` ``float32 [patches, d]`` and ``image_grid_thw`` ``int64 [pictures, 3]``.
        """
        seen = self.pictures(images=[each for asked in questions for each in asked.images], return_tensors="pt", **size)
        merged = self.pictures.merge_size**2
        counts = iter([int(count) // merged for count in seen["image_grid_thw"].prod(-1)])
        turns = [conversation(each.text, [next(counts) for _ in each.images], each.system or SYSTEM) for each in questions]
        read = self.tokenizer(turns, padding=True, padding_side=padding, return_tensors="pt")
        places = read["input_ids"] == self.tokenizer.convert_tokens_to_ids(PLACE)
        return {
            "input_ids": read["input_ids"],
            "attention_mask": read["attention_mask"],
            "mm_token_type_ids": places.long(),
            "pixel_values": seen["pixel_values"],
            "image_grid_thw": seen["image_grid_thw"],
        }


def conversation(text: str, places: Sequence[int], system: str = SYSTEM) -> str:
    """The chat template's text for one message, up to where the model would answer.

    Args:
        text: what the user says after the pictures.
        places: per picture, how many features it has.
        system: the system message.
    """
    pictures = "".join(f"<|vision_start|>{PLACE * count}<|vision_end|>" for count in places)
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{pictures}{text}<|im_end|>\n<|im_start|>assistant\n"


def processor(folder: Path) -> Processor:
    """Of a folder in transformers' layout.

    Raises:
        pairwright.weights.WeightsError: files that are missing, or a tokenizer without the picture's token.
    """
    from transformers import Qwen2Tokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    if not has_processor(folder):
        raise weights.WeightsError(f"{folder} lacks a tokenizer (tokenizer.json or vocab.json) or preprocessor_config.json")
    with state_dicts.quietly():
        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
        # The PIL backend by name: with torchvision present transformers would choose another, up to 1/255 away.
        pictures = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
    if PLACE not in tokenizer.get_vocab():
        raise weights.WeightsError(f"The tokenizer in {folder} has no {PLACE}: it is not that of a Qwen2-VL")
    return Processor(tokenizer, pictures)


def has_processor(folder: Path) -> bool:
    """Whether a folder holds a tokenizer and a preprocessing of its own."""
    tokenizer = (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()
    return tokenizer and (folder / "preprocessor_config.json").is_file()


def configuration(kind: Any, folder: Path) -> Any:
    """A folder's ``config.json`` as transformers' configuration of this kind.

    Raises:
        pairwright.weights.WeightsError: there is none, or it is that of another kind of model.
    """
    from huggingface_hub.errors import StrictDataclassError

    path = folder / "config.json"
    if not path.is_file():
        raise weights.WeightsError(f"{folder} has no config.json")
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("model_type")
        if found != kind.model_type:
            raise weights.WeightsError(f"{path} is of the type {found!r}; {kind.model_type!r} is needed")
        return kind.from_pretrained(folder, local_files_only=True)
    except (ValueError, TypeError, AttributeError, KeyError, StrictDataclassError) as error:
        raise weights.WeightsError(f"{path} cannot be read as {kind.__name__}: {error}") from error


def network(kind: Any, config: Any, state: dict[str, Tensor], number: torch.dtype, what: str) -> Any:
    """A model of transformers filled with exactly these tensors, on the CPU and in evaluation mode.

    Raises:
        pairwright.weights.WeightsError: missing or unexpected keys or other shapes, all of them named.
    """
    with torch.device("meta"):
        expected = {name: tuple(each.shape) for name, each in kind(config).state_dict().items()}
    wrong = [
        f"{name} {tuple(state[name].shape)} instead of {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    state_dicts.complain(what, missing=expected.keys() - state.keys(), unexpected=state.keys() - expected.keys(), shapes=wrong)
    with state_dicts.quietly():
        return kind.from_pretrained(None, config=config, state_dict=state, dtype=number).eval()
