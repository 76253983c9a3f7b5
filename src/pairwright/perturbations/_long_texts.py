"""Texts of any length for Stable Diffusion: what CLIP cannot read at once is read in pieces, and nothing is cut.

CLIP reads 77 tokens, two of them its own. A longer text is split after every 75, each piece is encoded by itself between the
two, and the states of all pieces follow one another: ``[77 k, d]``, which cross-attention reads as it reads 77. A text of one
piece gives what the pipeline itself gives. Where a vector stands for the whole text (SDXL), it is the first piece's. Guidance
needs the empty text at the same length: its one piece as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pairwright.perturbations._pipelines import Texts


class LongTexts:
    """What a pipeline of SD-1.x or SDXL is told of texts, as keywords of its call."""

    def __init__(self, pipe: Any, device: torch.device) -> None:
        self._device = device
        pairs = [(pipe.tokenizer, pipe.text_encoder)]
        self._zeros = False
        if getattr(pipe, "text_encoder_2", None) is not None:
            pairs.append((pipe.tokenizer_2, pipe.text_encoder_2))
            self._zeros = bool(pipe.config.get("force_zeros_for_empty_prompt", True))
        self._encoders = pairs
        self._texts = Texts(self._encode)

    def count(self, text: str) -> int:
        """Of how many pieces a text is: at least 1."""
        return max(len(pieces(tokenizer, text)[0]) for tokenizer, _ in self._encoders)

    def keywords(self, texts: Sequence[str], *, guided: bool) -> dict[str, Tensor]:
        """``prompt_embeds`` ``[b, 77 k, d]``, of SDXL ``pooled_prompt_embeds`` ``[b, d]`` too, and with guidance their negatives.

        Args:
            texts: all of one :meth:`count`.
            guided: whether the empty text is wanted as well.
        """
        names = ("prompt_embeds", "pooled_prompt_embeds")[: len(self._encoders)]
        found = dict(zip(names, self._texts(texts), strict=True))
        if not guided:
            return found
        empty = dict(zip(names, self._texts([""]), strict=True))
        times = found["prompt_embeds"].shape[1] // empty["prompt_embeds"].shape[1]
        empty["prompt_embeds"] = empty["prompt_embeds"].repeat(1, times, 1)
        if self._zeros:
            empty = {name: torch.zeros_like(each) for name, each in empty.items()}
        return found | {f"negative_{name}": each.expand_as(found[name]) for name, each in empty.items()}

    @torch.inference_mode()
    def _encode(self, text: str) -> tuple[Tensor, ...]:
        outputs = [self._read(tokenizer, encoder, text) for tokenizer, encoder in self._encoders]
        if len(outputs) == 1:
            return (outputs[0][0].flatten(0, 1),)
        # SDXL's UNet was trained on both encoders' last states but one, and on the second one's projection.
        states = torch.cat([each.hidden_states[-2] for each in outputs], dim=-1)
        return states.flatten(0, 1), outputs[1].text_embeds[0]

    def _read(self, tokenizer: Any, encoder: Any, text: str) -> Any:
        tokens, own = pieces(tokenizer, text)
        attention = own.to(self._device) if getattr(encoder.config, "use_attention_mask", False) else None
        return encoder(tokens.to(self._device), attention_mask=attention, output_hidden_states=len(self._encoders) > 1)


def pieces(tokenizer: Any, text: str) -> tuple[Tensor, Tensor]:
    """The tokens of each piece, and 1 where they are not there to fill it up: both ``int64 [k, 77]``."""
    tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    whole = tokenizer.model_max_length
    room = whole - 2
    rows, marks = [], []
    for start in range(0, max(len(tokens), 1), room):
        row = [tokenizer.bos_token_id, *tokens[start : start + room], tokenizer.eos_token_id]
        marks.append([1] * len(row) + [0] * (whole - len(row)))
        rows.append(row + [tokenizer.pad_token_id] * (whole - len(row)))
    return torch.tensor(rows), torch.tensor(marks)
