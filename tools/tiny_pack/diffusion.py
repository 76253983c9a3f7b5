"""The base: a UNet on cached latents of clean and faulty views, its text encoder frozen.

A third of the views carries faults that no caption mentions, as among the pictures that a
web-trained model has seen: there is something left to align.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Generator, Tensor, nn

from . import layouts
from .captions import Traits, caption, thinned
from .data import Data
from .degradations import degraded
from .text_encoder import TextStates
from .training import Plan, forwards, keyed
from .traits import framing
from .views import crops, cut, near_crops

PLAN = Plan("base", "base", 5500, 32, 8e-4, warmup=300, ema=0.999, save_every=250)
VIEWS = 12  # of each photograph: in turn any, one near the flower, and one with faults
NO_CAPTION = 0.1
SNR_LIMIT = 5.0  # min-SNR weighting (Hang et al. 2023)


@dataclass(frozen=True)
class Views:
    """Latents float16 [n, 4, 16, 16], scaled, with the traits of each view."""

    latents: Tensor
    traits: list[Traits]


def cache_views(data: Data, vae: AutoencoderKL, split: str, path: Path) -> Views:
    """Encode every view once; the array and the order of the traits are deterministic."""
    indices = data.photographs.indices(split)
    passes, traits = [], []
    known = torch.load(path, weights_only=True) if path.exists() else None
    for number in range(VIEWS):
        generator = keyed(977, number)
        faulty = number % 3 == 2
        pixels, maps = data.photographs.pixels[indices], data.saliency[indices]
        images, boxes = (
            near_crops(pixels, maps, generator) if number % 3 == 1 else crops(pixels, generator, 0.5 if faulty else 0.75)
        )
        masks = cut(maps[..., None], boxes)
        areas = (masks > 0.5).float().mean((1, 2, 3)).tolist()
        traits += [replace(data.traits[index], framing=framing(area)) for index, area in zip(indices, areas, strict=True)]
        if known is None:
            passes.append(encode(vae, degraded(images, generator) if faulty else images))
    if known is None:
        known = torch.cat(passes)
        torch.save(known, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    return Views(known, traits)


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Pictures in 0..1 -> scaled posterior means, float16."""
    parts = []
    for batch in torch.split(2 * images - 1, 32):
        latents = vae.encode(batch.contiguous(memory_format=torch.channels_last)).latent_dist.mean
        parts.append((latents * vae.config.scaling_factor).half())
    return torch.cat(parts)


def written_captions(traits: list[Traits], generator: Generator) -> list[str]:
    """Captions with traits left out at random, a tenth of them empty."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    chooser = random.Random(seed)
    return ["" if chooser.random() < NO_CAPTION else caption(thinned(seen, chooser)) for seen in traits]


def denoising_loss(
    unet: Callable[..., Any],
    latents: Tensor,
    states: Tensor,
    generator: Generator,
    extra: Tensor | None = None,
) -> Tensor:
    """Weighted error of the velocity that `unet`, called as a UNet is, predicts; `extra` channels follow the latents.

    As an error of the picture it weighs min(SNR + 1, 5): Hang et al.'s limit (2023), and no less than 1 in the noise.
    """
    schedule = layouts.scheduler()
    noise = torch.randn(latents.shape, generator=generator)
    times = torch.randint(1000, (len(latents),), generator=generator)
    noised = schedule.add_noise(latents, noise, times)
    inputs = noised if extra is None else torch.cat((noised, extra), 1)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    with forwards():
        predicted = unet(inputs, times, encoder_hidden_states=states).sample.float()
    ratio = 1 / (1 - schedule.alphas_cumprod[times])  # SNR + 1
    weight = ratio.clamp(max=SNR_LIMIT) / ratio
    error = (predicted - schedule.get_velocity(latents, noise, times)).square().mean((1, 2, 3))
    return torch.mean(weight * error)


def base_loss(unet: UNet2DConditionModel, text: TextStates, views: Views, generator: Generator) -> Tensor:
    """The loss of one batch of views."""
    chosen = torch.randint(len(views.latents), (PLAN.batch,), generator=generator)
    captions = written_captions([views.traits[int(place)] for place in chosen], generator)
    return denoising_loss(unet, views.latents[chosen].float(), text(captions), generator)


def averaged(network: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """`network` with the averaged weights in it, for export and samples."""
    network.load_state_dict(state)
    return network.eval()


def silhouettes(saliency: Tensor, generator: Generator) -> Tensor:
    """Random masks [b, 1, h, w]: the grown flower, a rectangle or an ellipse."""
    size = saliency.shape[-1]
    lines = torch.arange(size).float()
    masks = []
    for salient in saliency.unbind():
        draw = torch.rand(6, generator=generator)
        centre, half = draw[1:3] * size, (0.12 + 0.3 * draw[3:5]) * size
        across = ((lines - centre[0]) / half[0]).abs().view(1, 1, -1)
        down = ((lines - centre[1]) / half[1]).abs().view(1, -1, 1)
        reach = across**2 + down**2 if draw[0] < 0.7 else torch.maximum(across, down)
        shape = (reach < 1).float()
        if draw[0] < 0.5:
            width = 1 + 2 * int(draw[5] * 4)
            shape = (nn.functional.max_pool2d(salient, width, 1, width // 2) > 0.5).float()
        masks.append(shape)
    return torch.stack(masks)


def as_numpy(images: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """[b, 3, h, w] in 0..1 -> uint8 [b, h, w, 3]."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
