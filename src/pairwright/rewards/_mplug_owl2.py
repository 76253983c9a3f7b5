"""mPLUG-Owl2 as DeQA-Score uses it: one picture and one fixed sentence in, the words that may follow it out.

Ye et al. 2024, "mPLUG-Owl2: Revolutionizing Multi-modal Large Language Model with Modality Collaboration", arXiv 2311.04257.
A CLIP ViT at 448 pixels; an abstractor, whose 64 queries look at it six times; and LLaMA-2 **with two ways**: keys,
values and both norms of a layer have one set of weights for the sentence's tokens and another for the picture's (the paper's
"modality-adaptive module"), while queries, outputs and the gated layers are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pairwright import state_dicts
from pairwright.rewards._mplug_owl2_files import HEAD, WORDS, AbstractorSizes, Sizes, VisionSizes, configuration, tensors
from pairwright.weights import WeightsError


class TwoWay(nn.ModuleList):
    """Two modules of a kind: the first for the sentence's tokens, the second for the picture's."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__([make(), make()])

    def forward(self, x: Tensor, picture: slice) -> Tensor:
        """``[b, n, d]``, where the tokens in ``picture`` are the picture's."""
        parts = ((0, x[:, : picture.start]), (1, x[:, picture]), (0, x[:, picture.stop :]))
        return torch.cat([self[way](part) for way, part in parts], dim=1)


class RMSNorm(nn.Module):
    """LLaMA's norm: the mean square in float32, the weight in the network's own format."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """``[..., d]``."""
        wide = x.float()
        normed: Tensor = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)


class VisionLayer(nn.Module):
    """A block of CLIP's: pre-norm, its queries, keys and values interleaved by head in one matrix."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        width, self.heads = sizes.hidden_size, sizes.num_attention_heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dense = nn.Linear(width, width)
        self.input_layernorm = nn.LayerNorm(width, sizes.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(width, sizes.layer_norm_eps)
        self.fc1 = nn.Linear(width, sizes.intermediate_size)
        self.fc2 = nn.Linear(sizes.intermediate_size, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, n, d]``."""
        mixed = self.query_key_value(self.input_layernorm(x)).reshape(*x.shape[:2], self.heads, 3, -1)
        query, key, value = mixed.permute(3, 0, 2, 1, 4).unbind()
        x = x + self.dense(_joined(functional.scaled_dot_product_attention(query, key, value)))
        inner = self.fc1(self.post_attention_layernorm(x))
        result: Tensor = x + self.fc2(inner * torch.sigmoid(1.702 * inner))
        return result


class Vision(nn.Module):
    """CLIP's picture encoder; every token's last state after the last norm."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        width = sizes.hidden_size
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.position_embedding = nn.Parameter(torch.empty(1, sizes.tokens, width))
        self.patch_embed = nn.Conv2d(3, width, sizes.patch_size, sizes.patch_size, bias=False)
        self.pre_layernorm = nn.LayerNorm(width, sizes.layer_norm_eps)
        self.layers = nn.ModuleList([VisionLayer(sizes) for _ in range(sizes.num_hidden_layers)])
        self.post_layernorm = nn.LayerNorm(width, sizes.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        """``[b, 3, h, w] -> [b, n, d]``."""
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(pixels), -1, -1), patches], dim=1)
        x = self.pre_layernorm(x + self.position_embedding)
        for layer in self.layers:
            x = layer(x)
        result: Tensor = self.post_layernorm(x)
        return result


class AbstractorLayer(nn.Module):
    """Queries that look at themselves and at the picture. What is carried on is the normed query, not the query."""

    def __init__(self, sizes: AbstractorSizes, seen: VisionSizes) -> None:
        super().__init__()
        width, self.heads = sizes.hidden_size, sizes.num_attention_heads
        self.norm1, self.norm2, self.normk = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(seen.hidden_size)
        self.q_pos_embed = nn.Parameter(torch.empty(sizes.num_learnable_queries, width))
        self.k_pos_embed = nn.Parameter(torch.empty(seen.tokens, width))
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out_proj = nn.Linear(width, width)
        self.w1, self.w3 = (nn.Linear(width, sizes.intermediate_size) for _ in range(2))
        self.ffn_ln = nn.LayerNorm(sizes.intermediate_size, sizes.layer_norm_eps)
        self.w2 = nn.Linear(sizes.intermediate_size, width)

    def forward(self, queries: Tensor, seen: Tensor) -> Tensor:
        """``[b, q, d]`` and ``[b, n, d] -> [b, q, d]``."""
        x = self.norm1(queries)
        shown = torch.cat([x, self.normk(seen)], dim=1)
        places = torch.cat([self.q_pos_embed, self.k_pos_embed])
        query, key, value = (
            _split(each, self.heads) for each in (self.query(x + self.q_pos_embed), self.key(shown + places), self.value(shown))
        )
        x = x + self.out_proj(_joined(functional.scaled_dot_product_attention(query, key, value)))
        inner = self.norm2(x)
        result: Tensor = x + self.w2(self.ffn_ln(functional.silu(self.w1(inner)) * self.w3(inner)))
        return result


class Abstractor(nn.Module):
    """Makes a fixed number of the language model's tokens of a picture, and one that says that it ends."""

    def __init__(self, sizes: AbstractorSizes, seen: VisionSizes, width: int) -> None:
        super().__init__()
        self.query_embeds = nn.Parameter(torch.empty(1, sizes.num_learnable_queries, sizes.hidden_size))
        self.layers = nn.ModuleList([AbstractorLayer(sizes, seen) for _ in range(sizes.num_hidden_layers)])
        self.visual_fc = nn.Linear(sizes.hidden_size, width)
        self.vit_eos = nn.Parameter(torch.empty(1, 1, width))

    def forward(self, seen: Tensor) -> Tensor:
        """``[b, n, d] -> [b, q + 1, width]``."""
        x = self.query_embeds.expand(len(seen), -1, -1)
        for layer in self.layers:
            x = layer(x, seen)
        return torch.cat([self.visual_fc(x), self.vit_eos.expand(len(seen), -1, -1)], dim=1)


class LanguageLayer(nn.Module):
    """A block of LLaMA's with two ways."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, self.heads = sizes.hidden_size, sizes.num_attention_heads
        self.q_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.k_proj, self.v_proj = (TwoWay(lambda: nn.Linear(width, width, bias=False)) for _ in range(2))
        self.input_layernorm, self.post_attention_layernorm = (TwoWay(lambda: RMSNorm(width, sizes.rms_norm_eps)) for _ in range(2))
        self.gate_proj, self.up_proj = (nn.Linear(width, sizes.intermediate_size, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(sizes.intermediate_size, width, bias=False)

    def forward(self, x: Tensor, picture: slice, turns: Tensor) -> Tensor:
        """``[b, n, d]``; see :class:`TwoWay` and :func:`turned`."""
        inner = self.input_layernorm(x, picture)
        query, key = (turned(_split(each, self.heads), turns) for each in (self.q_proj(inner), self.k_proj(inner, picture)))
        value = _split(self.v_proj(inner, picture), self.heads)
        x = x + self.o_proj(_joined(functional.scaled_dot_product_attention(query, key, value, is_causal=True)))
        inner = self.post_attention_layernorm(x, picture)
        result: Tensor = x + self.down_proj(functional.silu(self.gate_proj(inner)) * self.up_proj(inner))
        return result


class Language(nn.Module):
    """LLaMA-2 with two ways, without its embedding and its head."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.theta, self.planes = sizes.rope_theta, sizes.hidden_size // sizes.num_attention_heads // 2
        self.layers = nn.ModuleList([LanguageLayer(sizes) for _ in range(sizes.num_hidden_layers)])
        self.norm = RMSNorm(sizes.hidden_size, sizes.rms_norm_eps)

    def forward(self, x: Tensor, picture: slice) -> Tensor:
        """The last token's last state, ``[b, d]``; positions count on through the picture."""
        speeds = self.theta ** (-torch.arange(self.planes, dtype=torch.float32, device=x.device) / self.planes)
        turns = torch.arange(x.shape[1], dtype=torch.float32, device=x.device)[:, None] * speeds
        for layer in self.layers:
            x = layer(x, picture, turns)
        result: Tensor = self.norm(x[:, -1])
        return result


class Network(nn.Module):
    """Logits of a few words after a sentence with a picture in it."""

    def __init__(self, sizes: Sizes, before: int, after: int, words: int) -> None:
        super().__init__()
        visual, width = sizes.visual_config, sizes.hidden_size
        self.sizes = sizes
        self.vision = Vision(visual.visual_model)
        self.abstractor = Abstractor(visual.visual_abstractor, visual.visual_model, width)
        self.language = Language(sizes)
        self.before, self.after = (nn.Parameter(torch.empty(1, count, width)) for count in (before, after))
        self.head = nn.Parameter(torch.empty(words, width))

    def forward(self, pixels: Tensor) -> Tensor:
        """``[b, 3, h, w] -> float32 [b, words]``; the head is float32 in a network of any format."""
        seen = self.abstractor(self.vision(pixels))
        before, after = (each.expand(len(pixels), -1, -1) for each in (self.before, self.after))
        picture = slice(before.shape[1], before.shape[1] + seen.shape[1])
        state: Tensor = self.language(torch.cat([before, seen, after], dim=1), picture)
        return state.float() @ self.head.T


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864), in float32: number ``j`` and ``j + d/2`` are one point of a plane.

    Args:
        x: ``[b, heads, n, d]``.
        turns: angles, ``float32 [n, d/2]``.
    """
    first, second = x.float().chunk(2, dim=-1)
    cosine, sine = turns.cos(), turns.sin()
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(x.dtype)


def _split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def build(folder: Path, before: Sequence[int], after: Sequence[int], words: Sequence[int], number: torch.dtype) -> Network:
    """The network in ``number``, its head in float32, in evaluation mode, on the CPU.

    Args:
        folder: in transformers' layout.
        before: the sentence's tokens up to the picture.
        after: those from the picture on.
        words: tokens whose logits are wanted.
        number: number format of everything but the head.

    Raises:
        WeightsError: missing or unexpected keys or other shapes, all of them named.
    """
    with torch.device("meta"):
        network = Network(configuration(folder), len(before), len(after), len(words))
    state = tensors(folder, number)
    state_dicts.complain(str(folder), missing={WORDS, HEAD} - state.keys(), unexpected=())
    table, head = state.pop(WORDS), state.pop(HEAD)
    if max(*before, *after, *words) >= min(len(table), len(head)):
        raise WeightsError(f"{folder}: the tokenizer has more pieces than {WORDS} or {HEAD} has rows")
    # Copies, so that the tables themselves can go.
    state |= {"before": table[list(before)][None].to(number), "after": table[list(after)][None].to(number)}
    state_dicts.fill(network, state | {"head": head[list(words)].float()}, str(folder), assign=True)
    return network.eval()
