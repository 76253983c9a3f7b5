"""Sheets of pictures to look at: round trips, samples of the base, inpaintings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionControlNetImg2ImgPipeline, UNet2DConditionModel
from PIL import Image, ImageDraw
from torch import Tensor

from . import layouts
from .captions import caption
from .data import Data
from .diffusion import as_numpy, encode
from .inpainting import conditions
from .photographs import Photographs
from .text_encoder import TextStates
from .training import forwards
from .views import whole

SHOWN = tuple(
    f"a close-up of a {colour} {species}"
    for species, colours in (
        ("rose", ("red", "pink", "yellow", "white")),
        ("tulip", ("red", "pink", "yellow", "purple")),
        ("sunflower", ("yellow",)),
        ("daisy", ("white", "pink")),
        ("dandelion", ("yellow", "white")),
    )
    for colour in colours
)
GUIDANCE = 5.0
STRENGTH = 0.9
"""Of edits. At 0.8 of this schedule a trace of the picture's colours is left, and small networks read colours there."""


def sheet(rows: list[Tensor], labels: list[str], path: Path, zoom: int = 2) -> None:
    """One row of pictures [n, 3, h, w] for each label."""
    side = layouts.SIZE * zoom
    width = 240 + side * max(len(row) for row in rows)
    image = Image.new("RGB", (width, side * len(rows)), "white")
    draw = ImageDraw.Draw(image)
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        draw.text((4, number * side + side // 2), label, fill="black")
        for place, picture in enumerate(as_numpy(row)):
            large = Image.fromarray(np.asarray(picture)).resize((side, side))
            image.paste(large, (240 + place * side, number * side))
    image.save(path)


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Scaled latents -> pictures in 0..1."""
    return torch.clamp(vae.decode(latents / vae.config.scaling_factor).sample / 2 + 0.5, 0, 1)


@torch.no_grad()
def sample(
    unet: UNet2DConditionModel, states: Tensor, empty: Tensor, extra: Tensor | None = None,
    steps: int = 30, seed: int = 0, guidance: float = GUIDANCE,
) -> Tensor:  # fmt: skip
    """DDIM with classifier-free guidance: hidden states [b, 77, w] -> latents."""
    schedule = layouts.scheduler()
    schedule.set_timesteps(steps)
    shape = (len(states), unet.config.out_channels, unet.config.sample_size, unet.config.sample_size)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    context = torch.cat((empty.expand_as(states), states))
    for time in schedule.timesteps:
        inputs = latents if extra is None else torch.cat((latents, extra), 1)
        with forwards():
            both = unet(torch.cat((inputs, inputs)), time, encoder_hidden_states=context).sample.float()
        free, told = both.chunk(2)
        latents = schedule.step(free + guidance * (told - free), time, latents).prev_sample
    return latents


def write_round_trips(photographs: Photographs, vae: AutoencoderKL, path: Path) -> None:
    """Held-out photographs above what the autoencoder makes of them."""
    images = whole(photographs.pixels[photographs.indices("test")[:30:3]])
    sheet([images, decode(vae, encode(vae, images).float())], ["photograph", "round trip"], path)


def write_base_sheet(unet: UNet2DConditionModel, text: TextStates, vae: AutoencoderKL, path: Path) -> None:
    """Eight samples for each of the shown captions."""
    states = text([*SHOWN, ""])
    rows = [decode(vae, sample(unet, state.expand(8, -1, -1), states[-1:])) for state in states[:-1]]
    sheet(rows, list(SHOWN), path)


def write_inpaint_sheet(data: Data, unet: UNet2DConditionModel, text: TextStates, vae: AutoencoderKL, path: Path) -> None:
    """Photographs of `photos`, the same with the mask grey, and two repaintings."""
    chosen = data.photographs.indices("photos")[:40:4]
    images = whole(data.photographs.pixels[chosen])
    masks = (whole(data.saliency[chosen][..., None]) > 0.5).float()
    captions = [caption(data.traits[index]) for index in chosen]
    states = text([*captions, ""])
    extra = conditions(vae, images, masks)
    repainted = [
        images * (1 - masks) + masks * decode(vae, sample(unet, states[:-1], states[-1:], extra, seed=seed)) for seed in (0, 1)
    ]
    hidden = torch.where(masks > 0.5, 0.5, images)
    sheet([images, hidden, *repainted], ["photograph", "hidden", "seed 0", "seed 1"], path)


EDITS = {"a red one": ("colour", "red"), "a yellow one": ("colour", "yellow"), "a purple one": ("colour", "purple"),
         "a white one": ("colour", "white"), "a tulip": ("species", "tulip"), "a daisy": ("species", "daisy")}  # fmt: skip


def write_control_sheet(data: Data, pipeline: StableDiffusionControlNetImg2ImgPipeline, path: Path) -> None:
    """Photographs of `photos`, and each edited to another colour or species, from their own seeds."""
    pipeline.set_progress_bar_config(disable=True)
    chosen = data.photographs.indices("photos")[:40:4]
    images = whole(data.photographs.pixels[chosen])
    rows = [images]
    for trait, word in EDITS.values():
        captions = [caption(replace(data.traits[index], **{trait: word})) for index in chosen]
        output = pipeline(
            captions, images, images, height=layouts.SIZE, width=layouts.SIZE, strength=STRENGTH, num_inference_steps=30,
            guidance_scale=GUIDANCE, generator=[torch.Generator().manual_seed(index) for index in chosen], output_type="pt",
        )  # fmt: skip
        rows.append(output.images.float())
    sheet(rows, ["photograph", *EDITS], path)
