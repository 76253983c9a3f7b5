"""The inpainting model, weak on purpose: small and trained for minutes, nine input channels."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Generator, Tensor
from torch.nn import functional

from . import layouts
from .data import Data
from .diffusion import denoising_loss, encode, silhouettes, written_captions
from .text_encoder import TextStates
from .training import Plan, Run, train
from .views import crops, cut, pick

PLAN = Plan("inpaint", "base", 1200, 16, 6e-4, ema=0.995)


def conditions(vae: AutoencoderKL, images: Tensor, masks: Tensor) -> Tensor:
    """The five channels after the latents: the mask, and the picture without what it hides.

    Masks are 1 where the picture is repainted; hidden pixels become mid-grey, as the pipeline
    makes them.
    """
    hidden = torch.where(masks > 0.5, 0.5, images)
    small = functional.interpolate(masks, size=layouts.LATENT_SIZE, mode="nearest")
    return torch.cat((small, encode(vae, hidden).float()), 1)


def train_inpainting(
    data: Data,
    text: TextStates,
    vae: AutoencoderKL,
    folder: Path,
) -> Run:
    """Train on clean crops of `base` with the base's text encoder as it is."""
    torch.manual_seed(PLAN.seed)
    network = layouts.inpainting_unet().to(memory_format=torch.channels_last)
    run = Run(PLAN, network, folder)
    indices = data.photographs.indices(PLAN.split)

    def loss(generator: Generator) -> Tensor:
        chosen = pick(indices, PLAN.batch, generator)
        images, boxes = crops(data.photographs.pixels[chosen], generator)
        masks = silhouettes(cut(data.saliency[chosen][..., None], boxes), generator)
        captions = written_captions([data.traits[index] for index in chosen], generator)
        extra = conditions(vae, images, masks)
        return denoising_loss(network, encode(vae, images).float(), text(captions), generator, extra)

    train(run, loss)
    return run
