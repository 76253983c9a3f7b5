"""Tells the editor to add red, by how much the critique's maps say."""

from __future__ import annotations

from collections.abc import Sequence

from pairwright.advice.reading import NOTHING
from pairwright.records import Critique, Failed, Instruction, Picture, Prompt

HEARD: list[Critique | None] = []
"""Critiques that were heard, in order."""


class Commands:
    def instruct(
        self, pictures: Sequence[Picture], prompts: Sequence[Prompt], critiques: Sequence[Critique | None]
    ) -> Sequence[Instruction | Failed]:
        HEARD.extend(critiques)
        return [self._one(each) for each in critiques]

    def _one(self, critique: Critique | None) -> Instruction | Failed:
        if critique is not None and critique.text == NOTHING:
            return Failed(NOTHING)
        return Instruction("add red" if critique else "add much red", {"instructor": "commands", "template": "i-1"})


def load() -> Commands:
    """No options."""
    return Commands()
