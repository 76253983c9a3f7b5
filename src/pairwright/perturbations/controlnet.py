"""Controlnet: the picture changed as an instruction says, by Stable Diffusion with a ControlNet that holds on to the original.

"Rich Preference Optimization", its section on editing: image to image, the control image being the picture itself, the text
being ``prompt + ", " + instruction`` (ControlNet: Zhang et al. 2023, arXiv 2302.05543). The authors say neither which
checkpoint nor how strong; the tile ControlNet, strength 0.8, 50 steps, guidance 7.5 and conditioning scale 0.8 are ours.

SD-1.x and SDXL alike: the model and its ControlNet must be of one family. Texts longer than CLIP's 77 tokens are read in pieces
(see ``_long_texts``). Everything random comes from a generator seeded with the request's seed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from pairwright import runtime, state_dicts, weights
from pairwright.perturbations import _instructed, _pipelines
from pairwright.perturbations._long_texts import LongTexts
from pairwright.records import Edit, Edited, Failed

CONTROL_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
OLDER_FILES = ("config.json", "diffusion_pytorch_model.bin")
"""Of repositories that have no safetensors; read with ``weights_only=True``."""
MUST_AGREE = ("cross_attention_dim", "block_out_channels", "in_channels")


def load(
    *,
    model: str = "stable-diffusion-v1-5/stable-diffusion-v1-5",
    controlnet: str = "lllyasviel/control_v11f1e_sd15_tile",
    steps: PositiveInt = 50,
    guidance: float = 7.5,
    strength: Annotated[float, Field(ge=0, le=1)] = 0.8,
    conditioning_scale: NonNegativeFloat = 0.8,
    with_prompt: bool = True,
    sampler: _pipelines.Sampler = "model",
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: PositiveInt = 8,
) -> ControlNet:
    """A text-to-image model in Stable Diffusion's or SDXL's layout, and a ControlNet for it.

    Args:
        model: folder or hub id; a UNet of 4 input channels.
        controlnet: folder or hub id; one that takes a picture as it is (tile).
        steps: sampling steps of the whole schedule.
        guidance: scale of classifier-free guidance; 1: none.
        strength: share of the schedule that is run; 1 starts from pure noise, 0 gives the picture as the autoencoder returns it.
        conditioning_scale: what the ControlNet adds is multiplied by it; 0: plain image to image.
        with_prompt: whether the prompt stands in front of the instruction.
        sampler: ``model`` (the scheduler that comes with it), ``ddim`` or ``dpmsolver++``.
        dtype: number format of all networks.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward, of one size.

    Raises:
        pairwright.weights.WeightsError: weights that are not there, cannot be read, or are not of one family.
        ValueError: a strength of no step.
    """
    if 0 < strength * steps < 1:
        raise ValueError(f"strength={strength}, steps={steps}: strength is 0, or at least one step of the schedule")
    folder = weights.locate(model, patterns=_pipelines.STABLE_DIFFUSION_XL_FILES)
    network = state_dicts.pretrained(_class(), located(controlnet))
    kind, networks = "StableDiffusionControlNetImg2ImgPipeline", _pipelines.STABLE_DIFFUSION
    if _is_xl(folder):
        kind, networks = "StableDiffusionXLControlNetImg2ImgPipeline", _pipelines.STABLE_DIFFUSION_XL
    pipe, where = _pipelines.assembled(kind, folder, networks, dtype, device, given={"controlnet": network})
    _agree(model, pipe.unet.config, controlnet, network.config, pipe.vae_scale_factor)
    pipe.scheduler = _pipelines.scheduler(pipe.scheduler, sampler)
    pipeline = _pipelines.TextPipeline(pipe, where)
    return ControlNet(pipeline, LongTexts(pipe, where), steps, guidance, strength, conditioning_scale, with_prompt, batch_size)


@dataclass(frozen=True)
class ControlNet:
    """Changes pictures as their instructions say; see :class:`pairwright.protocols.Perturbation`."""

    pipeline: _pipelines.TextPipeline
    texts: LongTexts
    steps: int
    guidance: float
    strength: float
    conditioning_scale: float
    with_prompt: bool
    batch_size: int
    reads_instructions: ClassVar[bool] = True

    def edit(self, edits: Sequence[Edit]) -> list[Edited | Failed]:
        """One picture per request, in order, of the size of the original; a mask plays no part."""
        say = _instructed.prompt_and_instruction if self.with_prompt else _instructed.instruction
        return _instructed.edited(edits, say, self._paint, self.pipeline, self.texts, self.batch_size)

    @torch.inference_mode()
    def _paint(self, pixels: Tensor, texts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        if self.strength == 0:  # diffusers would look for the first of no steps
            return self._returned(pixels)
        output: Tensor = self.pipeline.pipe(
            **self.texts.keywords(texts, guided=self.guidance > 1),
            image=pixels,
            control_image=pixels,
            height=pixels.shape[2],
            width=pixels.shape[3],
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            strength=self.strength,
            controlnet_conditioning_scale=float(self.conditioning_scale),
            generator=_pipelines.generators(seeds),
            output_type="pt",
        ).images
        return output

    def _returned(self, pixels: Tensor) -> Tensor:
        vae: Any = self.pipeline.pipe.vae
        latents = vae.encode((2 * pixels - 1).to(self.pipeline.device, vae.dtype)).latent_dist.mode()
        decoded: Tensor = vae.decode(latents).sample
        return decoded / 2 + 0.5


def located(controlnet: str) -> Path:
    """The ControlNet's folder, with its safetensors where it has any.

    Raises:
        pairwright.weights.WeightsError: it is not there.
    """
    folder = weights.locate(controlnet, patterns=CONTROL_FILES)
    if weights.is_local(controlnet) or (folder / CONTROL_FILES[1]).is_file():
        return folder
    return weights.locate(controlnet, patterns=OLDER_FILES)


def _class() -> Any:
    from diffusers import ControlNetModel

    return ControlNetModel


def _is_xl(folder: Path) -> bool:
    index = folder / "model_index.json"
    if not index.is_file():
        raise weights.WeightsError(f"{folder} is not a pipeline in diffusers' layout: it has no model_index.json")
    return "text_encoder_2" in json.loads(index.read_text(encoding="utf-8"))


def _agree(model: str, base: Any, controlnet: str, control: Any, factor: int) -> None:
    if base.in_channels != 4:
        raise weights.WeightsError(f"{model}: its UNet reads {base.in_channels} channels; image to image needs one of 4")
    for name in MUST_AGREE:
        wanted, found = (each[name] for each in (base, control))
        if _plain(wanted) != _plain(found):
            raise weights.WeightsError(
                f"{controlnet} is not a ControlNet for {model}: its {name} is {_plain(found)}, the model's {_plain(wanted)}"
            )

    halvings = len(control.conditioning_embedding_out_channels) - 1
    if 2**halvings != factor:
        raise weights.WeightsError(
            f"{controlnet} makes pictures smaller by {2**halvings}, the autoencoder of {model} by {factor}: they do not fit"
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
