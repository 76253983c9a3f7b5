"""Who entered curation, left where and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pairwright.report.gather import Step

MOST_EXAMPLES = 12
_OWN_REASONS = {"read", "small", "decode", "duplicate", "caption", "repaint", "veto"}
# Steps at which every picture leaves for a reason of its own, which is worth naming.


@dataclass(frozen=True)
class Stage:
    """One row of the funnel."""

    name: str
    entered: int
    left: int
    reasons: tuple[tuple[str, int], ...]
    unreached: bool = False
    """The lazy order stopped before them: they were not rejected."""

    @property
    def stayed(self) -> int:
        """How many go on."""
        return self.entered - self.left


@dataclass(frozen=True)
class Funnel:
    """The funnel of one curate step."""

    step: Step
    stages: tuple[Stage, ...]
    kept: int
    widest: int
    """The largest number that entered a step: full width."""
    examples: tuple[tuple[str, str, str], ...]
    """Id or file, step and reason of some that left for a reason of their own."""

    @property
    def reasons(self) -> list[tuple[str, str, int]]:
        """Step, reason and count, in the order of the steps."""
        return [(stage.name, reason, count) for stage in self.stages for reason, count in stage.reasons]


def funnel(step: Step) -> Funnel | None:
    """The funnel of a curate step; None before it is done."""
    said = step.summary
    if step.node is None or not said.get("funnel"):
        return None
    stages: list[Stage] = []
    for each in said["funnel"]:
        stages += _unreached(stages, each["entered"])
        reasons = tuple((str(reason), int(count)) for reason, count in each.get("reasons", {}).items())
        stages.append(Stage(each["step"], each["entered"], each["left"], reasons))
    shown = (row for row in step.node.rows("rejected") if row["step"] in _OWN_REASONS)
    examples = [(row["id"], row["step"], row["reason"]) for row, _ in zip(shown, range(MOST_EXAMPLES), strict=False)]
    widest = max(stage.entered for stage in stages)
    return Funnel(step, tuple(stages), int(said.get("kept", stages[-1].stayed)), max(widest, 1), tuple(examples))


def _unreached(before: Sequence[Stage], entered: int) -> list[Stage]:
    """Those that stayed and entered nothing: the lazy order had enough before their turn."""
    if not before or entered >= before[-1].stayed:
        return []  # more may enter than stayed: a photograph gives several views
    missing = before[-1].stayed - entered
    return [Stage("not reached", before[-1].stayed, missing, (("enough had passed before their turn", missing),), unreached=True)]
