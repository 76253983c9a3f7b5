"""Diffusers' own pipelines behind one helper: loading, samplers, texts, noise that belongs to its sample.

For models that are used and not trained; those that are trained have a family in ``pairwright.diffusion.families``.
"""

from __future__ import annotations

import importlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from pairwright import runtime, state_dicts, weights

Sampler = Literal["model", "ddim", "dpmsolver++"]

STABLE_DIFFUSION_FILES = (
    "model_index.json",
    "scheduler/*.json",
    "tokenizer/*",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)
"""What is needed of a Stable Diffusion repository, which holds every weight several times over."""

STABLE_DIFFUSION_XL_FILES = (
    *STABLE_DIFFUSION_FILES,
    "tokenizer_2/*",
    "text_encoder_2/config.json",
    "text_encoder_2/model.safetensors",
)

STABLE_DIFFUSION = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
}
STABLE_DIFFUSION_XL = {**STABLE_DIFFUSION, "text_encoder_2": ("transformers", "CLIPTextModelWithProjection")}

REMEMBERED = 256
"""Texts whose embeddings are kept: 30 MB in bfloat16 at SD-1.5's 77 x 768. Views of one photograph share a caption."""


@dataclass
class Texts:
    """What an encoder makes of texts, each computed once and by itself.

    One text at a time: then it does not matter to the last digit which captions came together.
    """

    encode: Callable[[str], tuple[Tensor, ...]]
    known: OrderedDict[str, tuple[Tensor, ...]] = field(default_factory=OrderedDict)
    """The last :data:`REMEMBERED` texts, the latest at the end."""

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, ...]:
        """Each of the encoder's tensors with one row per text."""
        for text in dict.fromkeys(texts):
            if text not in self.known:
                self.known[text] = self.encode(text)
            self.known.move_to_end(text)
        result = tuple(torch.stack(rows) for rows in zip(*(self.known[text] for text in texts), strict=True))
        while len(self.known) > REMEMBERED:
            self.known.popitem(last=False)
        return result


class TextPipeline:
    """A Stable Diffusion pipeline of diffusers, whatever its task, and the embeddings of the texts it has seen."""

    def __init__(self, pipe: Any, device: torch.device) -> None:
        self.pipe = pipe
        self.device = device
        self.texts = Texts(self._embed)

    @property
    def factor(self) -> int:
        """Pixels per latent: sides must be multiples of it."""
        return int(self.pipe.vae_scale_factor)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """``[b, n, d]`` in the network's dtype. A text is cut at the tokenizer's length (77 tokens), as in training."""
        return self.texts(texts)[0]

    @torch.inference_mode()
    def _embed(self, text: str) -> tuple[Tensor]:
        tokenizer, encoder = self.pipe.tokenizer, self.pipe.text_encoder
        tokens = tokenizer(
            text, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        ).to(self.device)
        attention = tokens["attention_mask"] if getattr(encoder.config, "use_attention_mask", False) else None
        hidden: Tensor = encoder(tokens["input_ids"], attention_mask=attention)[0]
        return (hidden[0],)


def load(kind: str, model: str, *, dtype: runtime.Dtype, device: str, sampler: Sampler) -> TextPipeline:
    """A pipeline in Stable Diffusion's layout: no safety checker, no progress bar.

    Args:
        kind: name of diffusers' class.
        model: folder or hub id.
        dtype: number format of all networks.
        device: see :func:`pairwright.runtime.device`.
        sampler: ``model`` is the scheduler that comes with the model.

    Raises:
        pairwright.weights.WeightsError: something is not there, cannot be read or does not fit.
    """
    pipe, where = assembled(kind, weights.locate(model, patterns=STABLE_DIFFUSION_FILES), STABLE_DIFFUSION, dtype, device)
    pipe.scheduler = scheduler(pipe.scheduler, sampler)
    return TextPipeline(pipe, where)


def assembled(
    kind: str,
    folder: Path,
    networks: Mapping[str, tuple[str, str] | None],
    dtype: runtime.Dtype,
    device: str,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Any, torch.device]:
    """A pipeline of diffusers from a folder in its layout, without safety checker and progress bar, and where it runs.

    Args:
        kind: name of diffusers' class.
        folder: the pipeline's.
        networks: per subfolder the library and the class of its network; None: the pipeline does without it.
        dtype: number format of all networks.
        device: see :func:`pairwright.runtime.device`.
        given: networks that lie elsewhere, by the pipeline's names for them.

    Raises:
        pairwright.weights.WeightsError: something is not there, cannot be read or does not fit.
    """
    where = runtime.device(device)
    with state_dicts.quietly():
        import diffusers

        # The networks first and by themselves: a pipeline leaves what a file lacks as it was drawn at random.
        built = {
            name: state_dicts.pretrained(getattr(importlib.import_module(each[0]), each[1]), folder / name) if each else None
            for name, each in networks.items()
        }
        absent = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False, "add_watermarker": False}
        takes = inspect.signature(getattr(diffusers, kind).__init__).parameters
        absent = {name: value for name, value in absent.items() if name in takes}
        try:
            pipe = getattr(diffusers, kind).from_pretrained(folder, local_files_only=True, **built, **given, **absent)
        except (OSError, ValueError) as error:
            raise weights.WeightsError(f"{folder} is not a pipeline in the layout of {kind}: {error}") from error
        # The number format is set here and not while loading: the name of that option depends on diffusers' version.
        pipe = pipe.to(where, runtime.working_dtype(dtype, where))
    pipe.set_progress_bar_config(disable=True)
    return pipe, where


def scheduler(own: Any, sampler: Sampler) -> Any:
    """The model's own scheduler, or another one on the same noise schedule."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    if sampler == "model":
        return own
    if sampler == "ddim":
        # Where the model's own configuration says nothing, diffusers would clip the latents to -1..1.
        return DDIMScheduler.from_config(own.config, clip_sample=False)
    return DPMSolverMultistepScheduler.from_config(own.config, algorithm_type="dpmsolver++", solver_order=2)


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One generator per sample, on the CPU: a sample's noise depends on its own seed, on any device."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
