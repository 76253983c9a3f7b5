"""Inpaint_pixart: the masked region repainted from the caption by PixArt-alpha.

The variant of arXiv 2605.19839, Table 4: guidance 4.5, strength 1; 20 steps are diffusers' default for PixArt-alpha. PixArt-alpha
(arXiv 2310.00426) has no inpainting checkpoint, and diffusers no inpainting pipeline for it. So the base is sampled with its own
scheduler, and after every step the latents outside the mask are put back: the photograph's own, noised to where the sampling is,
and at the end as they are (Lugmayr et al. 2022, "RePaint", without its resampling). The photograph's latents are the mean of what
the autoencoder says; the noise, which is also what the sampling starts from, comes from a generator seeded with the request's seed.
What comes back carries the autoencoder's error in the kept region; pasting the untouched background back is the caller's.

Texts are lower-cased and stripped, as the model was trained; diffusers' further cleaning (addresses, HTML) is left out, since
captions have none. What T5 cannot read at once (120 tokens) is cut, as in training.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from pairwright import runtime, weights
from pairwright.perturbations import _pipelines, _transformers
from pairwright.records import Edit

T5_TOKENS = 120
FILES = (
    *("model_index.json", "scheduler/*.json", "tokenizer/*"),
    *(f"{part}/*.{suffix}" for part in ("text_encoder", "transformer", "vae") for suffix in ("json", "safetensors")),
)
NETWORKS = {
    "transformer": ("diffusers", "PixArtTransformer2DModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "T5EncoderModel"),
}
_OF_1024 = 128
"""Latents along the side of the models of 1024 pixels, which are told size and shape besides."""


def load(
    *,
    model: str = "PixArt-alpha/PixArt-XL-2-512x512",
    steps: PositiveInt = 20,
    guidance: float = 4.5,
    strength: float = 1.0,
    sampler: _pipelines.Sampler = "model",
    crop: NonNegativeFloat | None = None,
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: PositiveInt = 4,
) -> InpaintPixart:
    """PixArt-alpha in diffusers' layout, of 256, 512 or 1024 pixels.

    Args:
        model: folder or hub id.
        steps: sampling steps.
        guidance: scale of classifier-free guidance; 1: none.
        strength: share of the schedule that is run; 1 starts from pure noise.
        sampler: as of :func:`pairwright.perturbations.inpaint.load`; the model's own is DPM-Solver++.
        crop: as of :func:`pairwright.perturbations.inpaint.load`.
        dtype: number format of all networks.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward, of one size.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or cannot be read.
        ValueError: options out of range.
    """
    _transformers.check(steps, strength)
    folder = weights.locate(model, patterns=FILES)
    if not (folder / "model_index.json").is_file():
        raise weights.WeightsError(f"{model} is not a pipeline in PixArt-alpha's layout: it has no model_index.json")
    _require_sentencepiece(folder / "tokenizer")
    pipe, where = _pipelines.assembled("PixArtAlphaPipeline", folder, NETWORKS, dtype, device)
    pipe.scheduler = _pipelines.scheduler(pipe.scheduler, sampler)
    return InpaintPixart(pipe, where, _pipelines.Texts(_encoder(pipe, where)), steps, guidance, strength, batch_size, crop)


def _require_sentencepiece(folder: Path) -> None:
    """The published tokenizer is SentencePiece's own file, which transformers reads with two more packages."""
    missing = [name for name in ("sentencepiece", "google.protobuf") if not _installed(name)]
    if missing and not (folder / "tokenizer.json").is_file():
        raise weights.WeightsError(
            f"{folder} holds T5's tokenizer as spiece.model, which needs {' and '.join(missing)}: pip install 'pairwright[pixart]'"
        )


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of what it lies in
        return False


class InpaintPixart(_transformers.Repainter):
    """See :class:`pairwright.perturbations._transformers.Repainter`."""

    @torch.inference_mode()
    def _paint(self, pixels: Tensor, masks: Tensor, edits: Sequence[Edit]) -> Tensor:
        vae, scheduler = self.pipe.vae, self.pipe.scheduler
        given = (pixels * 2 - 1).to(self.device, vae.dtype)
        own = vae.encode(given).latent_dist.mode() * vae.config.scaling_factor
        mask = functional.interpolate(masks.to(self.device, own.dtype), size=own.shape[-2:])
        generators = _pipelines.generators([each.seed for each in edits])
        noise = torch.stack([torch.randn(own.shape[1:], generator=each) for each in generators]).to(own)
        timesteps = self._timesteps()
        latents = noise * scheduler.init_noise_sigma if self.strength == 1 else scheduler.add_noise(own, noise, timesteps[:1])
        extra = self.pipe.prepare_extra_step_kwargs(generators, 0.0)
        predict = self._predictor(edits, pixels.shape[-2:])
        for place, timestep in enumerate(timesteps):
            latents = scheduler.step(predict(latents, timestep), timestep, latents, **extra, return_dict=False)[0]
            later = timesteps[place + 1 : place + 2]
            kept = scheduler.add_noise(own, noise, later) if len(later) else own
            latents = (1 - mask) * kept + mask * latents
        decoded: Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample
        return decoded / 2 + 0.5

    def _timesteps(self) -> Tensor:
        """Those that are run, ``[n]``; the scheduler stands at the first."""
        scheduler = self.pipe.scheduler
        scheduler.set_timesteps(self.steps, device=self.device)
        first = (self.steps - int(self.steps * self.strength)) * scheduler.order
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        found: Tensor = scheduler.timesteps[first:]
        return found

    def _predictor(self, edits: Sequence[Edit], size: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """Latents ``[b, 4, h, w]`` and a timestep -> the noise in them, guided."""
        transformer, scheduler = self.pipe.transformer, self.pipe.scheduler
        states, marks = self.texts([each.caption for each in edits])
        guided = self.guidance > 1
        if guided:
            empty = [each.expand(len(edits), *each.shape[1:]) for each in self.texts([""])]
            states, marks = (torch.cat(pair) for pair in zip(empty, (states, marks), strict=True))
        told = self._told(size, states)

        def predict(latents: Tensor, timestep: Tensor) -> Tensor:
            given = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, timestep)
            output = transformer(
                given,
                encoder_hidden_states=states,
                encoder_attention_mask=marks,
                timestep=timestep.expand(len(given)),
                added_cond_kwargs=told,
                return_dict=False,
            )[0]
            noise: Tensor = output[:, : latents.shape[1]]  # beside it, the variance that the model was taught as well
            if not guided:
                return noise
            without, with_text = noise.chunk(2)
            return without + self.guidance * (with_text - without)

        return predict

    def _told(self, size: Sequence[int], states: Tensor) -> dict[str, Tensor | None]:
        """Size in pixels and its ratio, which the models of 1024 pixels read."""
        if self.pipe.transformer.config.sample_size != _OF_1024:
            return {"resolution": None, "aspect_ratio": None}
        height, width = size
        both = torch.tensor([height, width]).to(states).expand(len(states), 2)
        return {"resolution": both, "aspect_ratio": torch.tensor([height / width]).to(states).expand(len(states), 1)}


def _encoder(pipe: Any, device: torch.device) -> Any:
    """One text -> its states ``[n, d]``, and which of them are its own ``[n]``."""

    @torch.inference_mode()
    def encode(text: str) -> tuple[Tensor, Tensor]:
        states, marks, _, _ = pipe.encode_prompt(
            text, do_classifier_free_guidance=False, device=device, clean_caption=False, max_sequence_length=T5_TOKENS
        )
        return states[0], marks[0]

    return encode
