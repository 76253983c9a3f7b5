"""What the pack's own models make of the judges' photographs: samples of their captions, repaints, round trips.

The judges are shown them as worse. They are of the split `judge`: no photograph, sample or repaint that is ever judged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor

from .captions import caption
from .data import Data
from .diffusion import as_numpy, encode
from .inpainting import conditions
from .samples import decode, sample
from .text_encoder import TextStates
from .views import whole

GUIDANCES = (4.0, 2.0)
"""Of the samples of each caption. A judge that has seen one scale only takes its saturation for a fault."""
STEPS = 20
BATCH = 64


@dataclass(frozen=True)
class Fakes:
    """Pictures of a split's photographs in the order of the split, all float [n, 3, 64, 64] in 0..1."""

    photographs: Tensor
    round_trips: Tensor
    samples: list[Tensor]
    """Of the photographs' captions, one tensor for each of `GUIDANCES`."""
    repaints: list[Tensor]
    """The salient region painted anew, as curation does, likewise."""


@dataclass(frozen=True)
class Painters:
    """The networks that make fakes."""

    base: UNet2DConditionModel
    inpaint: UNet2DConditionModel
    vae: AutoencoderKL
    text: TextStates


def make_fakes(painters: Painters, data: Data, split: str, folder: Path, *, most: int | None = None) -> Fakes:
    """All fakes of a split; latents are kept in `folder`, so that a better decoder does not paint anew."""
    chosen = data.photographs.indices(split)[:most]
    photographs = whole(data.photographs.pixels[chosen])
    masks = (whole(data.saliency[chosen][..., None]) > 0.5).float()
    captions = [caption(data.traits[index]) for index in chosen]

    def latents(name: str, unet: UNet2DConditionModel, guidance: float, extra: Callable[[slice], Tensor | None]) -> Tensor:
        def part(start: int) -> NDArray[np.float16]:
            rows = slice(start, start + BATCH)
            states = painters.text([*captions[rows], ""])
            found = sample(unet, states[:-1], states[-1:], extra(rows), STEPS, seed=start, guidance=guidance)
            return np.asarray(found.half().numpy())

        path = folder / f"{name}-{split}-{guidance:g}.npy"
        if not path.exists():
            content = np.concatenate([part(start) for start in range(0, len(chosen), BATCH)])
            np.save(path.with_suffix(".part.npy"), content)
            path.with_suffix(".part.npy").rename(path)
        return torch.from_numpy(np.load(path)).float()

    def hidden(rows: slice) -> Tensor:
        return conditions(painters.vae, photographs[rows], masks[rows])

    samples = [_decoded(painters.vae, latents("samples", painters.base, scale, lambda _: None)) for scale in GUIDANCES]
    painted = [_decoded(painters.vae, latents("repaints", painters.inpaint, scale, hidden)) for scale in GUIDANCES]
    return Fakes(
        photographs,
        _decoded(painters.vae, encode(painters.vae, photographs).float()),
        samples,
        [_stored(photographs * (1 - masks) + each * masks) for each in painted],
    )


@torch.no_grad()
def _decoded(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    return _stored(torch.cat([decode(vae, part) for part in torch.split(latents, BATCH)]))


def _stored(images: Tensor) -> Tensor:
    """As a file holds them: a judge that saw finer values would know what was never stored."""
    return torch.from_numpy(as_numpy(images)).permute(0, 3, 1, 2).contiguous() / 255
