"""Writes each model of the pack in the layout of its real counterpart, fp16 and whole.

A folder is written under a temporary name and renamed, so that what is there can be loaded.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPTokenizer

from pairwright.saliency.u2net_network import U2Net

from . import layouts
from .vocabulary import write_bert_tokenizer, write_clip_tokenizer

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
UNTRAINED = "UNTRAINED"
"""The mark of a pack that has learned nothing; pairwright says so wherever it uses one."""
HALF = torch.float16


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes `folder`'s place when all went well."""
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    yield fresh
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def half(network: nn.Module) -> dict[str, Tensor]:
    """The network's state in fp16, its counters of batches left out."""
    state = network.state_dict()
    return {name: value.detach().to(HALF).contiguous() for name, value in state.items() if value.is_floating_point()}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Indented JSON with a final newline."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_base(folder: Path, vae: nn.Module, text: nn.Module, unet: nn.Module, *, inpaint: bool = False) -> None:
    """A Stable Diffusion pipeline; `inpaint` writes the one whose UNet takes 9 channels."""
    kind = StableDiffusionInpaintPipeline if inpaint else StableDiffusionPipeline
    with replacing(folder) as fresh:
        pipeline = kind(
            vae=vae,
            text_encoder=text,
            tokenizer=write_clip_tokenizer(fresh / "tokenizer"),
            unet=unet,
            scheduler=layouts.scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.to(dtype=HALF).save_pretrained(fresh)


def write_controlnet(folder: Path, network: nn.Module) -> None:
    """A ControlNet as diffusers keeps one: a configuration and its weights."""
    with replacing(folder) as fresh:
        network.to(HALF).save_pretrained(fresh)  # type: ignore[operator]


def write_pickscore(folder: Path, network: nn.Module) -> None:
    """A CLIPModel with its image processor and tokenizer in one folder."""
    with replacing(folder) as fresh:
        network.to(HALF).save_pretrained(fresh)  # type: ignore[operator]
        write_clip_tokenizer(fresh)
        write_processor(fresh, "CLIPImageProcessor", CLIP_MEAN, CLIP_STD)


def write_processor(folder: Path, kind: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """``preprocessor_config.json``: bicubic to 64 on the short side, centre crop."""
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": layouts.SIZE},
        crop_size={"height": layouts.SIZE, "width": layouts.SIZE},
        image_mean=list(mean),
        image_std=list(std),
    )
    processor.save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, settings | {"image_processor_type": kind})


def write_imagereward(folder: Path, network: layouts.RewardModel) -> None:
    """ImageReward's weights under their published names, ``med_config.json``, a vocabulary."""
    with replacing(folder) as fresh:
        state = half(network)
        published = {layouts.published_reward_key(name): v for name, v in state.items()}
        save_file(published, fresh / "ImageReward.safetensors", {"format": "pt"})
        write_bert_tokenizer(fresh)
        write_json(fresh / "med_config.json", med_config(network))
        write_json(fresh / "vision_config.json", layouts.BLIP_VISION | {"layer_norm_eps": 1e-6})


def med_config(network: layouts.RewardModel) -> dict[str, Any]:
    """The published form of the text encoder's configuration."""
    config = network.text.config
    return layouts.BLIP_TEXT | {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": config.hidden_act,
        "hidden_dropout_prob": 0.1,
        "initializer_range": config.initializer_range,
        "layer_norm_eps": config.layer_norm_eps,
        "max_position_embeddings": config.max_position_embeddings,
        "model_type": "bert",
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": config.vocab_size,
        "encoder_width": config.encoder_hidden_size,
        "add_cross_attention": True,
    }


def write_classifier(folder: Path, network: nn.Module) -> None:
    """A transformers image classifier with its preprocessing."""
    with replacing(folder) as fresh:
        network.to(HALF).save_pretrained(fresh)  # type: ignore[operator]
        write_processor(fresh, "ConvNextImageProcessor", (0.5,) * 3, (0.5,) * 3)


def write_u2net(folder: Path, network: U2Net) -> None:
    """U^2-Net's weights under their published names, and the widths."""
    with replacing(folder) as fresh:
        save_file(half(network), fresh / "u2net.safetensors", {"format": "pt"})
        write_json(fresh / "config.json", {"widths": asdict(network.widths), "image_size": 64})


def write_untrained(out: Path, seed: int = 0) -> None:
    """The whole pack with random weights: every layout at once, nothing learned."""
    torch.manual_seed(seed)
    with replacing(out / "tokenizer-scratch") as scratch:
        clip = write_clip_tokenizer(scratch / "clip")
        words = len(write_bert_tokenizer(scratch / "bert"))
    shutil.rmtree(out / "tokenizer-scratch")
    write_base(out / "base", layouts.autoencoder(), layouts.text_encoder(clip), layouts.unet())
    write_base(
        out / "inpaint", layouts.autoencoder(), layouts.text_encoder(clip), layouts.inpainting_unet(),
        inpaint=True,
    )  # fmt: skip
    write_controlnet(out / "controlnet", layouts.controlnet())
    write_pickscore(out / "pickscore", layouts.pickscore(clip))
    write_imagereward(out / "imagereward", layouts.RewardModel(reward_vocabulary(words)))
    write_classifier(out / "classifier", layouts.classifier())
    write_u2net(out / "u2net", U2Net(layouts.U2NET_WIDTHS))
    (out / UNTRAINED).write_text("These weights were drawn at random: what they paint and how they score is noise.\n")


def reward_vocabulary(words: int) -> int:
    """Rows of ImageReward's embedding: the vocabulary, and BLIP's ``[DEC]`` and ``[ENC]``."""
    return words + 2


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer that was written into `folder`."""
    return CLIPTokenizer.from_pretrained(folder)
