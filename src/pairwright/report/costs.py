"""What a run took: time by device, and hours of GPUs."""

from __future__ import annotations

from collections import defaultdict

from pairwright import hardware, wording
from pairwright.report.gather import Run


def costs(run: Run) -> list[str]:
    """A sentence for each device that steps of this run worked on; what the store had from earlier runs is not counted."""
    spent: dict[tuple[str, bool], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for step in run.steps:
        if step.seconds and step.ran_on:
            total = spent[step.ran_on["label"], step.ran_on["kind"] == "cuda"]
            total[0] += step.seconds
            total[1] += hardware.gpu_hours(step.seconds, step.ran_on)
    said = []
    for (label, gpu), (seconds, hours) in spent.items():
        duration = wording.duration(seconds)
        said.append(f"{wording.number(hours)} GPU-hours on {label} ({duration})" if gpu else f"{duration} on {label}, no GPU")
    return said
