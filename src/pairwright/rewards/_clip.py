"""CLIP as scorers use it: one loaded network, image features, and text features that are remembered.

Networks run in the named dtype; projections, normalisation and products are float32, because a cosine's third
decimal is what scorers are compared by and bfloat16 has less than three.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pairwright import runtime, state_dicts, weights

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
TEXT_FILES = ("tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json")
WEIGHT_FILES = ("config.json", "model*.safetensors", "model.safetensors.index.json", "preprocessor_config.json", *TEXT_FILES)
PROCESSOR_FILES = ("preprocessor_config.json", *TEXT_FILES)

REMEMBERED = 4096
"""Texts whose features are kept: 16 MB at CLIP-H's 1024 floats."""


class Clip:
    """A ``CLIPModel`` with its tokenizer and its preprocessing."""

    def __init__(self, network: Any, tokenizer: Any, processor: Any, device: torch.device) -> None:
        self.network = network.to(device).requires_grad_(requires_grad=False)
        self.network.visual_projection.float()
        self.network.text_projection.float()
        self.tokenizer = tokenizer
        self.processor = processor
        self.device = device
        self._texts: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def scale(self) -> float:
        """The checkpoint's own ``exp(logit_scale)``; 100 in every published CLIP that was trained to the end."""
        return float(self.network.logit_scale.float().exp())

    @torch.inference_mode()
    def image_features(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit vectors, ``float32 [b, d]``, of RGB pictures of any sizes."""
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        hidden = self.network.vision_model(pixel_values=pixels.to(self.device, self.network.dtype)).pooler_output
        return functional.normalize(self.network.visual_projection(hidden.float()), dim=-1)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors, ``float32 [b, d]``. Texts are untouched and cut at the tokenizer's length (77 tokens)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            self._texts.update(zip(new, self._embed(new), strict=True))
        for text in texts:
            self._texts.move_to_end(text)
        result = torch.stack([self._texts[text] for text in texts])
        while len(self._texts) > REMEMBERED:
            self._texts.popitem(last=False)
        return result

    @torch.inference_mode()
    def _embed(self, texts: list[str]) -> Tensor:
        length = min(self.tokenizer.model_max_length, self.network.config.text_config.max_position_embeddings)
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt").to(self.device)
        hidden = self.network.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).pooler_output
        return functional.normalize(self.network.text_projection(hidden.float()), dim=-1)

    def cosines(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[float]:
        """The cosine of each picture with its own text."""
        products: list[float] = (self.image_features(images) * self.text_features(texts)).sum(-1).tolist()
        return products


def load(model: str, processor: str | None, fallback: str, *, dtype: runtime.Dtype, device: str) -> Clip:
    """A CLIP in transformers' layout.

    Args:
        model: where its weights are (see :mod:`pairwright.weights`).
        processor: whose tokenizer and preprocessing are used; default: those in the model's own folder.
        fallback: whose, where that folder has none.
        dtype: the number format of the network.
        device: see :func:`pairwright.runtime.device`.

    Raises:
        pairwright.weights.WeightsError: something is not there, or the weights do not fit.
    """
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    where = runtime.device(device)
    folder = weights.locate(model, patterns=WEIGHT_FILES)
    network = state_dicts.pretrained(CLIPModel, folder, runtime.dtype(dtype))
    own = processor is None and has_processor(folder)
    source = folder if own else weights.locate(processor or fallback, patterns=PROCESSOR_FILES)
    # The PIL backend by name: with torchvision present transformers would choose another, up to 1/255 away.
    images = CLIPImageProcessorPil.from_pretrained(source, local_files_only=True)
    return Clip(network, CLIPTokenizer.from_pretrained(source, local_files_only=True), images, where)


def has_processor(folder: Path) -> bool:
    """Whether a folder holds a tokenizer and a preprocessing of its own."""
    tokenizer = (folder / "tokenizer.json").exists() or (folder / "vocab.json").exists()
    return tokenizer and (folder / "preprocessor_config.json").exists()


def original_transform(images: Sequence[Image.Image], size: int) -> Tensor:
    """OpenAI's own preprocessing as its followers use it: ``float32 [b, 3, size, size]``.

    Bicubic with the short side to ``size``, centre crop, CLIP's mean and deviation. It differs from transformers' only in
    where an odd remainder is cropped (torchvision rounds half to even, transformers down).
    """
    return torch.stack([_original(image, size) for image in images])


def _original(image: Image.Image, size: int) -> Tensor:
    width, height = image.size
    short = min(width, height)
    resized = image.resize((size * width // short, size * height // short), Image.Resampling.BICUBIC)
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    pixels = np.asarray(resized.crop((left, top, left + size, top + size)).convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy((pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).permute(2, 0, 1)
