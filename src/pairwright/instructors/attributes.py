"""An instructor without a language model: the sentences of the critic ``attributes`` turned into commands.

``The rose is not red, it looks yellow.`` becomes ``make the rose red``. It reads no other critic's words and no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import PositiveInt

from pairwright.advice import attributes, reading
from pairwright.records import Critique, Failed, Instruction, Picture, Prompt


def load(*, most: PositiveInt = 1) -> AttributeInstructor:
    """Needs no weights.

    Args:
        most: faults that an instruction mends; the first ones matter most.
    """
    return AttributeInstructor(most)


@dataclass(frozen=True)
class AttributeInstructor:
    """Turns faults into commands; see :class:`pairwright.protocols.Instructor`."""

    most: int

    def instruct(
        self, pictures: Sequence[Picture], prompts: Sequence[Prompt], critiques: Sequence[Critique | None]
    ) -> list[Instruction | Failed]:
        """One instruction per picture, in order; without a critique there is none."""
        return [self._one(critique) for _, _, critique in zip(pictures, prompts, critiques, strict=True)]

    def _one(self, critique: Critique | None) -> Instruction | Failed:
        if critique is None:
            return Failed("this instructor reads a critique and no picture: name a critic")
        if critique.text == reading.NOTHING:
            return Failed(reading.NOTHING)
        said = attributes.instruction(critique.text, self.most)
        return said if isinstance(said, Failed) else Instruction(said, {"instructor": "attributes"})
