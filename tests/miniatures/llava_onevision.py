"""LLaVA-Critic in its authors' own layout, with random weights: file and key names are those of ``lmms-lab/llava-critic-7b``.

The language model is Qwen2 (as Qwen2-VL's, without the picture's part), the eye SigLIP without its last layer and its head. The
configuration says nothing of the eye's sizes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from tests.miniatures import qwen2_vl
from tests.miniatures.qwen2_vl import HEADS, HIDDEN, KEY_HEADS, LAYERS, MLP, PATCH

SIGHT, SIGHT_MLP, DEPTH = 144, 160, 2
"""Two heads of 72 numbers, as the published ones."""
SIDE = 2 * PATCH
"""Pixels of a tile."""
EYE = "model.vision_tower.vision_tower.vision_model"


def published_state(seed: int = 0) -> dict[str, Tensor]:
    """Every tensor, under its published name."""
    state = {name: each for name, each in qwen2_vl.published_state("qwen2_5_vl", seed).items() if not name.startswith("visual.")}
    random = qwen2_vl._Random(seed + 1)
    state[f"{EYE}.embeddings.patch_embedding.weight"] = random(SIGHT, 3, PATCH, PATCH, scale=0.05)
    state[f"{EYE}.embeddings.patch_embedding.bias"] = random(SIGHT)
    state[f"{EYE}.embeddings.position_embedding.weight"] = random((SIDE // PATCH) ** 2, SIGHT)
    for layer in range(DEPTH):
        block = f"{EYE}.encoder.layers.{layer}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            state |= random.linear(f"{block}.self_attn.{name}", SIGHT, SIGHT)
        state |= random.linear(f"{block}.mlp.fc1", SIGHT, SIGHT_MLP) | random.linear(f"{block}.mlp.fc2", SIGHT_MLP, SIGHT)
        state |= random.norm(f"{block}.layer_norm1", SIGHT, bias=True) | random.norm(f"{block}.layer_norm2", SIGHT, bias=True)
    state |= random.norm(f"{EYE}.post_layernorm", SIGHT, bias=True)
    state |= random.linear("model.mm_projector.0", SIGHT, HIDDEN) | random.linear("model.mm_projector.2", HIDDEN, HIDDEN)
    return state | {"model.image_newline": random(HIDDEN)}


def write_llava_critic(folder: Path, seed: int = 0, says: Sequence[str] = (), *, listed: bool = False) -> Path:
    """The repository: two shards and an index. With ``says`` its answer is that; see ``qwen2_vl.write_unifiedreward``.

    ``listed`` writes the sizes of tilings one by one; published configurations have either.
    """
    folder.mkdir(parents=True, exist_ok=True)
    qwen2_vl.write_processor(folder)
    (folder / "preprocessor_config.json").unlink()  # the authors' code makes its own
    state = published_state(seed)
    if says:
        qwen2_vl._add_tokens(folder, list(says))
        qwen2_vl._teach(state, says, {token: qwen2_vl.rows() + index for index, token in enumerate(says)})
    sizes = [[SIDE * down, SIDE * across] for down in range(1, 7) for across in range(1, 7)]
    settings = {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava",
        "attention_dropout": 0.0,
        "bos_token_id": qwen2_vl.number("<|endoftext|>"),
        "eos_token_id": qwen2_vl.number("<|im_end|>"),
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "image_aspect_ratio": "anyres_max_9",
        "image_crop_resolution": None,
        "image_grid_pinpoints": sizes if listed else "(1x1),...,(6x6)",
        "initializer_range": 0.02,
        "intermediate_size": MLP,
        "max_position_embeddings": 32768,
        "max_window_layers": LAYERS,
        "mm_hidden_size": SIGHT,
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KEY_HEADS,
        "rms_norm_eps": qwen2_vl.EPS,
        "rope_scaling": None,
        "rope_theta": qwen2_vl.THETA,
        "sliding_window": 131072,
        "tie_word_embeddings": False,
        "tokenizer_model_max_length": 32768,
        "tokenizer_padding_side": "right",
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_mm_proj": True,
        "use_sliding_window": False,
        "vocab_size": qwen2_vl.rows() + qwen2_vl.SPARE,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    places = {name: names[index % 2] for index, name in enumerate(sorted(state))}
    for file in names:
        save_file({name: state[name] for name, place in places.items() if place == file}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder
