"""The autoencoder: L1, L1 of gradients and a trace of KL, on clean and faulty views."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Generator, Tensor

from .degradations import degraded
from .layouts import autoencoder
from .photographs import Photographs
from .training import Plan, Run, forwards, train
from .views import crops, pick, whole

PLAN = Plan("autoencoder", "base", 1500, 12, 1.5e-3, ema=0.995)
DECODER = Plan("decoder", "base", 2000, 12, 1e-3, ema=0.998)
"""The decoder goes on learning while the UNets are trained: the latents stay what they are."""
KL_WEIGHT = 1e-5
LATENT_NOISE = 0.05  # of the latents' deviation: the decoder forgives what a sampler misses


def gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Differences to the right and downwards neighbour."""
    return images[..., 1:] - images[..., :-1], images[..., 1:, :] - images[..., :-1, :]


def reconstruction_loss(decoded: Tensor, images: Tensor) -> Tensor:
    """L1 of the pixels and of their gradients, which keeps petals crisp."""
    pairs = zip(gradients(decoded), gradients(images), strict=True)
    edges = sum(((ours - theirs).abs().mean() for ours, theirs in pairs), torch.zeros(()))
    return (decoded - images).abs().mean() + edges


def loss_at(network: AutoencoderKL, images: Tensor, generator: Generator) -> Tensor:
    """The loss of one batch in 0..1."""
    images = 2 * images.contiguous(memory_format=torch.channels_last) - 1
    with forwards():
        posterior = network.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        spread = LATENT_NOISE * posterior.mean.detach().std()
        decoded = network.decode(posterior.mean + spread * noise).sample.float()
    penalty: Tensor = posterior.kl().float().mean()
    return reconstruction_loss(decoded, images) + KL_WEIGHT * penalty


def train_autoencoder(photographs: Photographs, folder: Path) -> Run:
    """Train, measure the latents' deviation for ``scaling_factor``, report the round trip."""
    torch.manual_seed(PLAN.seed)
    network = autoencoder().to(memory_format=torch.channels_last)
    run = Run(PLAN, network, folder)
    indices = photographs.indices(PLAN.split)

    def loss(generator: Generator) -> Tensor:
        chosen = pick(indices, PLAN.batch, generator)
        images, _ = crops(photographs.pixels[chosen], generator, 0.5)
        images[: PLAN.batch // 4] = degraded(images[: PLAN.batch // 4], generator)
        return loss_at(network, images, generator)

    train(run, loss)
    if "psnr" not in run.notes:
        run.notes |= measure(load_autoencoder(folder, 1.0), photographs)
        run.save()
    return run


def refine_decoder(photographs: Photographs, folder: Path) -> Run:
    """Train the decoder of the autoencoder further, its encoder frozen, and report the round trip anew."""
    torch.manual_seed(DECODER.seed)
    network = autoencoder().to(memory_format=torch.channels_last)
    network.load_state_dict(torch.load(folder / f"{PLAN.name}.pt", weights_only=True)["average"])
    for part in (network.encoder, network.quant_conv):
        part.requires_grad_(requires_grad=False)
    run = Run(DECODER, network, folder)
    indices = photographs.indices(DECODER.split)

    def loss(generator: Generator) -> Tensor:
        images, _ = crops(photographs.pixels[pick(indices, DECODER.batch, generator)], generator, 0.5)
        images[: DECODER.batch // 4] = degraded(images[: DECODER.batch // 4], generator)
        return loss_at(network, images, generator)

    train(run, loss)
    if "psnr" not in run.notes:
        run.notes |= measure(load_autoencoder(folder, 1.0), photographs)
        run.save()
    return run


@torch.no_grad()
def measure(network: AutoencoderKL, photographs: Photographs) -> dict[str, float]:
    """The latents' deviation on `base`, and the peak signal to noise ratio on `test`."""
    base = 2 * whole(photographs.pixels[photographs.indices("base")[:256]]) - 1
    test = whole(photographs.pixels[photographs.indices("test")[:256]])
    latents = network.encode(base).latent_dist.mean
    decoded = network.decode(network.encode(2 * test - 1).latent_dist.mean).sample
    error = ((decoded.clamp(-1, 1) + 1) / 2 - test).square().mean((1, 2, 3))
    return {
        "latent_deviation": round(latents.std().item(), 4),
        "psnr": round((-10 * error.log10()).mean().item(), 2),
    }


def load_autoencoder(folder: Path, deviation: float | None = None) -> AutoencoderKL:
    """The averaged weights of the last checkpoint, ``scaling_factor`` set."""
    state = torch.load(folder / f"{PLAN.name}.pt", weights_only=True)
    network = autoencoder()
    refined = folder / f"{DECODER.name}.pt"
    network.load_state_dict(torch.load(refined, weights_only=True)["average"] if refined.exists() else state["average"])
    spread = deviation or state["notes"].get("latent_deviation", 1.0)
    network.register_to_config(scaling_factor=round(1 / spread, 5))
    return network.eval()
