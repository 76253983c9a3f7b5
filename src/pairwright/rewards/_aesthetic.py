"""LAION's two aesthetic predictors: an affine map of the unit image vector of CLIP ViT-L/14."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from pairwright import state_dicts, weights
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt
from pairwright.rewards import _batches, _clip


@dataclass(frozen=True)
class Published:
    """One published head."""

    file: str
    """Its name."""
    url: str
    """Where its authors keep it."""
    sha256: str
    """Of the whole file, as those who pin it have written it down."""
    names: tuple[str, ...] = ()
    """What copies of it are called."""


@dataclass(frozen=True)
class Aesthetic:
    """Scores a picture by itself: ``weight . v + bias`` for the unit vector ``v`` that CLIP sees in it."""

    clip: _clip.Clip
    weight: Tensor
    """``float64 [d]``, on the CPU."""
    bias: float
    columns: tuple[Column, ...]
    batch_size: int = 32
    needs_prompt: ClassVar[bool] = False

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, self.batch_size, self._rows)

    def _rows(self, images: list[Image.Image], _: list[str]) -> list[Row]:
        features = self.clip.image_features(images).cpu().double()
        return [(score,) for score in (features @ self.weight + self.bias).tolist()]


def find(model: str, published: Published, sha256: str) -> Path:
    """The head's file, whose content is the expected one.

    Args:
        model: file, or folder or hub id that holds one of the published names.
        published: what is looked for.
        sha256: of the expected file; the published one's own unless the user has a head of another origin.

    Raises:
        weights.WeightsError: it is not there (with where to get it), or it is another file.
    """
    names = (published.file, *published.names)
    try:
        path = weights.locate(model, patterns=names)
    except weights.WeightsError as error:
        raise weights.WeightsError(f"{error} The authors' file is {published.url} : give its path as model.") from error
    if path.is_dir():
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise weights.WeightsError(f"{model} has no {' or '.join(names)}. The authors' file is {published.url} .")
        path = found[0]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != sha256.lower():
        raise weights.WeightsError(
            f"{path} is not {published.file}: its sha256 is {digest} instead of {sha256}. "
            f"Download it again from {published.url} ; a head of your own needs its own digest as the option sha256."
        )
    return path


def affine(path: Path, layers: Sequence[str]) -> tuple[Tensor, float]:
    """Linear layers with nothing between them, as the one affine map that they are, in float64.

    Args:
        path: the head's file.
        layers: the names of the layers, first to last; ``""`` where the file holds one layer's tensors by themselves.

    Raises:
        weights.WeightsError: missing or unexpected keys or shapes that do not follow each other.
    """
    state = state_dicts.read(path)
    expected = {f"{name}.{kind}".lstrip(".") for name in layers for kind in ("weight", "bias")}
    state_dicts.complain(str(path), missing=expected - state.keys(), unexpected=state.keys() - expected)
    steps = [[state[f"{name}.{kind}".lstrip(".")].double() for kind in ("weight", "bias")] for name in layers]
    try:
        weight, bias = steps[0]
        for matrix, shift in steps[1:]:
            weight, bias = matrix @ weight, matrix @ bias + shift
        return weight.reshape(weight.shape[1]), float(bias.reshape(()))
    except RuntimeError as error:
        shapes = ", ".join(f"{name or 'weight'} {tuple(step[0].shape)}" for name, step in zip(layers, steps, strict=True))
        raise weights.WeightsError(f"The layers in {path} do not make one number of a vector: {shapes}.") from error


def build(clip: _clip.Clip, head: tuple[Tensor, float], path: Path, column: Column, batch_size: int) -> Aesthetic:
    """The scorer of a head on a CLIP.

    Raises:
        weights.WeightsError: they are of different widths.
    """
    weight, bias = head
    width = clip.network.config.projection_dim
    if weight.shape[0] != width:
        raise weights.WeightsError(f"{path} is for vectors of {weight.shape[0]} numbers, but the backbone's have {width}.")
    return Aesthetic(clip, weight.to(torch.float64), bias, (column,), batch_size)
