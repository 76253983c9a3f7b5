"""HPSv2: how well people would like a picture for its prompt (CLIP-H tuned on human preferences), versions 2.0 and 2.1.

Wu et al. 2023, "Human Preference Score v2", arXiv 2306.09341, as published at github.com/tgxs002/HPSv2. The score is the bare
cosine, for generated pictures mostly 0.26 to 0.29 (some tables multiply it by 100). Higher is better.
Versions 2.0 and 2.1 are two networks whose numbers do not compare: the columns are ``hpsv2`` and ``hpsv2_1``.

Two things differ from PickScore, and both move the score. The picture is not cropped: its long side is brought to 224 on the
float tensor, bicubic with antialiasing and without clamping, and the rest is black. The text is cleaned as open_clip does
(:mod:`pairwright.rewards._text`). The published code cannot score an oblong picture whose long side is 224 already; here it
is padded like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pairwright import runtime, state_dicts, weights
from pairwright.images import to_tensor
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.rewards import _batches, _clip, _open_clip, _text

Version = Literal["2.0", "2.1"]

FILES: dict[Version, str] = {"2.0": "HPS_v2_compressed", "2.1": "HPS_v2.1_compressed"}
"""The published file of each version, without its ending: ``.pt``, or ``.safetensors`` with the same keys."""
COLUMNS: dict[Version, Column] = {"2.0": Column("hpsv2", "cosine, HPS v2.0"), "2.1": Column("hpsv2_1", "cosine, HPS v2.1")}
ENDINGS = (".safetensors", ".pt")
PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
"""Its tokenizer has open_clip's vocabulary."""
HEADS = _open_clip.Heads(vision=80, text=64)
"""Of ViT-H-14; ``open_clip_config.json`` beside the checkpoint overrides it."""


def load(
    *,
    model: str = "xswu/HPSv2@697403c78157020a1ae59d23f111aa58ced35b0a",
    version: Version = "2.0",
    processor: str | None = None,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 32,
) -> HPSv2:
    """HPSv2 from its published checkpoint.

    Args:
        model: file, folder or hub id with ``HPS_v2_compressed.pt`` or ``HPS_v2.1_compressed.pt`` (or the same as
            ``.safetensors``).
        version: which of the two; no file says it of itself.
        processor: whose tokenizer is used; default: the one in the model's own folder, else `PROCESSOR`.
        dtype: number format of the network; projections and the product are float32.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
    """
    where = runtime.device(device)
    path = _find(model, version)
    own = processor is None and _clip.has_processor(path.parent, tokenizer_only=True)
    source = path.parent if own else weights.locate(processor or PROCESSOR, patterns=_clip.PROCESSOR_FILES)

    def build() -> _clip.Clip:
        heads = _open_clip.heads_beside(path, HEADS)
        network = _open_clip.network(state_dicts.read(path), str(path), heads=heads, activation="gelu")
        size = network.config.vision_config.image_size
        transform = _clip.at(size, letterboxed)
        return _clip.Clip(network, _tokenizer(source, network), transform, where, runtime.working_dtype(dtype, where))

    clip = _clip.shared(("hpsv2", _clip.stamp(path), _clip.stamp(source), dtype, str(where)), build)
    return HPSv2(clip, (COLUMNS[version],), batch_size)


@dataclass(frozen=True)
class HPSv2:
    """Scores a picture with its prompt. Column ``hpsv2`` or ``hpsv2_1``, a cosine."""

    clip: _clip.Clip
    columns: tuple[Column, ...]
    batch_size: int = 32

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, self.batch_size, self._rows)

    def _rows(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        size = self.clip.network.config.vision_config.image_size
        fits = [min(_fitted(image, size)) > 0 for image in images]
        there = [(image, _text.cleaned(text)) for image, text, fit in zip(images, texts, fits, strict=True) if fit]
        cosines = iter(self.clip.cosines(*map(list, zip(*there, strict=True))) if there else [])
        return [
            (next(cosines),) if fit else Unscored(f"a picture of {image.width} x {image.height} pixels is nothing at {size}")
            for image, fit in zip(images, fits, strict=True)
        ]


def letterboxed(images: Sequence[Image.Image], size: int) -> Tensor:
    """HPSv2's preprocessing: ``float32 [b, 3, size, size]``, normalised with CLIP's mean and deviation."""
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (_clip.MEAN, _clip.STD))
    return (torch.stack([letterbox(image, size) for image in images]) - mean) / deviation


def letterbox(image: Image.Image, size: int) -> Tensor:
    """The whole picture in the middle of a black square: ``float32 [3, size, size]``, 0..1 but for bicubic's overshoot."""
    height, width = _fitted(image, size)
    pixels = to_tensor(image)
    if (height, width) != (image.height, image.width):
        pixels = functional.interpolate(pixels[None], size=(height, width), mode="bicubic", antialias=True)[0]
    left, top = (size - width) // 2, (size - height) // 2
    return functional.pad(pixels, (left, size - width - left, top, size - height - top))


def _fitted(image: Image.Image, size: int) -> tuple[int, int]:
    """Height and width when the long side is ``size``; Python's rounding, as published."""
    scale = size / max(image.size)
    return round(image.height * scale), round(image.width * scale)


def _find(model: str, version: Version) -> Path:
    stem = FILES[version]
    names = [stem + ending for ending in ENDINGS]
    path = weights.locate(model, patterns=[*names, "open_clip_config.json", *_clip.TEXT_FILES])
    if path.is_dir():
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise weights.WeightsError(f"{model} has neither {' nor '.join(names)}, the files of version {version}.")
        return found[0]
    other = next(each for each in FILES if each != version)
    if path.stem == FILES[other]:
        raise weights.WeightsError(f"{path} is HPS v{other} by its name: say version = {other!r}, or give {names[-1]}.")
    return path


def _tokenizer(source: Path, network: Any) -> Any:
    from transformers import CLIPTokenizer

    if not _clip.has_processor(source, tokenizer_only=True):
        raise weights.WeightsError(f"{source} has no tokenizer (tokenizer.json or vocab.json): name one as processor.")
    tokenizer = CLIPTokenizer.from_pretrained(source, local_files_only=True)
    rows = network.config.text_config.vocab_size
    # The features are read at the first end token, which is the last row of the embedding.
    if tokenizer.eos_token_id != rows - 1:
        raise weights.WeightsError(
            f"The tokenizer in {source} ends texts with token {tokenizer.eos_token_id}, the network expects {rows - 1}."
        )
    return tokenizer
