"""An instructor that asks for nothing: an editor that draws from the text then makes another sample of the same prompt."""

from __future__ import annotations

from collections.abc import Sequence

from pairwright.records import Critique, Failed, Instruction, Picture, Prompt


class Again:
    """See :class:`pairwright.protocols.Instructor`."""

    def instruct(
        self, pictures: Sequence[Picture], prompts: Sequence[Prompt], critiques: Sequence[Critique | None]
    ) -> list[Instruction | Failed]:
        """No words for any picture."""
        return [Instruction("", {"instructor": "again"}) for _, _, _ in zip(pictures, prompts, critiques, strict=True)]


def load() -> Again:
    """No options."""
    return Again()
