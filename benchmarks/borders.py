"""Whether the border of the mask gives a repaint away: in pixels, and as training sees it.

Training reads latents: both sides of a pair go through the autoencoder. What a classifier finds in pixels may therefore
never reach the model; so each probe is also made of both sides' round trips. And since the autoencoder alone changes
texture, each is also made of a control: the photograph's own round trip pasted through the same mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import seam, sides
from pairwright.store import Node, Store

FEATHERS = (0.0, 1.0, 2.0)
"""What is probed besides the recipe's own: which of them would hide the border."""
HIDDEN = 0.6
"""A border that tells the sides apart no better than this gives nothing away."""
PIXELS, LATENTS = "pixels", "round trips"
REPAINTED, PASTED = "repainted", "pasted round trip"
BORDER, STEP = "border", "step alone"
PROBES = {BORDER: slice(None), STEP: seam.STEP}
SEAM = {PIXELS: STEP, LATENTS: BORDER}
"""Which features decide."""

Row = Mapping[str, Any]


def probe(store: Store, held_out: sides.HeldOut, feather: float) -> list[dict[str, Any]]:
    """Every probe of repaints that were composited with this feather.

    Raises:
        ValueError: no pair has a border.
    """
    real = {PIXELS: _side(store, held_out, "photograph", sides.photographs), LATENTS: _trip(store, held_out, sides.photographs)}
    makers: dict[str, sides.Pictures] = {REPAINTED: sides.repainted, PASTED: sides.Pasted(store, feather)}
    rows = []
    for what, make in makers.items():
        edited = {PIXELS: _side(store, held_out, what, make, feather=feather), LATENTS: _trip(store, held_out, make, what, feather)}
        for where, pictures in edited.items():
            for name, columns in PROBES.items():
                found, pairs = seam.detectability(real[where], pictures, held_out.masks(), held_out.captions, columns=columns)
                said = {"feather": feather, "where": where, "side": what, "probe": name, "pairs": pairs}
                rows.append({**said, **vars(found), "hidden": found.low <= 0.5 or found.value < HIDDEN})
    return rows


def decisive(rows: Sequence[Row], where: str, feather: float) -> Row:
    """The row that decides over a seam: the control with that feather, since in a repaint the content differs up to the border.

    In pixels by the step across the border alone (inside it an autoencoder's texture is not a photograph's, seam or no seam); as
    training sees both sides by all features.
    """
    wanted = (feather, where, PASTED, SEAM[where])
    (found,) = [row for row in rows if (row["feather"], row["where"], row["side"], row["probe"]) == wanted]
    return found


def _side(store: Store, held_out: sides.HeldOut, name: str, make: sides.Pictures, **meaning: float) -> list[np.ndarray]:
    return sides.pixels(sides.stored(store, held_out, name, make, **meaning))


def _trip(store: Store, held_out: sides.HeldOut, of: sides.Pictures, what: str = "", feather: float = 0.0) -> list[np.ndarray]:
    if not what:
        return sides.pixels(round_trips(store, held_out))
    return _side(store, held_out, f"round trip of {what}", sides.RoundTrip(store, of), feather=feather)


def round_trips(store: Store, held_out: sides.HeldOut) -> Node:
    """(ii) The photographs' round trips."""
    return sides.stored(store, held_out, "round trip", sides.RoundTrip(store))
