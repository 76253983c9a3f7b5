"""A second, plain rendering of Qwen2-VL and Qwen2.5-VL in NumPy and float64, from their published description.

Wang et al. 2024, arXiv 2409.12191; Bai et al. 2025, arXiv 2502.13923. One conversation at a time, patches in the order of
their rows, every attention as a full table. It shares no code with transformers or with the scorers.
"""

from __future__ import annotations

import math
import re

import numpy as np
from PIL import Image

from tests.miniatures import qwen2_vl as sizes

State = dict[str, np.ndarray]

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def tokenize(text: str, added: tuple[str, ...] = ()) -> np.ndarray:
    """Control tokens as they are, everything else one token for each byte of its UTF-8."""
    control = [*sizes.CONTROL, *added]
    result = []
    for part in re.split("(" + "|".join(re.escape(each) for each in control) + ")", text):
        if part in control:
            result.append(len(sizes.LETTERS) + control.index(part))
        else:
            result += [sizes.LETTERS.index(_letter(byte)) for byte in part.encode()]
    return np.array(result)


def _letter(byte: int) -> str:
    # GPT-2's table: printable bytes stand for themselves, the others are counted up from 256.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte) if byte in printable else chr(256 + sum(each not in printable for each in range(byte)))


def resized(image: Image.Image, least: int, most: int) -> np.ndarray:
    """``[3, h, w]``, normalised: sides in proportion, multiples of 28, the area between the limits."""
    width, height = image.size
    sides = [round(each / 28) * 28 for each in (height, width)]
    if sides[0] * sides[1] > most:
        shrink = math.sqrt(height * width / most)
        sides = [max(28, math.floor(each / shrink / 28) * 28) for each in (height, width)]
    elif sides[0] * sides[1] < least:
        grow = math.sqrt(least / (height * width))
        sides = [math.ceil(each * grow / 28) * 28 for each in (height, width)]
    pixels = np.asarray(image.resize((sides[1], sides[0]), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    return np.asarray((pixels - MEAN) / DEVIATION).transpose(2, 0, 1)


def see(pixels: np.ndarray, state: State, *, windows: bool) -> tuple[np.ndarray, tuple[int, int]]:
    """What the language model is given of the picture, ``[n, hidden]``, and the merged grid. With ``windows``: Qwen2.5-VL."""
    size = sizes.PATCH
    rows, columns = pixels.shape[1] // size, pixels.shape[2] // size
    places = [(row, column) for row in range(rows) for column in range(columns)]
    cut = [pixels[:, r * size : (r + 1) * size, c * size : (c + 1) * size] for r, c in places]
    # A picture is a film of two equal frames.
    x = np.stack([np.stack([each, each], axis=1).reshape(-1) for each in cut])
    x = x @ state["visual.patch_embed.proj.weight"].reshape(sizes.SIGHT, -1).T
    turns = _turns_of_patches(places)
    side = sizes.WINDOW // size
    window = np.array([(r // side) * columns + c // side for r, c in places])
    alike = window[:, None] == window[None, :]
    for layer in range(sizes.DEPTH):
        name = f"visual.blocks.{layer}"
        shown = alike if windows and layer not in sizes.FULL else np.ones_like(alike)
        query, key, value = np.split(linear(_norm(x, state, f"{name}.norm1", windows), state, f"{name}.attn.qkv"), 3, axis=1)
        x = x + linear(attend(query, key, value, turns, shown, sizes.SIGHT_HEADS, sizes.SIGHT_HEADS), state, f"{name}.attn.proj")
        x = x + _mlp(_norm(x, state, f"{name}.norm2", windows), state, f"{name}.mlp", windows)
    x = _norm(x, state, "visual.merger.ln_q", windows).reshape(rows // 2, 2, columns // 2, 2, -1)
    x = x.transpose(0, 2, 1, 3, 4).reshape(rows * columns // 4, -1)
    merged = linear(gelu(linear(x, state, "visual.merger.mlp.0")), state, "visual.merger.mlp.2")
    return merged, (rows // 2, columns // 2)


def _turns_of_patches(places: list[tuple[int, int]]) -> np.ndarray:
    quarter = sizes.SIGHT // sizes.SIGHT_HEADS // 4
    speeds = 10000.0 ** (-np.arange(quarter) / quarter)
    return np.array([[*(row * speeds), *(column * speeds)] for row, column in places])


def _norm(x: np.ndarray, state: State, name: str, root: bool) -> np.ndarray:
    if root:
        return rms_norm(x, state[f"{name}.weight"])
    centred = x - x.mean(-1, keepdims=True)
    result: np.ndarray = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * state[f"{name}.weight"]
    return result + state[f"{name}.bias"]


def _mlp(x: np.ndarray, state: State, name: str, gated_: bool) -> np.ndarray:
    if gated_:
        return gated(x, state, name)
    inner = linear(x, state, f"{name}.fc1")
    return linear(inner / (1 + np.exp(-1.702 * inner)), state, f"{name}.fc2")


def three_positions(tokens: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """M-RoPE: time, height and width, ``[3, n]``. After a picture, counting goes on from its longer side."""
    start = int(np.argmax(tokens == sizes.number("<|image_pad|>")))
    rows, columns = grid
    picture = [(start, start + row, start + column) for row in range(rows) for column in range(columns)]
    rest = len(tokens) - start - rows * columns
    after = start + max(rows, columns)
    positions = [(each,) * 3 for each in range(start)] + picture + [(after + each,) * 3 for each in range(rest)]
    return np.array(positions).T


def one_position(tokens: np.ndarray) -> np.ndarray:
    """The same count for all three."""
    return np.tile(np.arange(len(tokens)), (3, 1))


def read(tokens: np.ndarray, seen: np.ndarray, positions: np.ndarray, state: State) -> np.ndarray:
    """The language model's last hidden states ``[n, hidden]``, after its norm."""
    x = state["model.embed_tokens.weight"][tokens].copy()
    x[tokens == sizes.number("<|image_pad|>")] = seen
    half = sizes.HIDDEN // sizes.HEADS // 2
    # Angles are float32 wherever the model runs: at position 900 that is 3e-5 of a turn, and sharp attention shows it.
    speeds = 1 / np.float32(sizes.THETA) ** (np.arange(half, dtype=np.float32) / half)
    axis = np.repeat([0, 1, 2], sizes.SECTIONS)
    turns = (positions[axis].T.astype(np.float32) * speeds).astype(np.float64)
    before = np.tril(np.ones((len(x), len(x)), dtype=bool))
    for layer in range(sizes.LAYERS):
        name = f"model.layers.{layer}"
        inner = rms_norm(x, state[f"{name}.input_layernorm.weight"])
        query, key, value = (linear(inner, state, f"{name}.self_attn.{part}_proj") for part in "qkv")
        x = x + linear(attend(query, key, value, turns, before, sizes.HEADS, sizes.KEY_HEADS), state, f"{name}.self_attn.o_proj")
        x = x + gated(rms_norm(x, state[f"{name}.post_attention_layernorm.weight"]), state, f"{name}.mlp")
    return rms_norm(x, state["model.norm.weight"])


def attend(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, turns: np.ndarray, shown: np.ndarray, heads: int, key_heads: int
) -> np.ndarray:
    """Rotated queries and keys, one head after the other; several heads may share a key."""
    width = query.shape[1] // heads
    result = []
    for head in range(heads):
        shared = head * key_heads // heads
        own, other = slice(head * width, (head + 1) * width), slice(shared * width, (shared + 1) * width)
        scores = rotate(query[:, own], turns) @ rotate(key[:, other], turns).T / math.sqrt(width)
        scores = np.where(shown, scores, -np.inf)
        shares = np.exp(scores - scores.max(1, keepdims=True))
        result.append(shares / shares.sum(1, keepdims=True) @ value[:, other])
    return np.concatenate(result, axis=1)


def rotate(x: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Number ``j`` and number ``j + d/2`` are one point of a plane, turned by ``turns[:, j]``."""
    first, second = np.split(x, 2, axis=1)
    result: np.ndarray = np.concatenate(
        [first * np.cos(turns) - second * np.sin(turns), second * np.cos(turns) + first * np.sin(turns)], axis=1
    )
    return result


def linear(x: np.ndarray, state: State, name: str) -> np.ndarray:
    """``x W^T + b``, without a bias where there is none."""
    result: np.ndarray = x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", np.zeros(1))
    return result


def rms_norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Divided by the root of the mean square."""
    result: np.ndarray = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight
    return result


def gated(x: np.ndarray, state: State, name: str) -> np.ndarray:
    """SwiGLU."""
    gate = linear(x, state, f"{name}.gate_proj")
    return linear(gate / (1 + np.exp(-gate)) * linear(x, state, f"{name}.up_proj"), state, f"{name}.down_proj")


def gelu(x: np.ndarray) -> np.ndarray:
    """The exact one."""
    result: np.ndarray = 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return result
