"""Photometric: one controlled, labelled degradation per picture, for ablations of what a preference teaches.

No weights. What is done to a picture and how strongly is drawn from the request's seed, and comes back as a record, which
becomes part of the pair's lineage (``lineage.edit``). Inside the mask where there is one, everywhere where there is none (a
recipe with ``saliency = false``). The six kinds, and what their strength of 0..1 means at a side of 512 pixels (lengths in
pixels grow with the picture):

- ``blur``: Gaussian, standard deviation 1 to 8 pixels;
- ``jpeg``: saved at quality 40 down to 4, 4:2:0;
- ``noise``: Gaussian, standard deviation 0.04 to 0.3 of the range, the same in all channels or of its own in each;
- ``colour``: hue turned by 15 to 90 degrees either way, saturation times 0.2 to 2, brightness times 0.6 to 1.5;
- ``warp``: a smooth random displacement field, up to 4 to 32 pixels, correlated over some 64 pixels;
- ``shuffle``: tiles of 64 down to 16 pixels in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pairwright import images, seeds
from pairwright.perturbations import _degradations, _regions
from pairwright.records import Edit, Edited, Failed

Kind = Literal["blur", "jpeg", "noise", "colour", "warp", "shuffle"]
KINDS: tuple[Kind, ...] = ("blur", "jpeg", "noise", "colour", "warp", "shuffle")
Strength = Annotated[float, Field(ge=0, le=1)]


def load(*, kinds: tuple[Kind, ...] = KINDS, least: Strength = 0.3, most: Strength = 1.0) -> Photometric:
    """Needs no weights.

    Args:
        kinds: one of these is drawn for each picture.
        least: lower limit of the strength that is drawn, 0..1.
        most: upper limit.

    Raises:
        ValueError: no kinds, or ``least`` above ``most``.
    """
    if not kinds or least > most:
        raise ValueError(f"at least one kind is needed, and least may not be above most: got {kinds}, {least} and {most}")
    return Photometric(kinds, least, most)


@dataclass(frozen=True)
class Photometric:
    """Degrades pictures; see :class:`pairwright.protocols.Perturbation`."""

    kinds: tuple[Kind, ...]
    least: float
    most: float

    def edit(self, edits: Sequence[Edit]) -> list[Edited | Failed]:
        """One degraded picture per request, in order; outside the mask it is the original's, exactly."""
        return [_regions.refused(each, masked=False) or self._degrade(each) for each in edits]

    def _degrade(self, edit: Edit) -> Edited:
        kind = self.kinds[seeds.integer(len(self.kinds), edit.seed, "photometric-kind")]
        strength = self.least + (self.most - self.least) * seeds.uniform(edit.seed, "photometric-strength")
        original = edit.picture.image
        changed, drawn = getattr(_degradations, kind)(original, strength, edit.seed)
        if edit.mask is not None:
            changed = images.composite(original, changed, (edit.mask >= _regions.THRESHOLD).astype(np.float32))
        how: dict[str, Any] = {"kind": kind, "strength": round(strength, 4), **drawn}
        return Edited(changed, how)
