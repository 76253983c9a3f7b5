"""A validated run and its steps, and the verbs that a step can be."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from pairwright.options import Compare, Curate, Editors, Feedback, Generate, Import, Options, Score, Train

VERBS: dict[str, type[Options]] = {
    "curate": Curate,
    "import": Import,
    "feedback": Feedback,
    "editors": Editors,
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


class Plane(Options):
    """A figure: each model is a point. Several metrics on an axis are their mean, each scaled to 0..1 over the models."""

    x: tuple[str, ...] = Field(min_length=1)
    """Columns of scores."""
    y: tuple[str, ...] = Field(min_length=1)


class Table(Options):
    """How the runs of a sweep are shown beside each other. In TOML: ``[table]``."""

    model: str | None = None
    """Which model of each run is its row; default: the last of its generate step."""
    also: tuple[str, ...] = ()
    """Models of the first run that are rows as well."""
    published: str | None = None
    """Numbers of a paper to be printed beside (never among) the measured ones: a name that ships, or a ``.toml`` file."""
    planes: tuple[Plane, ...] = ()
    """Figures."""


class Row(Options):
    """Which row of which sweep's table a run is."""

    sweep: str
    """Name of the sweep: its tables are written into the folder of this name, beside the runs."""
    label: str = ""
    """Name of the row; empty: there is one run, and all its models are rows."""
    values: dict[str, int | float | str] = Field(default_factory=dict)
    """By axis: a number, or the name of a variant."""
    table: Table = Table()


class Recipe(Options):
    """A validated run."""

    name: str
    """Names the run's folder."""
    description: str = ""
    steps: tuple[Step, ...] = Field(min_length=1)
    """In an order in which they can be run."""
    row: Row | None = None
    """Of a sweep."""

    def document(self) -> dict[str, Any]:
        """The resolved recipe as plain values, every default filled in."""
        steps = {
            step.name: {"verb": step.verb, "from": list(step.inputs), **step.options.model_dump(mode="json")} for step in self.steps
        }
        row = {"row": self.row.model_dump(mode="json")} if self.row else {}
        return {"name": self.name, "description": self.description, **row, "step": steps}
