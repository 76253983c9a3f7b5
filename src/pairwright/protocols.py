"""What a plug-in must be able to do. One small protocol per shelf, no base classes.

A plug-in is one module (or small package) on its shelf that exposes ``load(**typed_options)`` and
returns an object that satisfies the shelf's protocol. The module's name is the registered name; see
:func:`pairwright.plugins.load`. ``load`` takes keyword-only, annotated, documented options with defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from pairwright.records import (
    Column,
    Critique,
    Edit,
    Edited,
    Failed,
    Instruction,
    Pair,
    Picture,
    Prompt,
    Rejected,
    TwoEdits,
    Unscored,
)

if TYPE_CHECKING:
    import numpy as np

Row = tuple[float, ...] | Unscored
"""What a reward says of one picture: one float per column, or why it could not say."""

Choice = Literal["a", "b", "undecided"]


@runtime_checkable
class Source(Protocol):
    """Reads found pictures from somewhere."""

    def fingerprint(self) -> str:
        """A digest of what would be read (names, sizes, captions), cheap enough to take at every start."""
        ...

    def __len__(self) -> int:
        """How many items would be read, rejected ones included."""
        ...

    def __iter__(self) -> Iterator[Picture | Rejected]:
        """Every item in a fixed order; what cannot be read comes as :class:`Rejected`."""
        ...


class Part(Protocol):
    """Some items of a source, fit for :mod:`pickle`."""

    def alone(self) -> Iterator[Picture | Rejected]:
        """Each item in its order, looked at by itself: whether it repeats an earlier one is for the caller to see by its id.

        A picture's ``provenance["file"]`` is the name under which the source would reject it.
        """
        ...


@runtime_checkable
class Divisible(Protocol):
    """A :class:`Source` of which any part can be read by itself, by another process too."""

    def part(self, start: int, stop: int) -> Part:
        """Items ``start .. stop - 1`` of what iterating would give."""
        ...


@runtime_checkable
class PairSource(Protocol):
    """Reads preferences that somebody has already. A source of this kind may be a :class:`Source` too."""

    def fingerprint(self) -> str:
        """A digest of what would be read, cheap enough to take at every start."""
        ...

    def pair_count(self) -> int:
        """How many preferences would be read, rejected ones included."""
        ...

    def pairs(self, start: int = 0) -> Iterator[Pair | Rejected]:
        """Every preference from number ``start`` on, in a fixed order; no picture before it is decoded.

        Both pictures are as they were found, each at its own size. Ties and what cannot be read come as :class:`Rejected`.
        """
        ...


@runtime_checkable
class Reward(Protocol):
    """Scores pictures. ``columns`` name what it reports, in order.

    A reward that looks at pictures alone may say so with an attribute ``needs_prompt = False``: then pictures without any text
    are scored by it, where other rewards leave them unscored.
    """

    @property
    def columns(self) -> tuple[Column, ...]:
        """What each number of a row means, in order."""
        ...

    def score(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> Sequence[Row]:
        """One row per picture, in order.

        ``prompts[i]`` belongs to ``pictures[i]``. A batch of one gives the same numbers as the same picture in a
        batch of many, to rounding.
        """
        ...


@runtime_checkable
class Judge(Protocol):
    """Compares two pictures for one prompt."""

    def judge(self, a: Picture, b: Picture, prompt: Prompt) -> Choice:
        """Which of the two is better for the prompt."""
        ...


@runtime_checkable
class EditJudge(Protocol):
    """Compares two edits of one picture. Who asks it shows both orders: it need not."""

    def judge_edits(self, asked: Sequence[TwoEdits]) -> Sequence[Choice]:
        """For each, which edit follows the instruction and keeps the rest of the original, whatever its neighbours."""
        ...


@runtime_checkable
class Saliency(Protocol):
    """Finds what a viewer looks at."""

    def maps(self, pictures: Sequence[Picture]) -> Sequence[np.ndarray]:
        """One map per picture: ``float32 [h, w]`` in 0..1 at the picture's own size."""
        ...


@runtime_checkable
class Perturbation(Protocol):
    """Changes pictures, in batches.

    One that reads :attr:`Edit.instruction <pairwright.records.Edit.instruction>` beside the caption says so with an attribute
    ``reads_instructions = True``; the others are told both in the caption.
    """

    def edit(self, edits: Sequence[Edit]) -> Sequence[Edited | Failed]:
        """One result per request, in order. Results depend on a request alone, not on its neighbours."""
        ...


@runtime_checkable
class Critic(Protocol):
    """Says what is wrong with pictures for their prompts."""

    def critique(self, pictures: Sequence[Picture], prompts: Sequence[Prompt]) -> Sequence[Critique | Failed]:
        """One result per picture, in order, whatever its neighbours; ``prompts[i]`` belongs to ``pictures[i]``."""
        ...


@runtime_checkable
class Instructor(Protocol):
    """Says what to change in pictures so that they fit their prompts better."""

    def instruct(
        self, pictures: Sequence[Picture], prompts: Sequence[Prompt], critiques: Sequence[Critique | None]
    ) -> Sequence[Instruction | Failed]:
        """One result per picture, in order.

        ``critiques[i]`` is what a critic said of ``pictures[i]``; None asks for an instruction from picture and prompt alone
        (one step). A result does not depend on its neighbours.
        """
        ...
