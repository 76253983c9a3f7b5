"""What a network's modules are called elsewhere: by the original implementations, by kohya and by ComfyUI.

The table is made from the network itself, module by module, so that reading a key is looking it up: nothing is guessed
from parts of names, and a key that is not in the table is no key of this network. The original names are those of
CompVis' latent diffusion and Stability's ``generative-models`` (UNets) and ``sd3.5`` (transformers); that they are
right is checked against diffusers' own single-file converters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

Format = Literal["diffusers", "kohya", "comfy"]


@dataclass(frozen=True)
class Place:
    """Where a module of the original implementation lies in the diffusers network."""

    modules: tuple[str, ...]
    """Several: stacked along the output, in this order."""
    swapped: bool = False
    """Whether the halves of the output (shift and scale) are the other way round."""


@dataclass(frozen=True)
class Spellings:
    """The modules of one network under all their names."""

    prefix: str
    """What diffusers calls the network (``unet``, ``transformer``)."""
    shapes: Mapping[str, torch.Size]
    """Of the weights that can have a LoRA, by diffusers' module name."""
    original: Mapping[str, Place]
    """By the original implementation's module name."""
    kohya_is_original: bool
    """Whether kohya trains the original implementation of this network (SDXL, SD-3.5) or diffusers' (SD-1.5)."""

    def find(self, owner: str) -> Place | None:
        """The place of a module by any of its names; None: no such module here.

        Args:
            owner: a LoRA key without its ending: ``unet.down_blocks.0...to_q``, ``lora_unet_...``,
                ``diffusion_model.input_blocks.1.1...``, ``base_model.model....``, or a bare module name.
        """
        for start in ("lora_unet_", f"lora_{self.prefix}_", "lycoris_"):
            if owner.startswith(start):
                return self._flat.get(owner.removeprefix(start))
        for start in ("model.diffusion_model.", "diffusion_model."):
            if owner.startswith(start):
                return self._dotted(owner.removeprefix(start))
        return self._dotted(owner.removeprefix("base_model.model.").removeprefix(f"{self.prefix}."))

    def _dotted(self, name: str) -> Place | None:
        plain = name.replace(".processor.", ".")
        for each in (plain, f"{plain}.0" if plain.endswith(".to_out") else plain):
            if each in self.shapes:
                return Place((each,))
        return self.original.get(plain)

    @cached_property
    def _flat(self) -> dict[str, Place]:
        """Kohya's spelling: every dot is an underscore."""
        own = {name.replace(".", "_"): Place((name,)) for name in self.shapes}
        return {**{name.replace(".", "_"): place for name, place in self.original.items()}, **own}


def of(network: nn.Module, prefix: str) -> Spellings:
    """The names of a diffusers UNet or SD-3 transformer, with or without adapters on it."""
    shapes = dict(_weights(network))
    original = dict(_transformer(shapes) if any(name.startswith("transformer_blocks.") for name in shapes) else _unet(shapes))
    return Spellings(prefix, shapes, original, prefix == "transformer" or "add_embedding.linear_1" in shapes)


def _weights(network: nn.Module) -> Iterator[tuple[str, torch.Size]]:
    for name, module in network.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module.get_base_layer().weight.shape
        elif isinstance(module, (nn.Linear, nn.Conv2d)) and ".lora_" not in name and not name.endswith(".base_layer"):
            yield name, module.weight.shape


_UNET_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
}
_RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_PART = re.compile(r"(?:(down|up)_blocks\.(\d+)|mid_block)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def _unet(shapes: Mapping[str, torch.Size]) -> Iterator[tuple[str, Place]]:
    """Latent diffusion numbers resnets through all resolutions, each with its attention; a downsampler has a number of its own."""
    parts = {name: match for name in shapes if (match := _UNET_PART.fullmatch(name))}
    resnets = {(match[1], int(match[2])): 0 for match in parts.values() if match[1]}
    for match in parts.values():
        if match[1] and match[3] == "resnets":
            key = (match[1], int(match[2]))
            resnets[key] = max(resnets[key], int(match[4]) + 1)
    attentive = {(match[1], int(match[2] or 0)) for match in parts.values() if match[3] == "attentions"}
    for name in shapes:
        if name in _UNET_TOP:
            yield _UNET_TOP[name], Place((name,))
        elif name in parts:
            yield _unet_part(parts[name], resnets, attentive), Place((name,))


def _unet_part(match: re.Match[str], resnets: Mapping[tuple[str, int], int], attentive: set[tuple[str, int]]) -> str:
    side, block, kind, index, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    inner = _RESNET.get(rest, rest) if kind == "resnets" else rest
    if not side:
        return f"middle_block.{2 * index if kind == 'resnets' else 1}.{inner}"
    before = sum(count for (each, number), count in resnets.items() if each == side and number < block)
    if side == "down":
        first = 1 + before + block  # conv_in, and one downsampler for each resolution before
        if kind == "downsamplers":
            return f"input_blocks.{first + resnets[side, block]}.0.op"
        return f"input_blocks.{first + index}.{int(kind == 'attentions')}.{inner}"
    if kind == "upsamplers":
        return f"output_blocks.{before + resnets[side, block] - 1}.{1 + ((side, block) in attentive)}.conv"
    return f"output_blocks.{before + index}.{int(kind == 'attentions')}.{inner}"


_MMDIT_TOP = {
    "context_embedder": "context_embedder",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "pos_embed.proj": "x_embedder.proj",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
_MMDIT_BLOCK = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn.proj": ("attn.to_out.0",),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block.attn2.proj": ("attn2.to_out.0",),
    "x_block.mlp.fc1": ("ff.net.0.proj",),
    "x_block.mlp.fc2": ("ff.net.2",),
    "x_block.adaLN_modulation.1": ("norm1.linear",),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "context_block.attn.proj": ("attn.to_add_out",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",),
    "context_block.mlp.fc2": ("ff_context.net.2",),
    "context_block.adaLN_modulation.1": ("norm1_context.linear",),
}


def _transformer(shapes: Mapping[str, torch.Size]) -> Iterator[tuple[str, Place]]:
    """SD-3 fuses q, k and v; where a modulation has only shift and scale, diffusers has them the other way round."""
    for name, original in _MMDIT_TOP.items():
        if name in shapes:
            yield original, Place((name,), swapped=name == "norm_out.linear")
    blocks = {int(name.split(".")[1]) for name in shapes if name.startswith("transformer_blocks.")}
    for block in sorted(blocks):
        # The last block's context only gives keys and values: its modulation has no gates, and nothing comes after it.
        pre_only = f"transformer_blocks.{block}.ff_context.net.2" not in shapes
        for original, inner in _MMDIT_BLOCK.items():
            modules = tuple(f"transformer_blocks.{block}.{each}" for each in inner)
            if all(module in shapes for module in modules):
                swapped = pre_only and original == "context_block.adaLN_modulation.1"
                yield f"joint_blocks.{block}.{original}", Place(modules, swapped)
