"""Metrics over a number (pairs, steps of training) as a self-contained SVG: a panel per metric, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pairwright.wording import number

WIDTH, HEIGHT = 260, 150


def curves(found: Mapping[str, Any], at: Mapping[str, float], axis: str) -> str:
    """Differences to the baseline with their intervals, a panel per metric; the baseline is the line at 0.

    Args:
        found: a comparison.
        at: where each model stands; models without a place are left out.
        axis: what the places are, in words.
    """
    panels = []
    for index, metric in enumerate(found["metrics"]):
        rows = [row for row in found["comparisons"] if row["metric"] == metric["name"] and row["model"] in at]
        if rows:
            left, top = 20 + (index % 2) * (WIDTH + 100), 20 + (index // 2) * (HEIGHT + 90)
            panels.append(f'<g transform="translate({left} {top})">{_panel(metric, rows, at, axis)}</g>')
    lines = (len(found["metrics"]) + 1) // 2
    style = 'font-family="system-ui, sans-serif" font-size="12" fill="#111827"'
    body = "\n".join(panels)
    size = f"0 0 {2 * (WIDTH + 100)} {20 + lines * (HEIGHT + 90)}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {style}>\n{body}\n</svg>\n'


def _panel(metric: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], at: Mapping[str, float], axis: str) -> str:
    ordered = sorted(rows, key=lambda row: at[row["model"]])
    places = [at[row["model"]] for row in ordered]
    ends = [0.0, *(float(row[end]) for row in ordered for end in ("low", "high", "difference") if row[end] is not None)]
    low, high = min(ends), max(ends)
    room = 0.08 * (high - low) or 1.0
    low, high, first, last = low - room, high + room, min(places), max(places)

    def x(place: float) -> float:
        return round(60 + (WIDTH - 20) * (place - first) / (last - first or 1) + 10, 1)

    def y(value: float) -> float:
        return round(HEIGHT * (high - value) / (high - low), 1)

    arrow = "higher is better" if metric["higher_is_better"] else "lower is better"
    zero = y(0.0)
    parts = [
        f'<text x="60" y="-6" font-weight="600">{escape(metric["name"])}, difference ({arrow})</text>',
        f'<rect x="60" y="0" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#e5e7eb"/>',
        f'<line x1="60" x2="{60 + WIDTH}" y1="{zero}" y2="{zero}" stroke="#9ca3af" stroke-dasharray="3 3"/>',
        *(
            f'<text x="54" y="{y(each) + 4}" text-anchor="end">{number(each, sign=True)}</text>'
            for each in (low + room, high - room)
        ),
        *(f'<text x="{x(each)}" y="{HEIGHT + 16}" text-anchor="middle">{each:g}</text>' for each in places),
        f'<text x="{60 + WIDTH / 2}" y="{HEIGHT + 34}" text-anchor="middle">{escape(axis)}</text>',
    ]
    spots = [(x(place), y(row["difference"])) for place, row in zip(places, ordered, strict=True)]
    line = " ".join(f"{left},{top}" for left, top in spots)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#2563eb" stroke-width="2"/>')
    for (left, top), row in zip(spots, ordered, strict=True):
        if row["low"] is not None:
            parts.append(f'<line x1="{left}" x2="{left}" y1="{y(row["low"])}" y2="{y(row["high"])}" stroke="#2563eb"/>')
        parts.append(f'<circle cx="{left}" cy="{top}" r="3.5" fill="#2563eb"/>')
    return "".join(parts)
