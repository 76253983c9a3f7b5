"""A comparison in the form of the field's papers: a row per model, a column per metric, ``value (+gain)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from pairwright.wording import percent

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    each: f"\\{each}" for each in "&%$#_{}"
}


@dataclass(frozen=True)
class Cell:
    """One model on one metric, as printed."""

    value: Decimal
    gain: Decimal | None
    """The printed value minus the printed baseline, so that a reader who subtracts gets what stands there; None: the baseline."""
    place: int
    """1: best, 2: second; 0: neither. Equal printed values share a place."""


def gain_column(
    values: Mapping[str, float | None], baseline: str, *, decimals: int, higher_is_better: bool = True
) -> dict[str, Cell | None]:
    """One metric of all models.

    Args:
        values: by model; None where it has none.
        baseline: the model that gains are counted from; one that is not there: no gains.
        decimals: of values and gains.
        higher_is_better: the metric's direction.
    """
    grain = Decimal(1).scaleb(-decimals)
    printed = {label: None if value is None else _rounded(value, grain) for label, value in values.items()}
    ranks = sorted({each for each in printed.values() if each is not None}, reverse=higher_is_better)
    base = printed.get(baseline)

    def cell(label: str, value: Decimal | None) -> Cell | None:
        if value is None:
            return None
        gain = None if label == baseline or base is None else value - base
        return Cell(value, gain, ranks.index(value) + 1 if value in ranks[:2] and len(printed) > 1 else 0)

    return {label: cell(label, value) for label, value in printed.items()}


def gain_columns(found: Mapping[str, Any]) -> list[dict[str, Cell | None]]:
    """A comparison's means as they are printed: for each metric, a cell by model."""
    return [
        gain_column(
            metric["means"],
            found["baseline"],
            decimals=decimals(list(metric["means"].values())),
            higher_is_better=metric["higher_is_better"],
        )
        for metric in found["metrics"]
    ]


def survivors(found: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Metric and model of every difference that correction leaves standing."""
    return {(row["metric"], row["model"]) for row in found["comparisons"] if row["verdict"] in {"better", "worse"}}


def latex(found: Mapping[str, Any]) -> str:
    """A ``tabular`` with booktabs' rules. Best bold, second underlined; a star where the verdict survives correction."""
    metrics = found["metrics"]
    columns, settled = gain_columns(found), survivors(found)
    arrows = {True: r"$\uparrow$", False: r"$\downarrow$"}
    heads = [f"{escaped(metric['name'])} {arrows[metric['higher_is_better']]}" for metric in metrics]
    lines = [
        f"% {found['prompts']} prompts; {percent(found['confidence'])} intervals over prompts, corrected by Holm.",
        "% Gains are differences of the printed values. Star: the interval holds no 0, after correction. Needs booktabs.",
        rf"\begin{{tabular}}{{l{'c' * len(metrics)}}}",
        r"\toprule",
        _line(["Model", *heads]),
        r"\midrule",
    ]
    for label in found["models"]:
        cells = [_cell(column[label], (metric["name"], label) in settled) for metric, column in zip(metrics, columns, strict=True)]
        lines.append(_line([escaped(label), *cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def decimals(values: Sequence[float | None]) -> int:
    """Two for scores of 10 and more (PickScore), three from 1 on, four below (HPSv2)."""
    most = max((abs(each) for each in values if each is not None), default=0.0)
    return 2 if most >= 10 else 3 if most >= 1 else 4


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_SPECIAL.get(each, each) for each in text)


def _rounded(value: float, grain: Decimal) -> Decimal:
    return Decimal(repr(value)).quantize(grain, ROUND_HALF_EVEN)


def _cell(cell: Cell | None, settled: bool) -> str:  # noqa: FBT001
    if cell is None:
        return "--"
    value = {0: "{}", 1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}[cell.place].format(cell.value)
    star = "$^{*}$" if settled else ""
    return value if cell.gain is None else f"{value} ({cell.gain:+}){star}"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
