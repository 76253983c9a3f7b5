"""How a step grows with the micro-batch and with the resolution, as numbers and as a drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks import provenance
from benchmarks.training.race import Result, race
from benchmarks.training.ways import CONTESTS
from pairwright.wording import number

MICRO = (1, 2, 4, 8)
SIDES = (64, 128, 192, 256)
SWEPT = ("dpo", "dro-none")
COLOURS = {"published": "#b3543b", "ours": "#2f6f8f"}
WIDTH, HEIGHT, MARGIN = 300, 180, 40


@dataclass(frozen=True)
class Curve:
    """One contest at several sizes."""

    title: str
    axis: str
    at: tuple[int, ...]
    results: tuple[Result, ...]

    @property
    def published(self) -> list[float]:
        """Seconds per sample."""
        return [each.per_sample(each.published) for each in self.results]

    @property
    def ours(self) -> list[float]:
        """Seconds per sample."""
        return [each.per_sample(each.ours) for each in self.results]

    def table(self) -> str:
        """As Markdown."""
        rows = [
            [str(at), number(slow), number(fast), f"{each.faster:.2f}"]
            for at, slow, fast, each in zip(self.at, self.published, self.ours, self.results, strict=True)
        ]
        return f"{self.title}\n\n" + provenance.table(
            [self.axis, "published, s per sample", "ours, s per sample", "times faster"], rows
        )


def measure(
    base: Path,
    root: Path,
    *,
    side: int,
    repeats: int,
    micros: Sequence[int] = MICRO,
    sides: Sequence[int] = SIDES,
    say: Callable[[str], object] = lambda _: None,
) -> list[Curve]:
    """Both sweeps of two contests: one step is one micro-batch in the second, and the largest of them in the first."""
    found = []
    for name in SWEPT:
        contest = CONTESTS[name]
        by_micro, by_side = [], []
        for micro in micros:
            say(f"{contest.label}: micro-batch {micro}")
            by_micro.append(race(base, contest, batch=max(micros), micro=micro, repeats=repeats, side=side, root=root))
        for each in sides:
            say(f"{contest.label}: {each} pixels")
            by_side.append(race(base, contest, batch=4, micro=4, repeats=repeats, side=each, root=root))
        found.append(Curve(f"{contest.label}, {side} pixels", "micro-batch", tuple(micros), tuple(by_micro)))
        found.append(Curve(f"{contest.label}, micro-batch 4", "pixels a side", tuple(sides), tuple(by_side)))
    return found


def svg(curves: Sequence[Curve]) -> str:
    """The curves side by side, each from 0, seconds per sample upwards."""
    width, height = (WIDTH + 2 * MARGIN) * len(curves), HEIGHT + 2 * MARGIN
    panels = "".join(
        f'<g transform="translate({(WIDTH + 2 * MARGIN) * index + MARGIN},{MARGIN})">{_panel(each)}</g>'
        for index, each in enumerate(curves)
    )
    style = "font-family:sans-serif;font-size:11px;background:#fff"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" style="{style}">{panels}</svg>\n'


def _panel(curve: Curve) -> str:
    top = max([*curve.published, *curve.ours])
    parts = [
        f'<text x="0" y="-14">{escape(curve.title)}</text>',
        f'<path d="M0 0V{HEIGHT}H{WIDTH}" fill="none" stroke="#888"/>',
        f'<text x="{WIDTH}" y="{HEIGHT + 30}" text-anchor="end">{escape(curve.axis)}</text>',
        f'<text x="-4" y="4" text-anchor="end">{number(top)} s</text>',
    ]
    parts += [f'<text x="{_x(curve, at):.1f}" y="{HEIGHT + 14}" text-anchor="middle">{at}</text>' for at in curve.at]
    for name, values in (("published", curve.published), ("ours", curve.ours)):
        points = [(_x(curve, at), HEIGHT * (1 - value / top)) for at, value in zip(curve.at, values, strict=True)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        x, y = points[-1]
        parts.append(f'<text x="{x + 4:.1f}" y="{y:.1f}" fill="{COLOURS[name]}">{name}</text>')
    return "".join(parts)


def _x(curve: Curve, at: int) -> float:
    return WIDTH * at / max(curve.at)
