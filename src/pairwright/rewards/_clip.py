"""CLIP as scorers use it: one loaded network, image features and text features that are remembered.

Both towers run in the named dtype; projections, normalisation and products are float32 from the file to the score,
because a cosine's third decimal is what scorers are compared by and bfloat16 has less than three.

**How scorers share a network.** Rewards that name the same weights, preprocessing, dtype and device hold the same
:class:`Clip`, and a Clip remembers a picture's features for as long as its decoded ``Picture.image`` lives. So whoever
scores with several rewards gets one forward (and one decoding) for all of them by calling them one after the other on the
same :class:`~pairwright.records.Picture` objects, batch by batch, and by letting each batch go afterwards. Rewards that
share are those whose attribute ``clip`` is the same object; there is nothing else to know. A reward alone gives the same
numbers, since it forwards the same batch.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
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

CLIP_L = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"
"""OpenAI's ViT-L/14, whose tokenizer serves a network of that layout that comes without one."""

REMEMBERED = 4096
"""Texts whose features are kept: 16 MB at CLIP-H's 1024 floats."""

Transform = Callable[[Sequence[Image.Image]], Tensor]
"""RGB pictures of any sizes -> ``float32 [b, 3, size, size]``, normalised."""


class Clip:
    """A ``CLIPModel`` with its tokenizer and its preprocessing."""

    def __init__(self, network: Any, tokenizer: Any, transform: Transform, device: torch.device, number: torch.dtype) -> None:
        """The network comes in float32; its towers are brought to ``number``."""
        network.vision_model.to(number)
        network.text_model.to(number)
        self.network = network.to(device).requires_grad_(requires_grad=False)
        self.tokenizer = tokenizer
        self.transform = transform
        self.device = device
        self._texts: OrderedDict[str, Tensor] = OrderedDict()
        self._images = Seen()

    @property
    def scale(self) -> float:
        """The checkpoint's own ``exp(logit_scale)``; 100 in every published CLIP that was trained to the end."""
        return float(self.network.logit_scale.float().exp())

    def image_features(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit vectors, ``float32 [b, d]``, of RGB pictures of any sizes. Pictures that it has seen are not seen again."""
        found = {id(image): known for image in images if (known := self._images.get(image)) is not None}
        new = {id(image): image for image in images if id(image) not in found}
        if new:
            for (place, image), features in zip(new.items(), self._see(list(new.values())), strict=True):
                self._images.put(image, features)
                found[place] = features
        return torch.stack([found[id(image)] for image in images])

    @torch.inference_mode()
    def _see(self, images: list[Image.Image]) -> Tensor:
        pixels = self.transform(images).to(self.device, self.network.vision_model.dtype)
        hidden = self.network.vision_model(pixel_values=pixels).pooler_output
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


class Seen:
    """Features by decoded picture, forgotten when the picture is."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[weakref.ref[Image.Image], Tensor]] = {}

    def get(self, image: Image.Image) -> Tensor | None:
        """The features of this very object."""
        picture, features = self._kept.get(id(image), (None, None))
        return features if picture is not None and picture() is image else None

    def put(self, image: Image.Image, features: Tensor) -> None:
        """Remember the features of a picture."""
        place, kept = id(image), self._kept
        # A row of its own: a view would keep its whole batch.
        kept[place] = weakref.ref(image, lambda _: kept.pop(place, None)), features.clone()

    def __len__(self) -> int:
        return len(self._kept)


_LOADED: weakref.WeakValueDictionary[tuple[object, ...], Clip] = weakref.WeakValueDictionary()


def shared(key: tuple[object, ...], build: Callable[[], Clip]) -> Clip:
    """The Clip of that key that is in use already, else the one that ``build`` makes.

    The key must hold everything that decides its numbers; for files that is :func:`stamp`, not the path alone.
    """
    found = _LOADED.get(key)
    if found is None:
        found = _LOADED[key] = build()
    return found


def stamp(path: Path) -> tuple[object, ...]:
    """A file or folder as it is now: where, and the sizes and times of what it holds."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    known = [(each, each.stat()) for each in files if each.is_file()]
    return str(path.resolve()), *((each.name, status.st_size, status.st_mtime_ns) for each, status in known)


def load(model: str, processor: str | None, fallback: str, *, dtype: runtime.Dtype, device: str, original: bool = False) -> Clip:
    """A CLIP in transformers' layout; the one that is in use already where there is one.

    Args:
        model: where its weights are (see :mod:`pairwright.weights`).
        processor: whose tokenizer and preprocessing are used; default: those in the model's own folder.
        fallback: whose, where that folder has none.
        dtype: the number format of the network.
        device: see :func:`pairwright.runtime.device`.
        original: preprocess with :func:`original_transform` instead of transformers' own.

    Raises:
        pairwright.weights.WeightsError: something is not there, or the weights do not fit.
    """
    where = runtime.device(device)
    folder = weights.locate(model, patterns=WEIGHT_FILES)
    own = processor is None and has_processor(folder, tokenizer_only=original)
    source = folder if own else weights.locate(processor or fallback, patterns=PROCESSOR_FILES)
    if not has_processor(source, tokenizer_only=original):
        needed = "a tokenizer (tokenizer.json or vocab.json)" + ("" if original else " and preprocessor_config.json")
        raise weights.WeightsError(f"{source} lacks {needed}: name a folder or hub id that has it as processor.")

    def build() -> Clip:
        from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

        network = state_dicts.pretrained(CLIPModel, folder, torch.float32)
        tokenizer = CLIPTokenizer.from_pretrained(source, local_files_only=True)
        size = network.config.vision_config.image_size
        # The PIL backend by name: with torchvision present transformers would choose another, up to 1/255 away.
        images = None if original else CLIPImageProcessorPil.from_pretrained(source, local_files_only=True)
        transform = processed(images) if images else at(size, original_transform)
        return Clip(network, tokenizer, transform, where, runtime.working_dtype(dtype, where))

    return shared((stamp(folder), stamp(source), dtype, str(where), original), build)


def processed(processor: Any) -> Transform:
    """The preprocessing of one of transformers' image processors."""

    def transform(images: Sequence[Image.Image]) -> Tensor:
        pixels: Tensor = processor(images=list(images), return_tensors="pt")["pixel_values"]
        return pixels

    return transform


def at(size: int, transform: Callable[[Sequence[Image.Image], int], Tensor]) -> Transform:
    """A preprocessing to a given size."""
    return lambda images: transform(images, size)


def has_processor(folder: Path, *, tokenizer_only: bool = False) -> bool:
    """Whether a folder holds a tokenizer and, unless that is enough, a preprocessing of its own."""
    tokenizer = (folder / "tokenizer.json").exists() or (folder / "vocab.json").exists()
    return tokenizer and (tokenizer_only or (folder / "preprocessor_config.json").exists())


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
