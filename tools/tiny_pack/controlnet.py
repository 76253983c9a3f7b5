"""The ControlNet: what the editor needs to change a flower's colour or species and to keep the rest.

The editor shows it the picture that is edited. A network that is taught with the picture it is to make learns to copy it, and no
word changes anything. So what it is shown here is the picture after a change that the caption undoes: the flower, now and then all
of it, dyed; everything a little warped, so that outlines are hints; and often coarser (the tile ControlNet's degradation).
The base stays as it is.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Generator, Tensor
from torch.nn import functional

from pairwright.advice.attributes import Asked, Fault

from . import layouts
from .captions import COLOURS, SPECIES, Traits, caption, thinned
from .data import Data
from .degradations import grey, warped
from .diffusion import NO_CAPTION, denoising_loss, encode
from .text_encoder import TextStates
from .training import Plan, Run, train
from .traits import framing
from .views import crops, cut, near_crops, pick

PLAN = Plan("controlnet", "base", 1200, 16, 5e-4, ema=0.995)
DYED, WHOLE, COARSE, WARPED = 0.75, 0.2, 0.5, 0.7
"""Shares of the pictures; `WHOLE` is of those that are dyed."""
REACH = 0.12
"""The warp's: a pixel moves by at most a sixteenth of the side, twice that in units of half the side."""


def begun(network: ControlNetModel, base: UNet2DConditionModel) -> ControlNetModel:
    """The network with the base's weights wherever it has them (diffusers' `from_unet` loses the number of heads)."""
    network.load_state_dict(network.state_dict() | {n: v for n, v in base.state_dict().items() if n in network.state_dict()})
    return network


def controls(images: Tensor, saliency: Tensor, generator: Generator) -> Tensor:
    """What the network is shown of pictures [b, 3, h, w] in 0..1 with their saliency [b, 1, h, w]."""
    draws = torch.rand(4, len(images), 1, 1, 1, generator=generator).unbind()
    dye, whole, warp, coarse = (draw < share for draw, share in zip(draws, (DYED, WHOLE, WARPED, COARSE), strict=True))
    # Hearts alone are salient in some species: the petals around them are dyed too.
    flower = functional.avg_pool2d(functional.max_pool2d(saliency, 7, 1, 3), 5, 1, 2)
    where = torch.where(whole, 1.0, flower) * dye
    shown = torch.lerp(images, dyed(images, generator), where)
    shown = torch.where(warp, warped(shown, generator, REACH), shown)
    sides = torch.tensor((layouts.SIZE // 8, layouts.SIZE // 4, layouts.SIZE // 2))
    side = int(sides[torch.randint(len(sides), (1,), generator=generator)])
    small = functional.interpolate(shown, size=(side, side), mode="bilinear", antialias=True)
    return torch.where(coarse, functional.interpolate(small, size=images.shape[-1], mode="bilinear"), shown).clamp(0, 1)


def dyed(images: Tensor, generator: Generator) -> Tensor:
    """The same lights and shadows in one colour of any hue and saturation, lighter or darker than they were."""
    draws = torch.rand(4, len(images), 1, 1, 1, generator=generator)
    hue = draws[0] + torch.tensor((0.0, 2.0, 1.0)).view(1, 3, 1, 1) / 3
    pure = (6 * (hue % 1 - 0.5).abs() - 1).clamp(0, 1)
    colour = 1 - draws[1] * (1 - pure)
    light = grey(images)
    light = light / light.amax((1, 2, 3), keepdim=True).clamp(min=0.1) * (0.7 + 0.8 * draws[2])
    return torch.lerp(images, (light * colour).clamp(0, 1), 0.6 + 0.4 * draws[3])


def asked(traits: list[Traits], generator: Generator) -> list[str]:
    """Captions as an editor writes them: half of those that say anything end in an instruction of the instructor `attributes`."""
    chooser = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
    texts = []
    for seen in traits:
        told = thinned(seen, chooser)
        text = "" if chooser.random() < NO_CAPTION else caption(told)
        texts.append(f"{text}, {instruction(told, chooser)}" if text and chooser.random() < 0.5 else text)
    return texts


def instruction(told: Traits, chooser: random.Random) -> str:
    """What the instructor `attributes` says where a picture has another colour, or another flower, than the caption."""
    flower = Asked(told.species, told.colour)
    if told.colour and chooser.random() < 0.6:
        other = chooser.choice([each for each in COLOURS if each != told.colour])
        return Fault(flower, "colour", other).instruction()
    other = chooser.choice([each for each in SPECIES.values() if each != told.species])
    return Fault(flower, "object", f"a {other}").instruction()


def controlled(base: UNet2DConditionModel, network: ControlNetModel, shown: Tensor, scale: float = 1.0) -> Callable[..., Any]:
    """The base with what the network adds to it, to be called as the base is."""

    def predicted(latents: Tensor, times: Tensor, encoder_hidden_states: Tensor) -> Any:
        down, middle = network(latents, times, encoder_hidden_states, shown, conditioning_scale=scale, return_dict=False)
        return base(
            latents, times, encoder_hidden_states=encoder_hidden_states,
            down_block_additional_residuals=down, mid_block_additional_residual=middle,
        )  # fmt: skip

    return predicted


def train_controlnet(data: Data, text: TextStates, vae: AutoencoderKL, base: UNet2DConditionModel, folder: Path) -> Run:
    """Train on clean crops of `base`, every second batch near the flower, with everything but the ControlNet as it is."""
    torch.manual_seed(PLAN.seed)
    base.requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)
    network = begun(layouts.controlnet(), base).to(memory_format=torch.channels_last)
    run = Run(PLAN, network, folder)
    indices = data.photographs.indices(PLAN.split)

    def loss(generator: Generator) -> Tensor:
        chosen = pick(indices, PLAN.batch, generator)
        pixels, maps = data.photographs.pixels[chosen], data.saliency[chosen]
        near = torch.rand(1, generator=generator).item() < 0.5
        images, boxes = near_crops(pixels, maps, generator) if near else crops(pixels, generator)
        salient = cut(maps[..., None], boxes)
        areas = (salient > 0.5).float().mean((1, 2, 3)).tolist()
        seen = [replace(data.traits[index], framing=framing(area)) for index, area in zip(chosen, areas, strict=True)]
        states = text(asked(seen, generator))
        shown = controls(images, salient, generator)
        return denoising_loss(controlled(base, network, shown), encode(vae, images).float(), states, generator)

    train(run, loss)
    return run
