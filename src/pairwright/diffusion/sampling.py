"""Pictures from prompts: classifier-free guidance with diffusers' own schedulers, every draw keyed by its picture."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pairwright import seeds
from pairwright.diffusion.families import Condition, Family
from pairwright.errors import Explained

Sampler = Literal["model", "ddim", "dpmsolver++"]
_STREAM_SAMPLERS = ("DPMSolverSDEScheduler",)
# Draws from a Brownian path of its own, which cannot be keyed by picture.
_FLOWS = "FlowMatch"
# So diffusers' schedulers of rectified flows begin. They neither scale the first noise nor a model's input.


class SamplingError(Explained, ValueError):
    """A sampler whose noise would depend on a picture's neighbours, or that is not for this kind of model."""


@dataclass(frozen=True)
class Settings:
    """How pictures are sampled."""

    steps: int = 50
    guidance: float = 7.5
    """1: none, and half of the work."""
    sampler: Sampler = "model"
    seed: int = 0


def scheduler(family: Family, sampler: Sampler) -> Any:
    """A fresh diffusers scheduler on the model's own noise schedule.

    Raises:
        SamplingError: its noise cannot be keyed, or it does not fit the model's process.
    """
    own = family.scheduler()
    if sampler != "model" and type(own).__name__.startswith(_FLOWS):
        raise SamplingError(f"sampler {sampler!r} is for noise schedules, and {family.name} is a rectified flow; use 'model'")
    if sampler == "ddim":
        from diffusers import DDIMScheduler

        return DDIMScheduler.from_config(own.config)
    if sampler == "dpmsolver++":
        from diffusers import DPMSolverMultistepScheduler

        return DPMSolverMultistepScheduler.from_config(own.config, algorithm_type="dpmsolver++", solver_order=2)
    if type(own).__name__ in _STREAM_SAMPLERS:
        raise SamplingError(f"{type(own).__name__} draws noise that depends on the batch; choose another sampler")
    return own


def initial_noise(family: Family, resolution: int, keys: Sequence[str], seed: int) -> Tensor:
    """Standard normal noise ``[b, c, h, w]``, one sample per key, equal for all models with these latents."""
    return seeds.noise(family.latent_shape(resolution), keys, seed, "generate")


@torch.no_grad()
def sample(
    family: Family, condition: Condition, empty: Condition, noise: Tensor, keys: Sequence[str], settings: Settings
) -> Tensor:
    """Latents ``[b, c, h, w]`` float32, as diffusers' pipeline makes them from the same noise.

    Args:
        family: the model, with the adapters that shall act active.
        condition: one row per picture.
        empty: what guidance leads away from (the empty or negative prompt), one row.
        noise: ``[b, c, h, w]`` standard normal.
        keys: what each picture is called; keys the noise of samplers that draw more of it on the way.
        settings: steps, guidance, sampler, seed.
    """
    steps = scheduler(family, settings.sampler)
    steps.set_timesteps(settings.steps, device=family.device)
    latents = noise.to(family.device) * getattr(steps, "init_noise_sigma", 1.0)
    scaled = getattr(steps, "scale_model_input", lambda sample, _: sample)
    drawn: dict[str, Any] = {}
    if "generator" in inspect.signature(steps.step).parameters:
        drawn["generator"] = [seeds.generator(settings.seed, "generate-steps", key) for key in keys]
    guided = settings.guidance != 1
    if guided:
        condition = Condition.cat([empty[torch.zeros(len(noise), dtype=torch.long)], condition])
    for t in steps.timesteps:
        inputs = scaled(torch.cat([latents, latents]) if guided else latents, t)
        prediction = family.predict(inputs, t.expand(len(inputs)), condition)
        if guided:
            without, with_prompt = prediction.chunk(2)
            prediction = without + settings.guidance * (with_prompt - without)
        latents = steps.step(prediction, t, latents, **drawn, return_dict=False)[0]
    return torch.as_tensor(latents)
