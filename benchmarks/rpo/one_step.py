"""An instructor in one step: it repeats what the prompt asks for, without knowing what is wrong with the picture."""

from __future__ import annotations

from collections.abc import Sequence

from pairwright.advice import attributes
from pairwright.advice.attributes import Fault
from pairwright.records import Critique, Failed, Instruction, Picture, Prompt


class OneStep:
    """See :class:`pairwright.protocols.Instructor`."""

    def instruct(
        self, pictures: Sequence[Picture], prompts: Sequence[Prompt], critiques: Sequence[Critique | None]
    ) -> list[Instruction | Failed]:
        """The colour of the prompt's first object, or the object where it has none; pictures play no part."""
        return [_told(prompt) for _, prompt, _ in zip(pictures, prompts, critiques, strict=True)]


def _told(prompt: Prompt) -> Instruction | Failed:
    asked = attributes.asked(prompt.text)
    if not asked:
        return Failed("the prompt names no object")
    fault = Fault(asked[0], "colour" if asked[0].colour else "object")
    return Instruction(fault.instruction(), {"instructor": "one_step"})


def load() -> OneStep:
    """No options."""
    return OneStep()
