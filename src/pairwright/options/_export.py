"""From a model or from pairs to files for other programs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pairwright.options._base import FALSE_IS_NONE, Options

ExportFormat = Literal["diffusers", "kohya", "comfy", "merged", "pipeline"]
PairFormat = Literal["parquet", "pickapic", "trl", "csv", "folders"]


class ExportPairs(Options):
    """What the card of a data set of pairs says."""

    title: Annotated[str | None, FALSE_IS_NONE] = None
    """Its heading; default: the name of the run and its step."""
    license: Annotated[str | None, FALSE_IS_NONE] = None
    """Of the whole, in your words; those of the pictures are counted in any case."""


class Export(Options):
    """What other programs are given of a model, and what the files say of it."""

    rank: Annotated[int | None, FALSE_IS_NONE] = Field(None, ge=1)
    """Reduce the LoRA to this rank (SVD); the relative error is said. Default: exact, with the ranks of the chain summed."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Of the weights that are written."""
    title: Annotated[str | None, FALSE_IS_NONE] = None
    """Of the model, for people; default: the name of the run and its step."""
    dated: bool = False
    """Say when training ended. Without it equal weights are equal files."""
    thumbnail: Annotated[str | None, FALSE_IS_NONE] = None
    """A picture that the LoRA's header carries, reduced to 256 pixels."""
    comparison: Annotated[str | None, FALSE_IS_NONE] = None
    """A finished compare step, ``runs/<run>/<step>``, whose table the model card shows."""
