"""A miniature pipeline as one file in the original key layout (LDM, SGM, SD3): diffusers' conversion backwards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

State = dict[str, torch.Tensor]

RESNETS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
OPEN_CLIP = {
    "text_model.embeddings.token_embedding.": "token_embedding.",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.encoder.layers.": "transformer.resblocks.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    ".self_attn.out_proj.": ".attn.out_proj.",
}


def write_single_file(folder: Path, path: Path, *, leave_out: tuple[str, ...] = (), marks: tuple[str, ...] = ()) -> Path:
    """Write the pipeline in ``folder`` as one file and return ``path``.

    Args:
        folder: a miniature of any family.
        path: of the file.
        leave_out: parts that shall not be in it (``text_encoder_3``).
        marks: names of empty tensors (``v_pred``).
    """
    kind = json.loads((folder / "model_index.json").read_text())["_class_name"]
    layouts: dict[str, dict[str, tuple[str, Callable[[State, Any], State]]]] = {
        "StableDiffusionPipeline": {
            "unet": ("model.diffusion_model.", _unet),
            "vae": ("first_stage_model.", _vae),
            "text_encoder": ("cond_stage_model.transformer.", _clip),
        },
        "StableDiffusionXLPipeline": {
            "unet": ("model.diffusion_model.", _unet),
            "vae": ("first_stage_model.", _vae),
            "text_encoder": ("conditioner.embedders.0.transformer.", _clip),
            "text_encoder_2": ("conditioner.embedders.1.model.", _open_clip),
        },
        "StableDiffusion3Pipeline": {
            "transformer": ("model.diffusion_model.", _sd3),
            "vae": ("first_stage_model.", _vae),
            "text_encoder": ("text_encoders.clip_l.transformer.", lambda state, _: _without(_clip(state, _), "text_projection")),
            "text_encoder_2": ("text_encoders.clip_g.transformer.", _clip),
            "text_encoder_3": ("text_encoders.t5xxl.transformer.", lambda state, _: state),
        },
    }
    whole: State = {mark: torch.zeros(0) for mark in marks}
    for name, (beginning, back) in layouts[kind].items():
        if name not in leave_out and (folder / name).is_dir():
            config = json.loads((folder / name / "config.json").read_text())
            whole |= {f"{beginning}{key}": value.contiguous() for key, value in back(_read(folder / name), config).items()}
    save_file(whole, path)
    return path


def _read(folder: Path) -> State:
    (path,) = folder.glob("*.safetensors")
    state: State = load_file(path)
    return state


def _without(state: State, beginning: str) -> State:
    return {key: value for key, value in state.items() if not key.startswith(beginning)}


def _replaced(key: str, names: Mapping[str, str]) -> str:
    for new, old in names.items():
        key = key.replace(new, old)
    return key


def _clip(state: State, _: Any) -> State:
    own = ("text_model.", "text_projection.")
    return {key if key.startswith(own) else f"text_model.{key}": value for key, value in state.items()}


def _open_clip(state: State, _: Any) -> State:
    """Queries, keys and values in one matrix; the projection turned."""
    found: State = {}
    for key, value in state.items():
        name = _replaced(key, OPEN_CLIP)
        if key == "text_projection.weight":
            found["text_projection"] = value.T
        elif ".q_proj." in key:
            parts = [state[key.replace(".q_proj.", f".{each}_proj.")] for each in "qkv"]
            found[name.replace(".self_attn.q_proj.", ".attn.in_proj_")] = torch.cat(parts)
        elif ".k_proj." not in key and ".v_proj." not in key:
            found[name] = value
    return found


def _unet(state: State, config: Any) -> State:
    """Blocks counted through: ``down_blocks.1.resnets.0`` is ``input_blocks.<per block * 1 + 1>.0``."""
    per_block = config["layers_per_block"] + 1
    attends = [kind.startswith("CrossAttn") for kind in config["up_block_types"]]

    def place(key: str) -> str:
        if match := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", key):
            side, block, what, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
            number = per_block * block + layer + (side == "down")
            if what == "downsamplers":
                return f"input_blocks.{per_block * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
            if what == "upsamplers":
                return f"output_blocks.{per_block * block + per_block - 1}.{1 + attends[block]}.{rest}"
            inner = f"0.{_replaced(rest, RESNETS)}" if what == "resnets" else f"1.{rest}"
            return f"{'input' if side == 'down' else 'output'}_blocks.{number}.{inner}"
        if match := re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", key):
            if match[1] == "attentions":
                return f"middle_block.1.{match[3]}"
            return f"middle_block.{2 * int(match[2])}.{_replaced(match[3], RESNETS)}"
        name, _, rest = key.rpartition(".")
        return f"{UNET[name]}.{rest}"

    return {place(key): value for key, value in state.items()}


def _vae(state: State, config: Any) -> State:
    """Up blocks counted from the other end; the attention's matrices as 1 x 1 convolutions."""
    last = len(config["up_block_types"]) - 1
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    found: State = {}
    for key, value in state.items():
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", key)
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda match: f"up.{last - int(match[1])}.block.", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda match: f"up.{last - int(match[1])}.upsample.", name)
        name = re.sub(r"mid_block\.resnets\.(\d+)\.", lambda match: f"mid.block_{int(match[1]) + 1}.", name)
        name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if ".mid_block.attentions.0." in name:
            name = _replaced(name.replace("mid_block.attentions.0", "mid.attn_1"), attention)
            value = value[:, :, None, None] if value.dim() == 2 else value  # noqa: PLW2901 - in the file it is a convolution
        found[name] = value
    return found


def _sd3(state: State, config: Any) -> State:
    """Queries, keys and values in one matrix; scale and shift of the last norms the other way round."""
    last = config["num_layers"] - 1
    whole = {
        "pos_embed.pos_embed": "pos_embed",
        "pos_embed.proj.": "x_embedder.proj.",
        "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
        "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
        "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
        "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
        "norm_out.linear": "final_layer.adaLN_modulation.1",
        "proj_out": "final_layer.linear",
    }
    inner = {
        "norm1_context.linear": "context_block.adaLN_modulation.1",
        "norm1.linear": "x_block.adaLN_modulation.1",
        "ff_context.net.0.proj": "context_block.mlp.fc1",
        "ff_context.net.2": "context_block.mlp.fc2",
        "ff.net.0.proj": "x_block.mlp.fc1",
        "ff.net.2": "x_block.mlp.fc2",
        "attn.to_add_out": "context_block.attn.proj",
        "attn.norm_added_": "context_block.attn.ln_",
        "attn.norm_": "x_block.attn.ln_",
        "attn2.norm_": "x_block.attn2.ln_",
        "attn.to_out.0": "x_block.attn.proj",
        "attn2.to_out.0": "x_block.attn2.proj",
    }
    fused = {"attn.to_q": ("attn.to_{}", "x_block.attn.qkv"), "attn2.to_q": ("attn2.to_{}", "x_block.attn2.qkv")}
    fused["attn.add_q_proj"] = ("attn.add_{}_proj", "context_block.attn.qkv")
    found: State = {}
    for key, value in state.items():
        match = re.match(r"transformer_blocks\.(\d+)\.(.*)\.(weight|bias)", key)
        if match is None:
            found[_replaced(key, whole)] = _swapped(value) if key.startswith("norm_out") else value
            continue
        block, name, kind = int(match[1]), match[2], match[3]
        if name in fused:
            pattern, new = fused[name]
            parts = [state[f"transformer_blocks.{block}.{pattern.format(each)}.{kind}"] for each in "qkv"]
            found[f"joint_blocks.{block}.{new}.{kind}"] = torch.cat(parts)
        elif not re.fullmatch(r"attn2?\.(to|add)_[kv](_proj)?", name):
            turned = name == "norm1_context.linear" and block == last
            new = next(old + name.removeprefix(start) for start, old in inner.items() if name.startswith(start))
            found[f"joint_blocks.{block}.{new}.{kind}"] = _swapped(value) if turned else value
    return found


def _swapped(value: torch.Tensor) -> torch.Tensor:
    first, second = value.chunk(2)
    return torch.cat([second, first])
