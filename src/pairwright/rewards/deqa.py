"""DeQA-Score: the technical quality of a picture as people rate it, 1 to 5 (mPLUG-Owl2-7B tuned on ratings).

You et al. 2025, "Teaching Large Language Models to Regress Accurate Image Quality Scores using Score Distribution", arXiv
2501.11561. The network is asked "How would you rate the quality of this image?", and the probabilities of five words as the
next one of "The quality of the image is" are a distribution over the levels; the column is its mean (their equation 2)::

    softmax(logits of excellent, good, fair, poor, bad) . (5, 4, 3, 2, 1)

Higher is better. It means sharpness, noise, compression and exposure, not what the picture shows; the prompt plays no part. The
picture is padded with CLIP's mean colour to a square, which is resized to 448 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image

from pairwright import runtime, weights
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.rewards import _batches, _clip, _mplug_owl2, _sentencepiece

# The authors' words before and after the picture: the weights were tuned on them.
BEFORE = "USER: How would you rate the quality of this image?\n"
AFTER = "\nASSISTANT: The quality of the image is"
LEVELS = {"excellent": 5.0, "good": 4.0, "fair": 3.0, "poor": 2.0, "bad": 1.0}
"""What may come next, and what it counts."""
BACKGROUND = tuple(int(255 * mean) for mean in _clip.MEAN)
"""Cut to whole numbers, as published: 122, 116, 104."""
TOKENIZER = "tokenizer.model"
FILES = ("config.json", TOKENIZER, "model*.safetensors", "model.safetensors.index.json")
_ROWS = 256


def load(
    *,
    model: str = "zhiyuanyou/DeQA-Score-Mix3",
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 16,
) -> DeQA:
    """DeQA-Score from its published checkpoint.

    Args:
        model: folder or hub id with ``config.json``, ``tokenizer.model`` and the weights, as ``model*.safetensors`` or (folders
            only) as ``pytorch_model*.bin``. Code that comes with them is not downloaded and not run.
        dtype: number format of the network (7.9 billion parameters: 15.9 GB in bfloat16); head and probabilities are float32.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
    """
    where = runtime.device(device)
    folder = weights.locate(model, patterns=FILES)
    before, after, words = sentence(folder)
    network = _mplug_owl2.build(folder, before, after, words, runtime.working_dtype(dtype, where))
    return DeQA(network.to(where).requires_grad_(requires_grad=False), where, batch_size)


def sentence(folder: Path) -> tuple[list[int], list[int], list[int]]:
    """Tokens before the picture, after it, and of the five words.

    Both parts are cut into pieces by themselves, so that each begins with a blank; only the first has ``<s>`` before it.

    Raises:
        WeightsError: no tokenizer, or another one than LLaMA's.
    """
    vocabulary = _sentencepiece.read(folder / TOKENIZER)
    words = [vocabulary.encode(word) for word in LEVELS]
    if "<s>" not in vocabulary.control or any(len(pieces) != 1 for pieces in words):
        raise weights.WeightsError(f"{folder / TOKENIZER} is not LLaMA's: it lacks <s>, or a piece for one of {', '.join(LEVELS)}")
    start = vocabulary.control["<s>"]
    return [start, *vocabulary.encode(BEFORE)], vocabulary.encode(AFTER), [number for (number,) in words]


@dataclass(frozen=True)
class DeQA:
    """Scores a picture. Column ``deqa``, the mean level, 1 to 5."""

    network: _mplug_owl2.Network
    device: torch.device
    batch_size: int = 16
    columns: tuple[Column, ...] = (Column("deqa", "DeQA-Score's mean quality level, 1 to 5"),)
    needs_prompt: ClassVar[bool] = False

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, self.batch_size, self._rows)

    def _rows(self, images: list[Image.Image], _: list[str]) -> list[Row]:
        side = self.network.sizes.visual_config.visual_model.image_size
        # Below that the picture would be less than half a pixel of what the network sees.
        wide = [max(image.size) <= 2 * side * min(image.size) for image in images]
        shown = [image for image, fits in zip(images, wide, strict=True) if fits]
        scores = iter(self._scores(shown, side) if shown else ())
        return [
            (next(scores),) if fits else Unscored(f"{image.width} x {image.height}: less than half a pixel wide at {side} pixels")
            for image, fits in zip(images, wide, strict=True)
        ]

    @torch.inference_mode()
    def _scores(self, images: list[Image.Image], side: int) -> list[float]:
        pixels = _clip.original_transform([square(image, side) for image in images], side)
        return mean_level(self.network(pixels.to(self.device, self.network.before.dtype))).tolist()


def mean_level(logits: torch.Tensor) -> torch.Tensor:
    """``[b, 5] -> [b]``: the mean of the levels under the words' probabilities."""
    return logits.float().softmax(-1) @ torch.tensor(list(LEVELS.values()), device=logits.device)


def square(image: Image.Image, side: int) -> Image.Image:
    """A picture in the middle of a square of `BACKGROUND`, resized to ``side`` pixels (bicubic).

    Pixel for pixel what Pillow makes of the whole square, which for a long picture would not fit in memory: it resizes along
    the rows first, so that these can be padded and resized some at a time.
    """
    longest = max(image.size)
    left, top = (longest - image.width) // 2, (longest - image.height) // 2
    narrow = Image.new("RGB", (side, longest), BACKGROUND)
    for start in range(0, image.height, _ROWS):
        rows = image.crop((0, start, image.width, min(start + _ROWS, image.height)))
        padded = Image.new("RGB", (longest, rows.height), BACKGROUND)
        padded.paste(rows, (left, 0))
        narrow.paste(padded.resize((side, rows.height), Image.Resampling.BICUBIC), (0, top + start))
    return narrow.resize((side, side), Image.Resampling.BICUBIC)
