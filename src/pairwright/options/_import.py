"""From preferences that somebody has already to pairs."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pairwright.options._base import FALSE_IS_NONE, Device, Options, RewardPlugin, SourcePlugin, execution


class Import(Options):
    """Preferences that somebody has already, as pairs to train on: Pick-a-Pic, HPD, your own tables and folders."""

    source: SourcePlugin
    """Where the preferences are."""
    resolution: Annotated[int | None, FALSE_IS_NONE] = Field(512, ge=32, le=8192)
    """Side in pixels: short side resized to it (Lanczos), then the centre cropped. A picture of just this size stays as it is,
    byte for byte. false: every picture stays as it is; the two of a pair must then have one size."""
    least_side: int | None = Field(None, ge=0)
    """Reject pairs of which a picture's short side is smaller, rather than enlarge it; default: half the resolution."""
    relabel: Annotated[RewardPlugin | None, FALSE_IS_NONE] = None
    """Replaces the labels: of the two pictures, as they are kept, the one with the higher score of this reward wins. Equal scores
    and what cannot be scored are dropped. Ties of the source stay dropped: they have no sides."""
    column: str | None = None
    """Of ``relabel``: which column, where the reward has several; default: its first."""
    batch_size: int = execution(32, ge=1)
    """Of ``relabel``: pictures per forward."""
    device: Device = execution("auto")
    """Of ``relabel``: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""

    @model_validator(mode="after")
    def _column_of_something(self) -> Self:
        if self.column is not None and self.relabel is None:
            raise ValueError("column names a column of relabel, which is not given")
        return self
