"""LLaVA-1.6 with Mistral and Llama 3.2 Vision in their published layouts, with random weights.

Key names are those of the files on the hub, which transformers 4 wrote.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MllamaConfig,
    MllamaForConditionalGeneration,
)

SIDE = 28
"""Pixels of a tile: 2 x 2 patches."""
HALF = [0.5] * 3
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}


def write_llava_next(folder: Path, says: str = "", seed: int = 0) -> Path:
    """``llava-hf/llava-v1.6-mistral-7b-hf``. With ``says`` its answer is that, whatever is asked."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(each) for each in range(33, 127)]
    plain = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters]
    tokenizer = Tokenizer(
        models.BPE({each: index for index, each in enumerate(plain)}, [], byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    special = ["<unk>", "<s>", "</s>", "<image>", "<pad>"]
    _write_tokenizer(
        folder, tokenizer, special, says, tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        pad_token="<pad>", add_bos_token=True, add_eos_token=False, add_prefix_space=True, legacy=True,
    )  # fmt: skip
    tiles = [[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE], [3 * SIDE, SIDE], [SIDE, 3 * SIDE]]
    sight = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
    sight |= {"num_attention_heads": 2, "image_size": SIDE, "patch_size": 14, "projection_dim": 16}
    config = LlavaNextConfig(
        vision_config=sight,
        text_config={"model_type": "mistral", "vocab_size": tokenizer.get_vocab_size() + 3, **TEXT},
        image_token_index=tokenizer.token_to_id("<image>"),
        image_grid_pinpoints=tiles,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    network = _drawn(LlavaNextForConditionalGeneration(config), seed)
    state = _published(network, {"model.vision_tower.": "vision_tower.vision_model."})
    if says:
        _teach(state, tokenizer, ["]", says, "</s>"])
    shown: dict[str, Any] = {
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
        "image_grid_pinpoints": tiles,
    }
    shown |= {"image_processor_type": "LlavaNextImageProcessor", "image_mean": HALF, "image_std": HALF, "resample": 3}
    return _write(folder, config, state, shown, tokenizer, "</s>", "<pad>")


def write_llama_vision(folder: Path, says: str = "", seed: int = 0) -> Path:
    """``meta-llama/Llama-3.2-11B-Vision-Instruct``. With ``says`` its answer is that, whatever is asked."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({each: index for index, each in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    special += ["<|eot_id|>", "<|python_tag|>"]
    # The picture's token comes last of all: the embedding has eight rows more than the head for it.
    _write_tokenizer(
        folder, tokenizer, [*special, "<|image|>"], says, tokenizer_class="PreTrainedTokenizerFast", bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>", pad_token="<|finetune_right_pad_id|>",
    )  # fmt: skip
    rows = tokenizer.get_vocab_size() - 1
    sight: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_global_layers": 2,
        "attention_heads": 2,
    }
    sight |= {"image_size": SIDE, "patch_size": 14, "intermediate_layers_indices": [0, 1], "vision_output_dim": 96}
    config = MllamaConfig(
        vision_config=sight,
        text_config={
            **TEXT,
            "vocab_size": rows,
            "cross_attention_layers": [1],
            "bos_token_id": tokenizer.token_to_id("<|begin_of_text|>"),
            "eos_token_id": tokenizer.token_to_id("<|eot_id|>"),
            "pad_token_id": tokenizer.token_to_id("<|finetune_right_pad_id|>"),
        },
        image_token_index=tokenizer.token_to_id("<|image|>"),
    )
    network = _drawn(MllamaForConditionalGeneration(config), seed)
    state = _published(network, {"model.vision_model.": "vision_model."})
    if says:
        _teach(state, tokenizer, ["Ċ", says, "<|eot_id|>"])
    shown = {"size": {"height": SIDE, "width": SIDE}, "max_image_tiles": 4, "image_mean": HALF, "image_std": HALF, "resample": 2}
    shown |= {"image_processor_type": "MllamaImageProcessor"}
    return _write(folder, config, state, shown, tokenizer, "<|eot_id|>", "<|finetune_right_pad_id|>")


def _write_tokenizer(folder: Path, tokenizer: Tokenizer, special: list[str], says: str, **settings: Any) -> None:
    tokenizer.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in special[:-1]])
    if says:
        tokenizer.add_tokens([AddedToken(says, normalized=False)])
    tokenizer.add_special_tokens([AddedToken(special[-1], special=True, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    added = [*special, *([says] if says else [])]
    decoder = {str(tokenizer.token_to_id(each)): {"content": each, **flags, "special": each in special} for each in added}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"model_max_length": 131072, "clean_up_tokenization_spaces": False, "added_tokens_decoder": decoder, **settings})
    )


def _drawn(network: Any, seed: int) -> Any:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in network.parameters():
            noise = torch.randn(each.shape, generator=draw)
            each.copy_(noise * each.shape[-1] ** -0.5 * 1.5 if each.ndim > 1 else 0.2 * noise + (each.ndim == 1))
    return network


def _published(network: Any, more: Mapping[str, str]) -> dict[str, Tensor]:
    names = {
        "model.language_model.": "language_model.model.",
        "lm_head.": "language_model.lm_head.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "model.image_newline": "image_newline",
        **more,
    }
    state = {}
    for name, value in network.state_dict().items():
        ours, theirs = next((each for each in names.items() if name.startswith(each[0])), (name, name))
        state[theirs + name.removeprefix(ours)] = value.contiguous()
    return state


def _teach(state: dict[str, Tensor], tokenizer: Tokenizer, chain: list[str]) -> None:
    """Each token's successor is what the head knows; the layers add nothing."""
    for name, value in state.items():
        if name.startswith("language_model.") and name.endswith(("o_proj.weight", "down_proj.weight")):
            state[name] = torch.zeros_like(value)
    embedding = state["language_model.model.embed_tokens.weight"]
    state["language_model.model.norm.weight"] = torch.ones_like(state["language_model.model.norm.weight"])
    state["language_model.lm_head.weight"] = torch.zeros_like(state["language_model.lm_head.weight"])
    numbers = [tokenizer.token_to_id(each) for each in chain]
    for before, after in itertools.pairwise(numbers):
        state["language_model.lm_head.weight"][after] = embedding[before]


def _write(
    folder: Path, config: Any, state: dict[str, Tensor], shown: Mapping[str, Any], tokenizer: Tokenizer, end: str, pad: str
) -> Path:
    config.save_pretrained(folder)
    switches = dict.fromkeys(("do_resize", "do_rescale", "do_normalize", "do_convert_rgb", "do_pad"), True)
    (folder / "preprocessor_config.json").write_text(json.dumps({**switches, "rescale_factor": 1 / 255, **shown}))
    generation = {"eos_token_id": tokenizer.token_to_id(end), "pad_token_id": tokenizer.token_to_id(pad), "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(generation | {"temperature": 0.6, "top_p": 0.9}))
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return folder
