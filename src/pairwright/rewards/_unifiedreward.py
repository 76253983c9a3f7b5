"""UnifiedReward's models in the process: ask about one picture, read the numbers in the answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pairwright import runtime, state_dicts, weights
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.rewards import _batches, _qwen2_vl

SHOWN = 80
"""Letters of an answer that a reason quotes."""
_NUMBER = r"\s*([1-5](?:\.\d+)?)"
"""The published expression; what follows it must not go on with the number, or a 10 would be read as 1."""


@dataclass(frozen=True)
class UnifiedReward:
    """Scores a picture with its prompt: one column for each number that the question asks for, 1 to 5."""

    network: Any
    processor: _qwen2_vl.Processor
    question: Callable[[str], str]
    """What is said to the model, of the prompt's text."""
    labels: tuple[str, ...]
    """What stands before each number in the answer, in the order of the columns."""
    columns: tuple[Column, ...]
    longest: int
    """Tokens of an answer at most."""
    device: torch.device
    batch_size: int
    loaded: str
    """What the weights are: the hub's commit where they come from there."""

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Row]:
        """One row per picture, in order; see :class:`pairwright.protocols.Reward`."""
        return _batches.score(pictures, prompts, self.batch_size, self._rows)

    def _rows(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        return _qwen2_vl.scored(images, texts, _qwen2_vl.reserved(self.processor.tokenizer), self._read)

    def _read(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        return [row(answer, self.labels, whole=whole) for answer, whole in self.answers(images, texts)]

    @torch.inference_mode()
    def answers(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[tuple[str, bool]]:
        """The model's words about each picture, the likeliest at every step, and whether it came to an end.

        The checkpoint's own settings decide when an answer ends and how much repeating costs (the published code samples
        with them at a temperature of a millionth, which is the same choice).
        """
        inputs = _qwen2_vl.on(self.processor(images, [self.question(text) for text in texts], padding="left"), self.device)
        settings = self.network.generation_config
        spent = inputs["input_ids"].shape[1]
        made = self.network.generate(
            **inputs,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            logits_processor=[_Repetition(settings.repetition_penalty or 1.0, self.processor.tokenizer.pad_token_id)],
            pad_token_id=self.processor.tokenizer.pad_token_id,
            max_new_tokens=self.longest,
        )[:, spent:]
        ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
        said = self.processor.tokenizer.batch_decode(made, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return [(words, any(int(token) in ends for token in tokens)) for words, tokens in zip(said, made, strict=True)]


class _Repetition:
    """transformers' penalty for tokens that were there before, without penalising what fills up shorter prompts.

    The filling is one of the tokens that end an answer: penalised, an answer would depend on its neighbours' length.
    """

    def __init__(self, penalty: float, filling: int) -> None:
        self.penalty = penalty
        self.filling = filling

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """New scores ``[b, vocabulary]`` for the step after ``tokens [b, n]``."""
        before = scores.gather(1, tokens)
        after = scores.scatter(1, tokens, torch.where(before < 0, before * self.penalty, before / self.penalty))
        after[:, self.filling] = scores[:, self.filling]
        return after


def row(answer: str, labels: Sequence[str], *, whole: bool = True) -> Row:
    """The number after each label; :class:`Unscored` where one is missing, off the scale, or said in two ways."""
    found = []
    for label in labels:
        numbers = {float(each) for each in re.findall(rf"{re.escape(label)}:{_NUMBER}(?![\d.]*\d)", answer)}
        if len(numbers) != 1 or max(numbers) > 5:
            fault = f"{len(numbers)} different numbers" if len(numbers) > 1 else "no number from 1 to 5"
            return Unscored(f"{fault} after {label!r} in the {'answer' if whole else 'cut answer'}: {_beginning(answer)}")
        found.append(numbers.pop())
    return tuple(found)


def _beginning(answer: str) -> str:
    plain = " ".join(answer.split())
    return repr(plain if len(plain) <= SHOWN else f"{plain[:SHOWN]}...")


def load(
    model: str,
    question: Callable[[str], str],
    labels: tuple[str, ...],
    columns: tuple[Column, ...],
    *,
    longest: int,
    dtype: runtime.Dtype,
    device: str,
    batch_size: int,
) -> UnifiedReward:
    """A model of Qwen2.5-VL's kind with its question.

    Raises:
        pairwright.weights.WeightsError: weights that are not there or do not fit, with the keys named.
        ValueError: no token may be said.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    if longest < 1:
        raise ValueError(f"max_tokens must be at least 1, got {longest}")
    where = runtime.device(device)
    folder = weights.locate(model, patterns=_qwen2_vl.WEIGHT_FILES)
    _qwen2_vl.configuration(Qwen2_5_VLConfig, folder)
    network = state_dicts.pretrained(Qwen2_5_VLForConditionalGeneration, folder, runtime.dtype(dtype))
    processor = _qwen2_vl.processor(folder)
    # These repositories have been changed without notice: what answered is part of what it said.
    loaded = str(folder) if weights.is_local(model) else weights.identity(model)
    logging.getLogger(__name__).info("UnifiedReward: %s", loaded)
    network = network.to(where).requires_grad_(requires_grad=False)
    return UnifiedReward(network, processor, question, labels, columns, longest, where, batch_size, loaded)
