"""A comparison as one picture: a self-contained SVG with an axis per metric and a line per model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pairwright.wording import number

RADIUS = 170
COLOURS = ("#6b7280", "#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#4d7c0f")
_LEAST = 3
"""Axes that span a plane."""


def radar(found: Mapping[str, Any]) -> str:
    """The means of all models; further out is better on every axis, whichever way its metric counts.

    Each axis has a scale of its own, from the worst model (at half the radius) to the best (at the rim), and says both numbers: the
    figure compares models on a metric, never metrics with each other. Where fewer than three metrics have a mean for every
    model, it says so instead.
    """
    metrics = [metric for metric in found["metrics"] if all(value is not None for value in metric["means"].values())]
    if len(metrics) < _LEAST:
        return _framed(['<text x="260" y="200">fewer than three metrics: see the table</text>'])
    places = [placed(metric) for metric in metrics]
    ends = [_point(turn, len(metrics), 1.0) for turn in range(len(metrics))]
    rings = [_path([_point(turn, len(metrics), reach) for turn in range(len(metrics))]) for reach in (0.5, 1.0)]
    parts = [f'<polygon points="{ring}" fill="none" stroke="#e5e7eb"/>' for ring in rings]
    parts += [f'<line x1="260" y1="240" x2="{x}" y2="{y}" stroke="#e5e7eb"/>' for x, y in ends]
    for index, label in enumerate(found["models"]):
        colour = COLOURS[index % len(COLOURS)]
        points = [_point(turn, len(metrics), place[label]) for turn, place in enumerate(places)]
        parts.append(f'<polygon points="{_path(points)}" fill="{colour}" fill-opacity="0.07" stroke="{colour}" stroke-width="2"/>')
        parts.append(_key(index, label, colour))
    parts += [_axis(turn, len(metrics), metric) for turn, metric in enumerate(metrics)]
    return _framed(parts, height=480 + 20 * len(found["models"]))


def placed(metric: Mapping[str, Any]) -> dict[str, float]:
    """Where each model stands on a metric's axis: 0.5 the worst, 1 the best; 1 for all where they are equal."""
    sign = 1 if metric["higher_is_better"] else -1
    values = {label: sign * value for label, value in metric["means"].items()}
    low, high = min(values.values()), max(values.values())
    return {label: 1.0 if high == low else 0.5 + 0.5 * (value - low) / (high - low) for label, value in values.items()}


def _axis(turn: int, of: int, metric: Mapping[str, Any]) -> str:
    x, y = _point(turn, of, 1.13)
    means = metric["means"].values()
    worst, best = (min(means), max(means)) if metric["higher_is_better"] else (max(means), min(means))
    said = f"{number(worst)} to {number(best)}"
    anchor = "middle" if abs(x - 260) < 20 else "start" if x > 260 else "end"
    name = f'<tspan x="{x}" font-weight="600">{escape(metric["name"])}</tspan>'
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{name}<tspan x="{x}" dy="15">{escape(said)}</tspan></text>'


def _key(index: int, label: str, colour: str) -> str:
    y = 480 + 20 * index
    return f'<rect x="24" y="{y - 10}" width="12" height="12" fill="{colour}"/><text x="44" y="{y}">{escape(label)}</text>'


def _point(turn: int, of: int, reach: float) -> tuple[float, float]:
    angle = 2 * math.pi * turn / of - math.pi / 2
    return round(260 + RADIUS * reach * math.cos(angle), 1), round(240 + RADIUS * reach * math.sin(angle), 1)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _framed(parts: Sequence[str], height: int = 480) -> str:
    style = 'font-family="system-ui, sans-serif" font-size="13" fill="#111827"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-70 0 660 {height}" {style}>\n{body}\n</svg>\n'
