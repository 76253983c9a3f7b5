"""A second CLIP, written down plainly in float64 NumPy from the papers, on OpenAI's key names: what ports are held against."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np
from tokenizers.pre_tokenizers import ByteLevel

Array = np.ndarray
State = Mapping[str, Array]
Activation = Callable[[Array], Array]

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def gelu(x: Array) -> Array:
    """Exact, by the error function: open_clip's own models."""
    result: Array = x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return result


def quick_gelu(x: Array) -> Array:
    """OpenAI's."""
    result: Array = x / (1 + np.exp(-1.702 * x))
    return result


def see(pixels: Array, state: State, heads: int, activation: Activation, name: str = "visual.") -> Array:
    """``[3, s, s]``, normalised -> the class token after the last layer, before any projection."""
    kernel = state[f"{name}conv1.weight"]
    size, side = kernel.shape[-1], pixels.shape[-1] // kernel.shape[-1]
    tokens = [state[f"{name}class_embedding"]]
    for row in range(side):
        for column in range(side):
            patch = pixels[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
            tokens.append((kernel * patch).sum(axis=(1, 2, 3)))
    x = norm(np.stack(tokens) + state[f"{name}positional_embedding"], state, f"{name}ln_pre")
    x = layers(x, state, f"{name}transformer", heads, activation, causal=False)
    return norm(x[0], state, f"{name}ln_post")


def read(tokens: list[int], state: State, heads: int, activation: Activation) -> Array:
    """Token numbers -> the projected state of the end token, the largest number there is."""
    x = state["token_embedding.weight"][tokens] + state["positional_embedding"][: len(tokens)]
    x = norm(layers(x, state, "transformer", heads, activation, causal=True), state, "ln_final")
    result: Array = x[int(np.argmax(tokens))] @ state["text_projection"]
    return result


def layers(x: Array, state: State, name: str, heads: int, activation: Activation, *, causal: bool) -> Array:
    """Pre-norm transformer blocks."""
    count = 1 + max(int(found[1]) for key in state if (found := re.match(rf"{re.escape(name)}\.resblocks\.(\d+)\.", key)))
    hidden = np.triu(np.ones((len(x), len(x)), dtype=bool), 1) if causal else np.zeros((len(x), len(x)), dtype=bool)
    for layer in range(count):
        block = f"{name}.resblocks.{layer}"
        inner = norm(x, state, f"{block}.ln_1")
        projected = inner @ state[f"{block}.attn.in_proj_weight"].T + state[f"{block}.attn.in_proj_bias"]
        width = x.shape[1] // heads
        mixed = []
        for head in range(heads):
            query, key, value = (projected[:, part * x.shape[1] + head * width :][:, :width] for part in range(3))
            scores = np.where(hidden, -np.inf, query @ key.T / math.sqrt(width))
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            mixed.append(shares / shares.sum(axis=1, keepdims=True) @ value)
        x = x + linear(np.concatenate(mixed, axis=1), state, f"{block}.attn.out_proj")
        inner = activation(linear(norm(x, state, f"{block}.ln_2"), state, f"{block}.mlp.c_fc"))
        x = x + linear(inner, state, f"{block}.mlp.c_proj")
    return x


def norm(x: Array, state: State, name: str) -> Array:
    """Layer normalisation, epsilon 1e-5."""
    centred = x - x.mean(axis=-1, keepdims=True)
    result: Array = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return result * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x: Array, state: State, name: str) -> Array:
    """A linear layer."""
    result: Array = x @ state[f"{name}.weight"].T + state[f"{name}.bias"]
    return result


def cosine(one: Array, other: Array) -> float:
    """Of two vectors of any length."""
    return float(one @ other / math.sqrt((one @ one) * (other @ other)))


def tokens(text: str) -> list[int]:
    """Numbers of a clean text in lower-case ASCII, for the miniature tokenizer: a letter is a token; 77 at most."""
    letters = sorted(ByteLevel.alphabet())
    words = re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+", text)
    numbers = [letters.index(letter) + (256 if last else 0) for word in words for letter, last in _ends(word)]
    return [512, *numbers[:75], 513]


def _ends(word: str) -> list[tuple[str, bool]]:
    return [(letter, place == len(word) - 1) for place, letter in enumerate(word)]


def normalised(pixels: Array) -> Array:
    """``[h, w, 3]`` in 0..1 -> ``[3, h, w]`` less CLIP's mean, over its deviation."""
    result: Array = ((pixels - MEAN) / STD).transpose(2, 0, 1)
    return result


def bicubic(pixels: Array, height: int, width: int) -> Array:
    """``[h, w, 3]`` -> ``[height, width, 3]``: Keys' cubic with a = -0.5, as wide as the reduction asks for; nothing clamped."""
    down = _weights(pixels.shape[0], height)
    across = _weights(pixels.shape[1], width)
    return np.stack([down @ pixels[..., channel] @ across.T for channel in range(3)], axis=-1)


def _weights(before: int, after: int) -> Array:
    scale = before / after
    stretch = max(scale, 1.0)
    result = np.zeros((after, before))
    for place in range(after):
        distances = np.abs((np.arange(before) + 0.5 - (place + 0.5) * scale) / stretch)
        near = 1.5 * distances**3 - 2.5 * distances**2 + 1
        far = -0.5 * distances**3 + 2.5 * distances**2 - 4 * distances + 2
        row = np.where(distances <= 1, near, np.where(distances < 2, far, 0))
        result[place] = row / row.sum()
    return result
