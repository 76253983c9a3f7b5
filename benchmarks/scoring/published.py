"""The way published scripts score: one picture at a time, float32, each scorer for itself.

Each is written after its authors' own example and shares nothing with the project's scorers: a scorer opens the file, prepares
the picture, encodes it, and encodes the text anew each time. Weights are loaded once, and where two scorers have the same they
share the object, which saves memory and no time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from benchmarks.scoring.checkpoints import Checkpoints

Score = Callable[[Path, str], float]
"""A file and its prompt -> the score."""
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def scorers(made: Checkpoints, device: str = "cpu") -> Mapping[str, Score]:
    """The five scorers, by the column that they stand for."""
    preference = CLIPModel.from_pretrained(made.preference).eval().to(device)
    tokenizer = CLIPTokenizer.from_pretrained(made.preference)
    processor = CLIPImageProcessorPil.from_pretrained(made.preference)
    looks = CLIPModel.from_pretrained(made.looks).eval().to(device)
    words = CLIPTokenizer.from_pretrained(made.looks)
    linear, layers = _linear(made.linear).to(device), _layers(made.layers).to(device)

    def pickscore(path: Path, prompt: str) -> float:
        pixels = processor(images=Image.open(path), return_tensors="pt").to(device)
        seen = _unit(preference.get_image_features(**pixels).pooler_output)
        return float(preference.logit_scale.exp() * (_texts(preference, tokenizer, [prompt]) @ seen.T)[0, 0])

    def realism(path: Path, prompt: str) -> float:
        pixels = processor(images=Image.open(path), return_tensors="pt").to(device)
        seen = _unit(preference.get_image_features(**pixels).pooler_output)
        said = _texts(preference, tokenizer, [f"Realistic photo. {prompt}", f"CG render. {prompt}"])
        real, rendered = (preference.logit_scale.exp() * said @ seen.T)[:, 0].tolist()
        return float(real - rendered)

    def looked(path: Path) -> Tensor:
        pixels = openai_preprocess(Image.open(path), looks.config.vision_config.image_size)
        return _unit(looks.get_image_features(pixel_values=pixels[None].to(device)).pooler_output)

    return {
        "pickscore": torch.no_grad()(pickscore),
        "realism": torch.no_grad()(realism),
        "aesthetic": torch.no_grad()(lambda path, _: float(linear(looked(path)))),
        "aesthetic_sac": torch.no_grad()(lambda path, _: float(layers(looked(path)))),
        "clipscore_cosine": torch.no_grad()(lambda path, prompt: float(looked(path) @ _texts(looks, words, [prompt]).T)),
    }


def openai_preprocess(image: Image.Image, size: int) -> Tensor:
    """``_transform`` of OpenAI's package: resize, centre crop, to RGB, normalise; ``float32 [3, size, size]``."""
    short = min(image.size)
    image = image.resize((size * image.width // short, size * image.height // short), Image.Resampling.BICUBIC)
    left, top = round((image.width - size) / 2.0), round((image.height - size) / 2.0)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)).convert("RGB"))
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    mean, deviation = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    return (tensor - mean) / deviation


def _texts(network: Any, tokenizer: Any, texts: list[str]) -> Tensor:
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt").to(network.device)
    features: Tensor = network.get_text_features(**tokens).pooler_output
    return _unit(features)


def _unit(features: Tensor) -> Tensor:
    unit: Tensor = features / features.norm(dim=-1, keepdim=True)
    return unit


def _linear(path: Path) -> nn.Linear:
    state = torch.load(path, weights_only=True)
    layer = nn.Linear(state["weight"].shape[1], 1)
    layer.load_state_dict(state)
    return layer.eval()


def _layers(path: Path) -> nn.Sequential:
    state = torch.load(path, weights_only=True)
    widths = (state["layers.0.weight"].shape[1], 1024, 128, 64, 16, 1)
    drops = (0.2, 0.2, 0.1, None, None)
    parts: list[nn.Module] = []
    for inputs, outputs, drop in zip(widths, widths[1:], drops, strict=False):
        parts += [nn.Linear(inputs, outputs), *([nn.Dropout(drop)] if drop else [])]
    layers = nn.Sequential(*parts)
    layers.load_state_dict({name.removeprefix("layers."): each for name, each in state.items()})
    return layers.eval()
