"""How much is computed: what a step adds up to, and what one edit takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import cast

from pairwright.catalogue import Costs
from pairwright.hardware import Dtype
from pairwright.literals import option
from pairwright.options import Plugin
from pairwright.plan.graph import Graph

SECONDS_PER_MEGAPIXEL = 0.05
"""Decoding, preparing or encoding a picture of the run's own size on one core."""
SECONDS_ON_A_CORE = {"migan": 0.9, "photometric": 0.034}
"""Of perturbations without a denoising network, for a picture of 512 pixels on one core (measured). MI-GAN's network looks at 512
pixels whatever the picture's size, and a degradation takes its area's time."""
LEAST_SECONDS = 2.0
"""What reading and writing takes however small a step is."""


@dataclass
class Work:
    """What a step computes."""

    flop: float = 0.0
    forwards: float = 0.0
    """Calls of large networks, whole batches at a time: on small networks their number and not their work decides."""
    seconds: float = LEAST_SECONDS
    """Spent on one core besides: decoding, encoding, statistics."""
    dtype: Dtype = "bfloat16"
    said: list[str] = field(default_factory=list)
    """What it comes from."""
    per: str = ""
    """What the numbers are for, where they are not for the whole step: ``100 prompts``."""
    unknown: str = ""
    """Why it cannot be known."""

    def pictures(self, count: float, side: int) -> None:
        """Decode or encode so many square pictures."""
        self.seconds += count * side**2 / 1e6 * SECONDS_PER_MEGAPIXEL

    def network(self, costs: Costs | None, kind: str, count: float, batch: int, times: float = 1.0) -> None:
        """Run one part of a model ``times`` for each of ``count`` pictures."""
        if costs is None:
            self.unknown = self.unknown or "a model that is neither here nor in the catalogue"
            return
        if kind not in costs.flop:
            self.unknown = self.unknown or "how many words a model answers"
            return
        self.flop += costs.flop[kind] * count * times
        if costs.flop[kind]:
            self.forwards += ceil(count / batch) * times


def painted(work: Work, plugin: Plugin, count: float, batch: int, side: int, graph: Graph) -> bool:
    """What a perturbation computes for so many pictures; False where nobody knows."""
    if plugin.name in SECONDS_ON_A_CORE:
        area = (side / 512) ** 2 if plugin.name == "photometric" else 1.0
        each = SECONDS_ON_A_CORE[plugin.name] * area
        work.seconds += count * each
        work.said.append(
            f"{each:.2g} s of one core each" + (", no weights" if plugin.name == "photometric" else ", whatever the size")
        )
        return True
    painter = graph.perturbation(plugin, side)
    steps, strength = option("perturbations", plugin, "steps"), option("perturbations", plugin, "strength")
    guidance = option("perturbations", plugin, "guidance")
    if painter is None or not isinstance(steps, int):
        work.unknown = work.unknown or f"what the perturbation {plugin.name!r} computes"
        return False
    run = max(int(steps * float(1.0 if strength is None else strength)), 1)
    # By the text, and by the picture besides: a forward each, beside the one without either.
    most = 3 if option("perturbations", plugin, "image_guidance") is not None else 2
    guided = most if guidance is None or float(guidance) > 1 else 1
    work.network(painter, "unet", count * guided, batch * guided, run)
    for kind in ("encode", "decode"):
        work.network(painter, kind, count, batch)
    work.dtype = cast("Dtype", option("perturbations", plugin, "dtype") or work.dtype)
    work.said.append(f"{run} steps each{', with guidance' if guided > 1 else ''}")
    return True
