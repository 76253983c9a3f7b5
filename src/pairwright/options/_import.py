"""From preferences that somebody has already to pairs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pairwright.options._base import FALSE_IS_NONE, Options, SourcePlugin


class Import(Options):
    """Preferences that somebody has already, as pairs to train on: Pick-a-Pic, HPD, your own tables and folders."""

    source: SourcePlugin
    """Where the preferences are."""
    resolution: Annotated[int | None, FALSE_IS_NONE] = Field(512, ge=32, le=8192)
    """Side in pixels: short side resized to it (Lanczos), then the centre cropped. A picture of just this size stays as it is,
    byte for byte. false: every picture stays as it is; the two of a pair must then have one size."""
    least_side: int | None = Field(None, ge=0)
    """Reject pairs of which a picture's short side is smaller, rather than enlarge it; default: half the resolution."""
