"""UnifiedReward's models in the process: ask about one picture, read the numbers in the answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from pairwright import runtime, weights
from pairwright.protocols import Row
from pairwright.records import Column, Picture, Prompt, Unscored
from pairwright.rewards import _asked, _batches
from pairwright.vlms import asking, qwen2_5_vl, qwen2_vl

SHOWN = 80
"""Letters of an answer that a reason quotes."""
_NUMBER = r"\s*([1-5](?:\.\d+)?)"
"""The published expression; what follows it must not go on with the number, or a 10 would be read as 1."""


@dataclass(frozen=True)
class UnifiedReward:
    """Scores a picture with its prompt: one column for each number that the question asks for, 1 to 5."""

    network: Any
    processor: qwen2_vl.Processor
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
        return _asked.scored(images, texts, asking.reserved(self.processor.tokenizer), self._read)

    def _read(self, images: list[Image.Image], texts: list[str]) -> list[Row]:
        return [row(answer, self.labels, whole=whole) for answer, whole in self.answers(images, texts)]

    def answers(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[tuple[str, bool]]:
        """The model's words about each picture, the likeliest at every step, and whether it came to an end.

        The checkpoint's own settings decide when an answer ends and how much repeating costs (the published code samples
        with them at a temperature of a millionth, which is the same choice).
        """
        inputs = self.processor(images, [self.question(text) for text in texts], padding="left")
        return asking.answered(self.network, self.processor.tokenizer, inputs, self.longest, self.device)


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
    if longest < 1:
        raise ValueError(f"max_tokens must be at least 1, got {longest}")
    where = runtime.device(device)
    network, processor = qwen2_5_vl.parts(model, dtype, where)
    # These repositories have been changed without notice: what answered is part of what it said.
    loaded = str(weights.locate(model)) if weights.is_local(model) else weights.identity(model)
    logging.getLogger(__name__).info("UnifiedReward: %s", loaded)
    return UnifiedReward(network, processor, question, labels, columns, longest, where, batch_size, loaded)
