"""Stylization: how near a picture is to the style that its prompt asks for (two style encoders, reference pictures).

Chang et al. 2025, "OneIG-Bench: Omni-dimensional Nuanced Evaluation for Image Generation", arXiv 2506.07977, the dimension
"style". For a picture ``x`` of the style ``s``, with the unit vectors of reference pictures of that style::

    (max(0, max_r CSD(x) . CSD_r) + max(0, max_r SE(x) . SE_r)) / 2

The published score of a model is the mean over its pictures. CSD is Somepalli et al. 2024 (arXiv 2404.01292), a ViT-L/14 under
OpenAI's key names; SE is OneIG's own encoder. 0 to 1, higher is nearer. The style is the prompt's category (or the option
``style``), in the benchmark's spelling; a picture of no known style is unscored. The published code multiplies SE's vectors
in bfloat16; products here are float32.

**Loading and formula are tested on random weights in the published layout; the real weights have not been run.**
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pairwright import runtime, state_dicts, weights
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.rewards import _batches, _clip, _open_clip
from pairwright.suggestions import hint

CHECKPOINTS = ("checkpoint.safetensors", "checkpoint.pth")
REFERENCES = ("CSD_embed.pt", "SE_embed.pt")
SOURCES = (
    "checkpoint.pth is linked from github.com/learn2phoenix/CSD, CSD_embed.pt and SE_embed.pt are in "
    "github.com/OneIG-Bench/OneIG-Benchmark, scripts/style"
)

Encoder = Callable[[Sequence[Image.Image]], Tensor]
"""RGB pictures -> unit vectors, ``float32 [b, d]``, on the CPU."""
References = Mapping[str, Tensor]
"""Style -> ``float32 [n, d]``."""


def load(
    *,
    model: str,
    backbone: str = "xingpng/OneIG-StyleEncoder",
    style: str | None = None,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 32,
) -> Stylization:
    """OneIG's style score.

    Args:
        model: folder with CSD's ``checkpoint.pth`` (or its tensors as ``checkpoint.safetensors``) and OneIG's ``CSD_embed.pt``
            and ``SE_embed.pt``; the error says where they are published.
        backbone: OneIG's own encoder, a ``CLIPVisionModelWithProjection`` (see :mod:`pairwright.weights`).
        style: one style for every picture; default: the category of each prompt.
        dtype: number format of both networks (published: float32 and bfloat16); projections and products are float32.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
        ValueError: a style of which there are no references.
    """
    where = runtime.device(device)
    number = runtime.working_dtype(dtype, where)
    folder = weights.locate(model)
    checkpoint = next((folder / name for name in CHECKPOINTS if (folder / name).is_file()), None)
    if checkpoint is None or not all((folder / name).is_file() for name in REFERENCES):
        raise weights.WeightsError(f"{model} must hold {CHECKPOINTS[1]}, {' and '.join(REFERENCES)}: {SOURCES}.")
    first, second = (_references(folder / name) for name in REFERENCES)
    if first.keys() != second.keys():
        raise weights.WeightsError(f"The references in {folder} are of different styles: {sorted(first.keys() ^ second.keys())}")
    if style is not None and named(style) not in first:
        raise ValueError(f"there are no references of the style {style!r}." + hint(named(style), sorted(first), listed="There are"))
    encoders = (_csd(checkpoint, where, number), _style_encoder(backbone, where, number))
    return Stylization(encoders, (first, second), style, batch_size)


@dataclass(frozen=True)
class Stylization:
    """Scores a picture by the style of its prompt. Column ``stylization``, 0..1."""

    encoders: tuple[Encoder, Encoder]
    references: tuple[References, References]
    style: str | None
    batch_size: int = 32
    columns: tuple[Column, ...] = (Column("stylization", "OneIG style: mean of two cosines to the nearest reference, 0..1"),)

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        styles = [named(self.style if self.style is not None else prompt.category) for prompt in prompts]
        rows = [Unscored(f"no references of the prompt's category {prompt.category!r}") for prompt in prompts]
        known = [place for place, style in enumerate(styles) if style in self.references[0]]
        # A prompt is passed on by its style, which is all of it that counts here.
        asked = [Prompt(styles[place]) for place in known]
        result: list[Row] = [*rows]
        for place, row in zip(
            known, _batches.score([pictures[place] for place in known], asked, self.batch_size, self._rows), strict=True
        ):
            result[place] = row
        return result

    def _rows(self, images: list[Image.Image], styles: list[str]) -> list[Row]:
        nearest = [
            [max(0.0, float((references[style] @ vector).max())) for style, vector in zip(styles, encode(images), strict=True)]
            for encode, references in zip(self.encoders, self.references, strict=True)
        ]
        return [((one + other) / 2,) for one, other in zip(*nearest, strict=True)]


def named(category: str) -> str:
    """A category as the references call it: lower case, ``_`` for blanks."""
    return category.strip().lower().replace(" ", "_")


def csd_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CSD's dictionary under OpenAI's names: the style head is the projection, the content head is no part of the score."""
    bare = {key.removeprefix("module."): value for key, value in published.items()}
    kept = {key: value for key, value in bare.items() if key != "last_layer_content"}
    return {"visual.proj" if key == "last_layer_style" else key.replace("backbone.", "visual.", 1): kept[key] for key in kept}


def _csd(path: Path, device: torch.device, number: torch.dtype) -> Encoder:
    try:
        published = state_dicts.read(path)
    except weights.WeightsError as error:
        advice = f"Where you trust the file, save the tensors of its model_state_dict as {CHECKPOINTS[0]}."
        raise weights.WeightsError(f"{error} {advice}") from error
    network = _open_clip.vision_network(csd_state(published), str(path), activation="quick_gelu")
    size = network.config.image_size
    return _encoder(network, _clip.at(size, _clip.original_transform), device, number)


def _style_encoder(name: str, device: torch.device, number: torch.dtype) -> Encoder:
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    folder = weights.locate(name, patterns=_clip.WEIGHT_FILES)
    network = state_dicts.pretrained(CLIPVisionModelWithProjection, folder, torch.float32)
    size = network.config.image_size
    # Published with the class's defaults, which are 224; the encoder's own size is the same there.
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return _encoder(network, _clip.processed(processor), device, number)


def _encoder(network: Any, transform: _clip.Transform, device: torch.device, number: torch.dtype) -> Encoder:
    network.vision_model.to(number)
    network = network.to(device).requires_grad_(requires_grad=False)

    @torch.inference_mode()
    def encode(images: Sequence[Image.Image]) -> Tensor:
        hidden = network.vision_model(pixel_values=transform(images).to(device, number)).pooler_output
        return functional.normalize(network.visual_projection(hidden.float()), dim=-1).cpu()

    return encode


def _references(path: Path) -> References:
    return {name: vectors.float() for name, vectors in state_dicts.read(path).items()}
