"""A model is shown pictures, asked in words, and answers in words: the likeliest token at every step, until it ends or is cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pairwright.records import Failed


@dataclass(frozen=True)
class Question:
    """What is said to a model, once."""

    text: str
    """After the pictures."""
    images: tuple[Image.Image, ...]
    """RGB, any sizes, in order."""
    system: str = ""
    """The system message; where there is none, the model's own chat template decides."""


@dataclass(frozen=True)
class Speaker:
    """A model that answers."""

    network: Any
    tokenizer: Any
    read: Callable[[Sequence[Question]], Mapping[str, Tensor]]
    """Its inputs by keyword, shorter conversations filled up on the left."""
    device: torch.device
    loaded: str
    """What the weights are: the hub's commit where they come from there."""
    reserved: frozenset[str]
    """What no question may spell; see :func:`reserved`."""
    most_images: int = 1
    """Pictures that one question may have."""
    longest_side: float = float("inf")
    """The longer side of a picture is at most so many times the shorter one."""

    def answers(self, questions: Sequence[Question], longest: int, batch: int) -> list[str | Failed]:
        """One answer per question, in order; what must not be asked, and an answer that was cut, are failures.

        Args:
            questions: each with its pictures.
            longest: tokens of an answer at most.
            batch: questions per forward.
        """
        results: list[str | Failed] = [Failed(self._refused(each)) for each in questions]
        places = [place for place, each in enumerate(questions) if not self._refused(each)]
        for some in together(questions, places, batch):
            inputs = self.read([questions[place] for place in some])
            said = answered(self.network, self.tokenizer, inputs, longest, self.device)
            for place, (words, whole) in zip(some, said, strict=True):
                results[place] = words if whole else Failed(f"the answer was cut after {longest} tokens")
        return results

    def _refused(self, question: Question) -> str:
        if len(question.images) > self.most_images:
            return f"{len(question.images)} pictures at once: this model is shown {self.most_images}"
        return refused(question, self.reserved, self.longest_side)


def together(questions: Sequence[Question], places: Sequence[int], batch: int) -> list[list[int]]:
    """The places of questions that share a forward, at most ``batch`` of them: those with equally many pictures, in order.

    Llama 3.2 Vision fills up a question that has fewer pictures than its neighbours, and is not blind to what fills it up.
    """
    counts = sorted({len(questions[place].images) for place in places})
    alike = [[place for place in places if len(questions[place].images) == count] for count in counts]
    return [group[start : start + batch] for group in alike for start in range(0, len(group), batch)]


def reserved(tokenizer: Any) -> frozenset[str]:
    """The control tokens: a prompt that spells one would end its turn, add a picture, or take the answer's place."""
    return frozenset(str(each.content) for each in tokenizer.added_tokens_decoder.values() if each.special)


def refused(question: Question, reserved: frozenset[str], longest_side: float) -> str:
    """Why a question must not be put to a model; ``""`` where it may."""
    for image in question.images:
        if max(image.size) > longest_side * min(image.size):
            return f"{image.width} x {image.height}: one side is more than {longest_side:g} times the other"
    spelled = sorted(each for each in reserved if each in question.text)
    return f"the prompt spells the control token {spelled[0]}" if spelled else ""


@torch.inference_mode()
def answered(
    network: Any, tokenizer: Any, inputs: Mapping[str, Tensor], longest: int, device: torch.device
) -> list[tuple[str, bool]]:
    """The model's words on each row of its inputs, and whether they came to an end.

    The checkpoint's own settings decide when an answer ends and how much repeating costs; nothing is drawn at random.
    """
    settings = network.generation_config
    spent = inputs["input_ids"].shape[1]
    made = network.generate(
        **on(inputs, device),
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        logits_processor=[Repetition(settings.repetition_penalty or 1.0, tokenizer.pad_token_id)],
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=longest,
    )[:, spent:]
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    said = tokenizer.batch_decode(made, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [(words, any(int(token) in ends for token in tokens)) for words, tokens in zip(said, made, strict=True)]


class Repetition:
    """transformers' penalty for tokens that were there before, without penalising what fills up shorter prompts.

    The filling is one of the tokens that end an answer: penalised, an answer would depend on its neighbours' length.
    """

    def __init__(self, penalty: float, filling: int) -> None:
        self.penalty = penalty
        self.filling = filling

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """New scores ``[b, vocabulary]`` for the step after ``tokens [b, n]``."""
        # The picture's token of Llama 3.2 Vision can be read and not be said: it has no score.
        tokens = torch.where(tokens < scores.shape[1], tokens, self.filling)
        before = scores.gather(1, tokens)
        after = scores.scatter(1, tokens, torch.where(before < 0, before * self.penalty, before / self.penalty))
        after[:, self.filling] = scores[:, self.filling]
        return after


def on(inputs: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The same inputs on a device."""
    return {name: each.to(device) for name, each in inputs.items()}
