"""A second, plain rendering of DeQA-Score in NumPy and float64, from the published description of mPLUG-Owl2.

Ye et al. 2024, arXiv 2311.04257. One picture at a time, one token after the other where weights are of two kinds, every
attention as a full table. It shares no code with the scorer.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from tests.miniatures import deqa as sizes
from tests.miniatures.plain_qwen import attend, gated, linear

State = dict[str, np.ndarray]

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def prepared(image: Image.Image) -> np.ndarray:
    """``[3, side, side]``, normalised: the whole square with the mean colour around the picture, then resized."""
    longest = max(image.size)
    whole = Image.new("RGB", (longest, longest), (122, 116, 104))
    whole.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    side = sizes.SIDE * sizes.PATCH
    pixels = np.asarray(whole.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    return np.asarray((pixels - MEAN) / DEVIATION).transpose(2, 0, 1)


def tokenize(text: str) -> list[int]:
    """Of each word the longest beginning that is a piece, then letters, then bytes: the miniature has no other pieces."""
    numbers = {piece: index for index, (piece, _, _) in enumerate(sizes.pieces())}
    result = []
    for word in text.split(" "):
        left = sizes.BLANK + word
        length = next(length for length in range(len(left), 0, -1) if left[:length] in numbers)
        result.append(numbers[left[:length]])
        for letter in left[length:]:
            result += [numbers[letter]] if letter in numbers else [numbers[f"<0x{byte:02X}>"] for byte in letter.encode()]
    return result


def norm(x: np.ndarray, state: State, name: str, eps: float) -> np.ndarray:
    """LayerNorm."""
    centred = x - x.mean(-1, keepdims=True)
    result: np.ndarray = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * state[f"{name}.weight"]
    return result + state[f"{name}.bias"]


def look(query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int) -> np.ndarray:
    """Attention of everything to everything, without positions."""
    width = query.shape[1] // heads
    result = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[:, part] @ key[:, part].T / math.sqrt(width)
        shares = np.exp(scores - scores.max(1, keepdims=True))
        result.append(shares / shares.sum(1, keepdims=True) @ value[:, part])
    return np.concatenate(result, axis=1)


def see(pixels: np.ndarray, state: State) -> np.ndarray:
    """The picture encoder's states ``[n, d]``."""
    name, size = "model.vision_model", sizes.PATCH
    kernel = state[f"{name}.embeddings.patch_embed.weight"].reshape(sizes.SIGHT, -1)
    tokens = [state[f"{name}.embeddings.cls_token"][0, 0]]
    for row in range(sizes.SIDE):
        for column in range(sizes.SIDE):
            tokens.append(kernel @ pixels[:, row * size : (row + 1) * size, column * size : (column + 1) * size].reshape(-1))
    x = np.stack(tokens) + state[f"{name}.embeddings.position_embedding"][0]
    x = norm(x, state, f"{name}.embeddings.pre_layernorm", sizes.EPS)
    for layer in range(sizes.DEPTH):
        block = f"{name}.encoder.layers.{layer}"
        mixed = linear(norm(x, state, f"{block}.input_layernorm", sizes.EPS), state, f"{block}.self_attn.query_key_value")
        # Head by head: its queries, its keys, its values.
        parts = mixed.reshape(len(x), sizes.SIGHT_HEADS, 3, -1)
        query, key, value = (parts[:, :, kind].reshape(len(x), -1) for kind in range(3))
        x = x + linear(look(query, key, value, sizes.SIGHT_HEADS), state, f"{block}.self_attn.dense")
        inner = linear(norm(x, state, f"{block}.post_attention_layernorm", sizes.EPS), state, f"{block}.mlp.fc1")
        x = x + linear(inner / (1 + np.exp(-1.702 * inner)), state, f"{block}.mlp.fc2")
    return norm(x, state, f"{name}.post_layernorm", sizes.EPS)


def abstract(seen: np.ndarray, state: State) -> np.ndarray:
    """What the language model is given of the picture, ``[queries + 1, hidden]``."""
    name = "model.visual_abstractor"
    x = state[f"{name}.query_embeds"][0]
    for layer in range(sizes.LOOKS):
        block = f"{name}.encoder.layers.{layer}.crossattention"
        places = [state[f"{block}.attention.{kind}_pos_embed"] for kind in "qk"]
        x = norm(x, state, f"{block}.norm1", 1e-5)
        shown = np.concatenate([x, norm(seen, state, f"{block}.normk", 1e-5)])
        query = linear(x + places[0], state, f"{block}.attention.query")
        key = linear(shown + np.concatenate(places), state, f"{block}.attention.key")
        mixed = look(query, key, linear(shown, state, f"{block}.attention.value"), sizes.LOOK_HEADS)
        x = x + linear(mixed, state, f"{block}.output.out_proj")
        inner = norm(x, state, f"{block}.output.norm2", 1e-5)
        gate = linear(inner, state, f"{block}.output.mlp.w1")
        inner = gate / (1 + np.exp(-gate)) * linear(inner, state, f"{block}.output.mlp.w3")
        x = x + linear(norm(inner, state, f"{block}.output.mlp.ffn_ln", sizes.EPS), state, f"{block}.output.mlp.w2")
    return np.concatenate([linear(x, state, f"{name}.visual_fc"), state[f"{name}.vit_eos"][0]])


def read(x: np.ndarray, ways: list[int], state: State) -> np.ndarray:
    """LLaMA's last hidden states ``[n, hidden]``; ``ways`` says of each token which of the two weights are its own."""
    half = sizes.HIDDEN // sizes.HEADS // 2
    turns = np.arange(len(x))[:, None] * sizes.THETA ** (-np.arange(half) / half)
    before = np.tril(np.ones((len(x), len(x)), dtype=bool))
    for layer in range(sizes.LAYERS):
        block = f"model.layers.{layer}"
        inner = rms_norm(x, [state[f"{block}.input_layernorm.multiway.{way}.weight"] for way in ways])
        key, value = (
            np.stack(
                [
                    state[f"{block}.self_attn.{part}_proj.multiway.{way}.weight"] @ each
                    for way, each in zip(ways, inner, strict=True)
                ]
            )
            for part in "kv"
        )
        query = linear(inner, state, f"{block}.self_attn.q_proj")
        x = x + linear(attend(query, key, value, turns, before, sizes.HEADS, sizes.HEADS), state, f"{block}.self_attn.o_proj")
        inner = rms_norm(x, [state[f"{block}.post_attention_layernorm.multiway.{way}.weight"] for way in ways])
        x = x + gated(inner, state, f"{block}.mlp")
    return rms_norm(x, [state["model.norm.weight"]] * len(x))


def rms_norm(x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Divided by the root of the mean square, each token times its own weights."""
    return np.stack([each / math.sqrt((each**2).mean() + sizes.RMS_EPS) * own for each, own in zip(x, weights, strict=True)])


def logits(image: Image.Image, state: State, *, eos: int = 1) -> np.ndarray:
    """Of the five words, ``[5]``. The trap: with ``eos=0`` the picture's last token counts as the sentence's."""
    picture = abstract(see(prepared(image), state), state)
    before, after = sizes.PROMPT.split("<|image|>")
    table = state["model.embed_tokens.weight"]
    first, last = table[[sizes.CONTROL.index("<s>"), *tokenize(before)]], table[tokenize(after)]
    ways = [0] * len(first) + [1] * (len(picture) - 1) + [eos] + [0] * len(last)
    final = read(np.concatenate([first, picture, last]), ways, state)[-1]
    words = [tokenize(word)[0] for word in sizes.LEVELS]
    result: np.ndarray = state["lm_head.weight"][words] @ final
    return result


def score(image: Image.Image, state: State, *, eos: int = 1) -> float:
    """The published score."""
    shares = np.exp(logits(image, state, eos=eos))
    return float(shares @ (5, 4, 3, 2, 1) / shares.sum())
