"""Models as points on a plane of two (groups of) metrics, each scaled to 0..1 over the models: the first paper's Figure 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pairwright.evaluate.join import CompareError
from pairwright.evaluate.radar import COLOURS

SIDE = 360
Rows = Mapping[str, Mapping[str, float | None]]
"""By model, then metric."""


def scaled(rows: Rows, metrics: Sequence[str]) -> dict[str, float]:
    """By model, the mean of several metrics, each min-max scaled over the models that have all of them; equal values are 0.

    Raises:
        CompareError: a metric that no model has, or fewer than two models that have all.
    """
    known = list(dict.fromkeys(name for row in rows.values() for name in row))
    for name in metrics:
        if name not in known:
            raise CompareError(f"planes: no metric {name!r} among {', '.join(known)}")
    whole = {label: [row.get(name) for name in metrics] for label, row in rows.items()}
    kept = {label: [float(each) for each in values if each is not None] for label, values in whole.items() if None not in values}
    if len(kept) < 2:
        raise CompareError(f"planes: fewer than two models have {', '.join(metrics)}")
    ends = [(min(column), max(column)) for column in zip(*kept.values(), strict=True)]

    def place(values: Sequence[float]) -> float:
        return sum((value - low) / (high - low) if high > low else 0.0 for value, (low, high) in zip(values, ends, strict=True))

    return {label: place(values) / len(metrics) for label, values in kept.items()}


def points(rows: Rows, x: Sequence[str], y: Sequence[str]) -> dict[str, tuple[float, float]]:
    """By model, its place on the plane, for the models that have all metrics of both axes."""
    whole = {label: row for label, row in rows.items() if all(row.get(name) is not None for name in (*x, *y))}
    across, up = scaled(whole or rows, x), scaled(whole or rows, y)
    return {label: (across[label], up[label]) for label in across if label in up}


def means(found: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """A comparison's means by model, then metric."""
    return {label: {metric["name"]: metric["means"][label] for metric in found["metrics"]} for label in found["models"]}


def of_means(found: Mapping[str, Any], x: Sequence[str], y: Sequence[str]) -> str:
    """The figure of a comparison's means, as a self-contained SVG."""
    return plane(means(found), x, y)


def plane(rows: Rows, x: Sequence[str], y: Sequence[str]) -> str:
    """The figure, as a self-contained SVG."""
    parts = [f'<rect x="60" y="10" width="{SIDE}" height="{SIDE}" fill="none" stroke="#d1d5db"/>']
    for tick in (0.0, 0.5, 1.0):
        left, top = _at(tick, tick)
        parts.append(f'<text x="{left}" y="{SIDE + 40}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="46" y="{top + 4}" text-anchor="end">{tick:g}</text>')
    found = points(rows, x, y)
    for index, (label, place) in enumerate(found.items()):
        left, top = _at(*place)
        colour, row = COLOURS[index % len(COLOURS)], SIDE + 96 + 20 * index
        parts.append(f'<circle cx="{left}" cy="{top}" r="7" fill="{colour}" stroke="#111827"/>')
        parts.append(f'<circle cx="66" cy="{row - 4}" r="6" fill="{colour}"/>')
        parts.append(f'<text x="80" y="{row}">{escape(label)} ({place[0]:.2f}, {place[1]:.2f})</text>')
    middle = 60 + SIDE / 2
    parts.append(f'<text x="{middle}" y="{SIDE + 66}" text-anchor="middle">{escape(_axis(x))}</text>')
    parts.append(f'<text transform="translate(16 {10 + SIDE / 2}) rotate(-90)" text-anchor="middle">{escape(_axis(y))}</text>')
    height = SIDE + 106 + 20 * len(found)
    style = 'font-family="system-ui, sans-serif" font-size="13" fill="#111827"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE + 80} {height}" {style}>\n{body}\n</svg>\n'


def _axis(names: Sequence[str]) -> str:
    return f"{names[0] if len(names) == 1 else f'mean of {chr(44).join(names)}'}, each scaled to 0..1"


def _at(x: float, y: float) -> tuple[float, float]:
    """With a margin, so that the outermost models are not on the frame."""
    inner = SIDE * 0.84
    return round(60 + SIDE * 0.08 + inner * x, 1), round(10 + SIDE * 0.92 - inner * y, 1)
