"""A comparison as tables, and the arithmetic of the papers' form."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest

from pairwright import options
from pairwright.evaluate.compare import comparison
from pairwright.evaluate.formats import FORMATS, aligned
from pairwright.evaluate.join import Scored
from pairwright.evaluate.latex import decimals, escaped, gain_column, latex
from pairwright.evaluate.radar import placed, radar
from pairwright.records import Column


def made() -> Scored:
    """Ten prompts in two categories, two models beside the base, a metric of each direction. Everything can be worked by hand."""
    places = [(f"p{number}", 0) for number in range(10)]
    level = {place: float(number) for number, place in enumerate(places)}

    def shifted(by: float) -> dict[tuple[str, int], float]:
        return {place: value + by for place, value in level.items()}

    values = {
        "base": {"score_a": shifted(10), "err%": shifted(0)},
        "SFT": {"score_a": shifted(10.125), "err%": shifted(1)},
        "ours & more": {"score_a": shifted(12), "err%": shifted(-2)},
    }
    columns = (Column("score_a", "points"), Column("err%", "share", higher_is_better=False))
    return Scored(columns, values, {place: ("odd", "even")[number % 2] for number, place in enumerate(places)})  # type: ignore[arg-type]


FOUND = comparison(made(), options.Compare(resamples=4000))


def test_the_papers_form_marks_best_and_second_and_adds_up() -> None:
    lines = latex(FOUND).splitlines()
    body = [line for line in lines if "&" in line]
    assert body == [
        r"Model & score\_a $\uparrow$ & err\% $\downarrow$ \\",
        r"base & 14.50 & \underline{4.500} \\",
        r"SFT & \underline{14.62} (+0.12)$^{*}$ & 5.500 (+1.000)$^{*}$ \\",
        r"ours \& more & \textbf{16.50} (+2.00)$^{*}$ & \textbf{2.500} (-2.000)$^{*}$ \\",
    ]
    assert [line for line in lines if line.startswith("\\")] == [
        r"\begin{tabular}{lcc}",
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_a_printed_gain_is_the_difference_of_the_printed_values() -> None:
    """20.644 - 20.325 = 0.319, but 20.64 - 20.32 is what a reader can check."""
    column = gain_column({"base": 20.325, "tuned": 20.644}, "base", decimals=2)
    tuned = column["tuned"]
    assert tuned is not None
    assert (tuned.value, tuned.gain) == (Decimal("20.64"), Decimal("0.32"))


def test_equal_printed_values_share_a_place_and_absent_ones_have_none() -> None:
    column = gain_column({"base": 1.0, "a": 2.001, "b": 1.999, "c": None, "d": 0.5}, "base", decimals=2)
    assert {label: cell and cell.place for label, cell in column.items()} == {"base": 2, "a": 1, "b": 1, "c": None, "d": 0}
    alone = gain_column({"base": 1.0}, "base", decimals=2)["base"]
    assert alone is not None
    assert (alone.place, alone.gain) == (0, None)


def test_decimals_follow_the_scale() -> None:
    assert [decimals(each) for each in ([20.6, None], [1.5, -3.0], [0.27], [None])] == [2, 3, 4, 4]


def test_latex_prints_names_as_they_are() -> None:
    assert escaped(r"50% of a_b {x} #1 & $~^\ ") == (
        r"50\% of a\_b \{x\} \#1 \& \$\textasciitilde{}\textasciicircum{}\textbackslash{} "
    )


def test_csv_has_every_row_and_category_in_full_precision() -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS[".csv"](FOUND))))
    assert [(row["metric"], row["model"], row["category"]) for row in rows[:3]] == [
        ("score_a", "SFT", ""),
        ("score_a", "SFT", "even"),
        ("score_a", "SFT", "odd"),
    ]
    assert len(rows) == 2 * 2 * 3
    assert float(rows[0]["difference"]) == 0.125
    assert rows[0]["p_holm"] == repr(FOUND["comparisons"][0]["p_holm"])
    assert rows[1]["p_holm"] == "", "categories describe and are not corrected"
    assert {row["unit"] for row in rows} == {"points", "share"}


def test_the_text_table_is_aligned_and_says_what_markdown_says() -> None:
    lines = FORMATS[".txt"](FOUND).splitlines()
    table = lines[lines.index("") + 1 :]
    assert table[0].split()[:3] == ["metric", "model", "base"]
    assert len({len(line) for line in table}) == 1
    cells = [
        [cell.strip(" *").replace("\\", "") for cell in line.strip("|").split("|")]
        for line in FORMATS[".md"](FOUND).splitlines()
        if "| SFT |" in line
    ]
    assert [line.split() for line in table if " SFT " in line] == [" ".join(row).split() for row in cells]


@pytest.mark.parametrize("left", [1, 2])
def test_columns_are_flush(left: int) -> None:
    lines = aligned([["a", "bb", "c"], ["aaa", "b", "ccc"]], left=left)
    assert lines == {1: ["a    bb    c", "---  --  ---", "aaa   b  ccc"], 2: ["a    bb    c", "---  --  ---", "aaa  b   ccc"]}[left]


def test_the_radar_puts_the_best_at_the_rim_whichever_way_a_metric_counts() -> None:
    metric = {"name": "e", "higher_is_better": False, "means": {"base": 4.0, "a": 2.0, "b": 3.0}}
    assert placed(metric) == {"base": 0.5, "a": 1.0, "b": 0.75}
    assert placed({**metric, "means": {"base": 4.0, "a": 4.0}}) == {"base": 1.0, "a": 1.0}


def test_the_radar_is_one_file_with_a_line_per_model_and_names_escaped() -> None:
    means = {"base": 1.0, "<b>ours</b>": 2.0}
    metrics = [{"name": name, "higher_is_better": True, "means": means} for name in ("a & b", "c", "d", "e")]
    figure = ET.fromstring(radar({"models": list(means), "metrics": metrics}))
    kinds = [each.tag.rpartition("}")[2] for each in figure]
    assert (kinds.count("polygon"), kinds.count("line"), kinds.count("rect")) == (2 + 2, 4, 2)
    said = ["".join(each.itertext()) for each in figure if each.tag.endswith("text")]
    assert said == ["base", "<b>ours</b>", *(f"{name}1.00 to 2.00" for name in ("a & b", "c", "d", "e"))]
    base, ours = [each.get("points", "").split() for each in figure if each.get("stroke-width")]
    assert (base[0], ours[0]) == ("260.0,155.0", "260.0,70.0"), "up from the centre by half the radius, and by all of it"
    assert "fewer than three metrics" in radar({"models": list(means), "metrics": metrics[:2]})
