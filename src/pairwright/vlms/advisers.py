"""Critics and instructors out of a model in this process: the template's question, its words, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from pairwright import images
from pairwright.advice import heat, reading
from pairwright.advice.asking import Template
from pairwright.records import Critique, Failed, Instruction, Picture, Prompt
from pairwright.vlms.asking import Question, Speaker


@dataclass(frozen=True)
class Critic:
    """Asks a model what is wrong; see :class:`pairwright.protocols.Critic`."""

    name: str
    """As it stands in a pair's lineage."""
    speaker: Speaker
    template: Template
    side: int
    """Longer sides are reduced to so many pixels."""
    max_tokens: int
    batch_size: int

    def critique(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> list[Critique | Failed]:
        """One critique per picture, in order; greedy, so that the same question has the same answer to rounding."""
        asked: list[Question | Failed] = []
        for picture, prompt in zip(pictures, prompts, strict=True):
            seen = _seen(picture, self.side)
            system = self.template.system.strip()
            asked.append(seen if isinstance(seen, Failed) else Question(self.template.of_critic(prompt.text), (seen,), system))
        return [self._read(each) for each in _answers(self.speaker, asked, self.max_tokens, self.batch_size)]

    def _read(self, answer: str | Failed) -> Critique | Failed:
        said = answer if isinstance(answer, Failed) else reading.critique(answer)
        made_by = {"critic": self.name, "model": self.speaker.loaded, "template": self.template.name}
        return said if isinstance(said, Failed) else Critique(said, made_by=made_by)


@dataclass(frozen=True)
class Instructor:
    """Asks a model what to change; see :class:`pairwright.protocols.Instructor`."""

    name: str
    """As it stands in a pair's lineage."""
    speaker: Speaker
    template: Template
    side: int
    """Longer sides are reduced to so many pixels."""
    max_tokens: int
    batch_size: int

    def instruct(
        self, pictures: Sequence[Picture], prompts: Sequence[Prompt], critiques: Sequence[Critique | None]
    ) -> list[Instruction | Failed]:
        """One instruction per picture, in order. A critique without a fault asks nothing; its heat maps are shown as pictures."""
        asked = [self._question(*each) for each in zip(pictures, prompts, critiques, strict=True)]
        answers = _answers(self.speaker, asked, self.max_tokens, self.batch_size)
        return [self._read(answer, alone=critique is None) for answer, critique in zip(answers, critiques, strict=True)]

    def _question(self, picture: Picture, prompt: Prompt, critique: Critique | None) -> Question | Failed:
        if critique is not None and critique.text == reading.NOTHING:
            return Failed(reading.NOTHING)
        seen = _seen(picture, self.side)
        if isinstance(seen, Failed):
            return seen
        maps = [heat.shown(seen, each) for each in critique.maps.values()] if critique else []
        return Question(self.template.of_instructor(prompt.text, critique), (seen, *maps), self.template.system.strip())

    def _read(self, answer: str | Failed, *, alone: bool) -> Instruction | Failed:
        said = answer if isinstance(answer, Failed) else reading.instruction(answer)
        made_by = {"instructor": self.name, "model": self.speaker.loaded, "template": self.template.name}
        return said if isinstance(said, Failed) else Instruction(said, made_by | {"steps": "one" if alone else "two"})


def _seen(picture: Picture, side: int) -> Image.Image | Failed:
    try:
        return images.at_most(picture.image, side)
    except images.DECODING as error:
        return Failed(images.undecodable(error))


def _answers(speaker: Speaker, asked: Sequence[Question | Failed], longest: int, batch: int) -> list[str | Failed]:
    answers = iter(speaker.answers([each for each in asked if isinstance(each, Question)], longest, batch))
    return [each if isinstance(each, Failed) else next(answers) for each in asked]
