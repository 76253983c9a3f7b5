"""Inpaint: the masked region of a photograph repainted from its caption by Stable Diffusion's inpainting model.

Defaults are those of arXiv 2605.19839, section on curation: SD-1.5 inpainting, 50 steps, guidance 7.5, strength 1.0, the
caption as prompt. The mask is cut at 0.5 by the pipeline. Everything that is random in a repaint, the initial noise (at
strength 1.0 nothing else) and the sampled latents of the masked photograph, comes from a generator of its own seeded with
the request's seed. What comes back is the pipeline's whole picture, whose kept region carries the autoencoder's error;
pasting the untouched background back is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pairwright import images, runtime
from pairwright.perturbations import _pipelines
from pairwright.records import Edit, Edited, Failed

THRESHOLD = 0.5


def load(
    *,
    model: str = "stable-diffusion-v1-5/stable-diffusion-inpainting",
    steps: int = 50,
    guidance: float = 7.5,
    strength: float = 1.0,
    sampler: _pipelines.Sampler = "model",
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 8,
) -> Inpaint:
    """An inpainting model in Stable Diffusion's layout.

    Args:
        model: folder or hub id; a UNet of 9 input channels, or of 4 (a base that repaints with its background put back).
        steps: sampling steps.
        guidance: scale of classifier-free guidance; 1: none.
        strength: share of the schedule that is run; 1 starts from pure noise.
        sampler: ``model`` (the scheduler that comes with it), ``ddim`` or ``dpmsolver++``.
        dtype: number format of all networks.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward, of one size.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or cannot be read.
        ValueError: options out of range.
    """
    if steps < 1 or batch_size < 1 or not 0 < strength <= 1 or int(steps * strength) < 1:
        raise ValueError(
            f"steps={steps}, strength={strength}, batch_size={batch_size}: at least one step and one picture are needed"
        )
    pipeline = _pipelines.load("StableDiffusionInpaintPipeline", model, dtype=dtype, device=device, sampler=sampler)
    return Inpaint(pipeline, steps, guidance, strength, batch_size)


@dataclass(frozen=True)
class Inpaint:
    """Repaints masked regions; see :class:`pairwright.protocols.Perturbation`."""

    pipeline: _pipelines.TextPipeline
    steps: int
    guidance: float
    strength: float
    batch_size: int

    def edit(self, edits: Sequence[Edit]) -> list[Edited | Failed]:
        """One repainted picture per request, in order, of the size of the original.

        Sides that are no multiple of the autoencoder's factor are padded with their edge and cut again.
        """
        results: list[Edited | Failed] = [Failed("not reached")] * len(edits)
        groups: dict[tuple[int, int], list[tuple[int, _Canvas]]] = {}
        for place, each in enumerate(edits):
            canvas = _canvas(each, self.pipeline.factor)
            if isinstance(canvas, Failed):
                results[place] = canvas
            else:
                groups.setdefault((canvas.image.shape[1], canvas.image.shape[2]), []).append((place, canvas))
        for members in groups.values():
            for start in range(0, len(members), self.batch_size):
                some = members[start : start + self.batch_size]
                outputs = self._repaint([canvas for _, canvas in some], [edits[place] for place, _ in some])
                for (place, canvas), output in zip(some, outputs, strict=True):
                    results[place] = _result(output, canvas.height, canvas.width)
        return results

    @torch.inference_mode()
    def _repaint(self, canvases: list[_Canvas], edits: list[Edit]) -> Tensor:
        texts = self.pipeline.embed([each.caption for each in edits])
        empty = self.pipeline.embed([""]).expand_as(texts) if self.guidance > 1 else None
        pixels = torch.stack([canvas.image for canvas in canvases])
        output: Tensor = self.pipeline.pipe(
            prompt_embeds=texts,
            negative_prompt_embeds=empty,
            image=pixels,
            mask_image=torch.stack([canvas.mask for canvas in canvases]),
            height=pixels.shape[2],
            width=pixels.shape[3],
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            strength=self.strength,
            generator=_pipelines.generators([each.seed for each in edits]),
            output_type="pt",
        ).images
        return output


@dataclass(frozen=True)
class _Canvas:
    """A request as the pipeline takes it."""

    image: Tensor
    """``float32 [3, h, w]`` in 0..1, padded to a multiple of the factor."""
    mask: Tensor
    """``float32 [1, h, w]``, 0 or 1, padded alike."""
    height: int
    """Of the original."""
    width: int


def _canvas(edit: Edit, factor: int) -> _Canvas | Failed:
    if edit.mask is None:
        return Failed("inpainting needs a mask")
    try:
        pixels = edit.picture.tensor
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Only our own messages: Pillow's hold memory addresses, and a reason must be the same in every run.
        said = str(error) if isinstance(error, images.ImageError) else type(error).__name__
        return Failed(f"cannot be decoded: {said}")
    height, width = pixels.shape[1:]
    if edit.mask.shape != (height, width):
        return Failed(f"the mask is {edit.mask.shape[1]} x {edit.mask.shape[0]}, the picture {width} x {height}")
    if not (edit.mask >= THRESHOLD).any():
        return Failed("the mask is empty")
    mask = torch.from_numpy((edit.mask >= THRESHOLD).astype(np.float32))
    return _Canvas(_padded(pixels, factor), _padded(mask[None], factor), height, width)


def _padded(channels: Tensor, factor: int) -> Tensor:
    # The mask is padded with its own edge as well: where it reaches the border, the object must not show beyond it.
    height, width = channels.shape[1:]
    return functional.pad(channels, (0, -width % factor, 0, -height % factor), mode="replicate")


def _result(output: Tensor, height: int, width: int) -> Edited | Failed:
    kept = output[:, :height, :width].float()
    if not bool(kept.isfinite().all()):
        return Failed("the model's output is not finite; a dtype with a larger range (bfloat16, float32) may help")
    return Edited(images.from_tensor(kept))
