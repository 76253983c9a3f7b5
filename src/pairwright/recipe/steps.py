"""A validated run and its steps, and the verbs that a step can be."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from pairwright.options import Compare, Curate, Feedback, Generate, Import, Options, Score, Train

VERBS: dict[str, type[Options]] = {
    "curate": Curate,
    "import": Import,
    "feedback": Feedback,
    "train": Train,
    "generate": Generate,
    "score": Score,
    "compare": Compare,
}
"""The verbs that a step can be, and what each can be told."""


class Step(Options):
    """One step of a run."""

    name: str
    verb: str
    inputs: tuple[str, ...]
    """Names of the steps that it builds on."""
    options: Options

    @field_validator("options", mode="before")
    @classmethod
    def _as_is(cls, value: Any) -> Any:
        return value


class Recipe(Options):
    """A validated run."""

    name: str
    """Names the run's folder."""
    description: str = ""
    steps: tuple[Step, ...] = Field(min_length=1)
    """In an order in which they can be run."""

    def document(self) -> dict[str, Any]:
        """The resolved recipe as plain values, every default filled in."""
        steps = {
            step.name: {"verb": step.verb, "from": list(step.inputs), **step.options.model_dump(mode="json")} for step in self.steps
        }
        return {"name": self.name, "description": self.description, "step": steps}
