"""The nouns of the project: frozen, typed records that travel between the floors.

A *caption* describes a picture that was found, a *prompt* conditions a model. Whatever can fail
per sample has its failure as a value (:class:`Unscored`, :class:`Failed`, :class:`Rejected`), so that
nothing is lost on the way and every funnel adds up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image


@dataclass(frozen=True)
class Picture:
    """One picture, kept encoded and decoded once, on first use.

    Two pictures with the same ``id`` are the same picture: ``id`` is derived from content (and, for
    generated pictures, from prompt and seed), never from a position in a list.
    """

    id: str
    """Stable identifier: 16 hexadecimal digits."""
    data: bytes = field(repr=False)
    """The encoded file (PNG in the store). Trusted: untrusted files pass ``images.read`` first."""
    caption: str = ""
    """What the picture shows (found pictures) or the prompt that made it (generated pictures)."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where it comes from: file, license, author, source, or model and seed."""

    @cached_property
    def image(self) -> Image.Image:
        """The decoded picture, RGB, 8 bits. Do not modify it in place."""
        from pairwright import images

        return images.decode(self.data)

    @cached_property
    def pixels(self) -> np.ndarray:
        """``uint8 [h, w, 3]``, RGB, read-only."""
        from pairwright import images

        return images.to_array(self.image)

    @property
    def tensor(self) -> torch.Tensor:
        """``float32 [3, h, w]`` in 0..1, RGB."""
        from pairwright import images

        return images.to_tensor(self.image)


@dataclass(frozen=True)
class Prompt:
    """A text that conditions a model or a score."""

    text: str
    id: str = ""
    """Stable identifier of the prompt within its set; ``""`` where only the text matters."""
    category: str = ""
    """The prompt set's own category or style, where it has one."""


@dataclass(frozen=True)
class Column:
    """One number that a reward reports for a picture."""

    name: str
    """Column name in the store: lower case, unique over all rewards (``pickscore``)."""
    unit: str
    """The published scale, in words (``100 * cosine``)."""
    higher_is_better: bool = True


@dataclass(frozen=True)
class Unscored:
    """A picture that a reward could not score. Never 0, never an exception."""

    reason: str


@dataclass(frozen=True)
class Edit:
    """A request to change one picture."""

    picture: Picture
    caption: str
    """The text that conditions the change."""
    seed: int
    """Derived from the picture's own id: the result does not depend on the neighbours in a batch."""
    mask: np.ndarray | None = None
    """``float32 [h, w]`` in 0..1; 1 is repainted, 0 is kept. ``None`` where the whole picture changes."""
    instruction: str | None = None
    """What to change, in words (rich feedback)."""


@dataclass(frozen=True)
class Edited:
    """A changed picture, of the size of the original."""

    image: Image.Image
    how: Mapping[str, object] = field(default_factory=dict)
    """What was drawn for this picture (which degradation, how strong), as plain JSON values; part of the pair's lineage."""


@dataclass(frozen=True)
class TwoEdits:
    """Two edits of one picture by one instruction, to be judged."""

    original: Picture
    prompt: Prompt
    instruction: str
    a: Picture
    b: Picture


@dataclass(frozen=True)
class Failed:
    """A change, a critique or an instruction that could not be made."""

    reason: str


@dataclass(frozen=True)
class Critique:
    """What is wrong with a picture for its prompt (rich feedback)."""

    text: str
    """In words, what matters most first."""
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Where, as heat maps by name (``artifact``, ``misalignment``): ``float32 [h, w]`` in 0..1, 1 is worst."""
    made_by: Mapping[str, str] = field(default_factory=dict)
    """Who said so: model, template and its version; part of the pair's lineage."""


@dataclass(frozen=True)
class Instruction:
    """What to change in a picture, in words."""

    text: str
    made_by: Mapping[str, str] = field(default_factory=dict)
    """Who said so: model, template and its version; part of the pair's lineage."""


@dataclass(frozen=True)
class Rejected:
    """A picture that left the road: where, and why. One row of the funnel."""

    id: str
    """The picture's id, or the file's name where it could not be decoded."""
    step: str
    """The step that it did not pass (``decode``, ``colorfulness``, ``gap``, ...)."""
    reason: str


@dataclass(frozen=True)
class Pair:
    """A preference: for ``prompt``, ``winner`` is better than ``loser``. Both have the same size."""

    id: str
    prompt: str
    winner: Picture
    loser: Picture
    mask: np.ndarray | None = None
    """Where the two differ, ``float32 [h, w]`` in 0..1, where that is known."""
    lineage: Mapping[str, object] = field(default_factory=dict)
    """How it was made: scores of both sides, gap, seed, perturbation, model and revision, licence."""
