"""Where a step's work is done: in this process, or by the pools of a Ray cluster. Execution, all of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from pairwright.options._base import Options, execution
from pairwright.suggestions import hint

ENGINES = ("local", "ray")


def _known(value: Any) -> Any:
    if value not in ENGINES:
        raise ValueError(f"there is no engine {value!r}." + hint(str(value), ENGINES, listed="There are"))
    return value


EngineName = Annotated[Literal["local", "ray"], BeforeValidator(_known)]


class Pool(Options):
    """Workers of one kind. Ray Data starts the least, adds workers while work is waiting, and lets idle ones go."""

    least: int = execution(1, ge=1)
    """So many workers at the least."""
    most: int = execution(8, ge=1)
    """So many at the most."""
    cpus: float = execution(1.0, ge=0)
    """Cores for each; its libraries use so many threads."""
    gpus: float | None = execution(None, ge=0)
    """Share of a GPU for each: at 0.25, four share one. Default, where the cluster has GPUs and the work runs on one: 0.25, and 0.5
    for repaints, so that one GPU holds a worker of each kind that a step needs. A cluster that starts its first GPU when asked
    needs the number."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least = {self.least} is more than most = {self.most}")
        return self


class Ray(Options):
    """How ``engine = "ray"`` finds its cluster, and its pools."""

    address: str = execution("")
    """Of a cluster that runs: ``auto``, or ``host:6379``. Default: what ``RAY_ADDRESS`` says, else a cluster of this machine alone,
    which ends with the step."""
    read: Pool = execution(Pool(most=64))
    """Decode, crop and hash photographs, and score them by rewards without a network (colourfulness)."""
    score: Pool = execution(Pool())
    """Score pictures by rewards with a network; the gap and the labels of feedback too."""
    saliency: Pool = execution(Pool())
    """Find regions."""
    repaint: Pool = execution(Pool())
    """Make losers."""
    critic: Pool = execution(Pool())
    """Say what is wrong with a picture."""
    instruct: Pool = execution(Pool())
    """Say what to change."""
    edit: Pool = execution(Pool())
    """Edit pictures as they were told."""
