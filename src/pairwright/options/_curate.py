"""From photographs to pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pairwright.options._base import (
    FALSE_IS_NONE,
    Device,
    Options,
    PerturbationPlugin,
    Plugin,
    RewardPlugin,
    SaliencyPlugin,
    SourcePlugin,
    execution,
)
from pairwright.options._engine import EngineName, Ray


class Filter(Options):
    """A reward plus a rule: what a picture must score to stay."""

    reward: RewardPlugin
    """Which reward."""
    rule: Literal["above_mean", "at_least", "top"]
    """``above_mean`` of the set, ``at_least`` a threshold, or the ``top`` k."""
    value: float | None = None
    """The threshold of ``at_least`` (in the reward's own unit) or the k of ``top``."""
    column: str | None = None
    """Which column, where the reward has several; default: its first."""

    @model_validator(mode="after")
    def _value_where_needed(self) -> Self:
        if self.rule == "top" and self.value is not None and (self.value < 1 or self.value != int(self.value)):
            raise ValueError(f"rule 'top' needs a whole number of at least 1, got {self.value:g}")
        if (self.rule == "above_mean") != (self.value is None):
            raise ValueError(f"rule {self.rule!r} {'takes no' if self.rule == 'above_mean' else 'needs a'} value")
        return self


class Keep(Options):
    """Which of the pairs that pass are kept: the best k by a score of the *photograph*, so that repaints can stop early."""

    reward: RewardPlugin
    """Ranks the photographs; prompts are the captions."""
    top: int = Field(512, ge=1)
    """How many pairs are wanted."""
    column: str | None = None
    """Which column, where the reward has several; default: its first."""


class Gap(Options):
    """Keeps a pair only where the winner scores so much more than the loser."""

    reward: RewardPlugin
    """Which reward scores both sides; prompts are the captions."""
    at_least: float | None = 0.52
    """Least difference, in the reward's own unit: the paper's 0.02 on ``100 * cosine / 26`` is 0.52 on ``100 * cosine``."""
    pilot_quantile: float | None = Field(None, gt=0, lt=1)
    """Instead of ``at_least``: the threshold is this quantile of the gaps of a pilot (and at least 0), so that it is known
    before the rest is repainted (for rewards whose scale is not known beforehand)."""
    pilot: int = Field(32, ge=2)
    """Candidates in the pilot, in whole batches spread evenly over the ranking; their repaints are used again."""
    column: str | None = None
    """Which column, where the reward has several; default: its first."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.at_least is None) == (self.pilot_quantile is None):
            raise ValueError("give either at_least or pilot_quantile, and set the other to false")
        return self

    @model_validator(mode="before")
    @classmethod
    def _quantile_replaces_default(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        said = {name: None if each is False else each for name, each in value.items()}
        return {"at_least": None, **said} if said.get("pilot_quantile") is not None else said


class Mask(Options):
    """From a saliency map to the region that is repainted."""

    threshold: float = Field(0.5, gt=0, lt=1)
    """Salient where the map is above this (the paper: 0.5)."""
    dilate: int = Field(0, ge=0)
    """Grow the region by so many pixels (the paper: 0). A mask that is cut close leaves a repainted object's outline standing."""
    feather: float = Field(0.0, ge=0)
    """Blur its border with this standard deviation in pixels when compositing (the paper: 0)."""
    least_area: float = Field(0.01, ge=0, lt=1)
    """Reject pictures whose region covers less than this share."""
    most_area: float = Field(0.95, gt=0, le=1)
    """Reject pictures whose region covers more than this share."""


class Curate(Options):
    """From photographs to pairs: the photograph wins over the same photograph with its salient region repainted."""

    source: SourcePlugin
    """Where the photographs are."""
    resolution: int = Field(512, ge=32, le=8192)
    """Side in pixels: short side resized to it (Lanczos), then cropped."""
    least_side: int | None = Field(None, ge=0)
    """Reject photographs whose short side is smaller, rather than enlarge them; default: half the resolution."""
    near_duplicates: Annotated[int | None, FALSE_IS_NONE] = Field(None, ge=0, le=16)
    """Reject a photograph that looks like an earlier one: so many of the 64 bits of their difference hashes may differ (4 finds
    copies of other sizes and qualities). Default: only photographs of equal pixels are one, as in the paper."""
    crops: int = Field(1, ge=1, le=1000)
    """Views taken of each photograph: the first is the centre crop, further ones are drawn by the photograph's id."""
    filters: tuple[Filter, ...] = ()
    """What a photograph must score before anything expensive is done, in order."""
    saliency: Annotated[SaliencyPlugin | None, FALSE_IS_NONE] = Plugin(name="u2net")
    """Finds the region to repaint; false: there is none, and the whole picture is changed (``text2image``)."""
    mask: Mask = Mask()
    """How the region is cut."""
    perturbation: PerturbationPlugin = Plugin(name="inpaint")
    """Makes the loser."""
    composite: bool = True
    """Paste the untouched background back. ``false`` is the published behaviour: its losers carry the VAE's error everywhere."""
    gap: Annotated[Gap | None, FALSE_IS_NONE] = None
    """Drops negligible degradations; false: none are dropped."""
    keep: Annotated[Keep | None, FALSE_IS_NONE] = None
    """Ranks the photographs and keeps the best pairs; without it, every candidate is repainted and all that pass are kept."""
    eager: bool = False
    """Repaint every candidate before ranking (the published order): the same pairs, and the whole funnel."""
    vetoes: Annotated[Path | None, FALSE_IS_NONE] = None
    """Pairs that somebody has looked at and does not want, as ``pairwright pairs`` writes them; the next ones take their places.
    Default: ``vetoes.json`` in the run's folder, where it is there; false: the same. Fingerprinted by the pairs it names."""
    seed: int = 0
    """Repaints are seeded by this and the picture's id."""
    batch_size: int = execution(8, ge=1)
    """Pictures per forward."""
    device: Device = execution("auto")
    """``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    engine: EngineName = execution("local")
    """``local``: this process; ``ray``: the pools of a Ray cluster, for the same tables."""
    ray: Ray = execution(Ray())
    """Cluster and pools of ``engine = "ray"``."""
