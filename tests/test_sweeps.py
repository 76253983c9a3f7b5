"""Sweeps that ship: their variants are the rows of the papers' tables; published numbers agree with themselves."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pairwright import published, recipe
from pairwright.evaluate import planes, printed
from pairwright.published import PublishedError
from pairwright.recipe import Recipe, RecipeError

SWEEPS = sorted(name for name in recipe.shipped() if name.startswith("sweeps/"))
PLAIN = """
name = "mine"
extends = "tiny"
"""


def by_row(name: str) -> dict[str, Recipe]:
    return {each.row.label: each for each in recipe.load(name) if each.row}


def meanings(found: Recipe) -> dict[str, Any]:
    """What is computed, without the labels of models and what is compared of them."""
    return {step.name: step.options.meaning() for step in found.steps if step.verb in {"curate", "train"}}


@pytest.mark.parametrize(
    ("sweep", "row", "single"),
    [
        ("stages", "SFT", "table3-sft"),
        ("stages", "stage 1", "table3-stage1"),
        ("stages", "stage 2", "table3-stage2"),
        ("stages", "stage 1 + 2", "table3-both"),
        ("curation", "none", "table6-none"),
        ("curation", "colour", "table6-colour"),
        ("curation", "gap", "table6-gap"),
        ("curation", "all", "table6-all"),
        ("perturbations", "SD-1.5 inpainting", "table4-sd15-inpainting"),
        ("perturbations", "PixArt-alpha inpainting", "table4-pixart-inpainting"),
        ("perturbations", "SD-3.5-M inpainting", "table4-sd35-inpainting"),
        ("perturbations", "SD-1.5 text to image", "table4-sd15-text2image"),
        ("sources", "HPDv3", "table2-hpdv3"),
        ("sources", "Pick-a-Pic v2", "table2-pickapic"),
        ("sources", "Civitai-top", "table2-civitai"),
        ("complementarity-sd15", "on Diffusion-DPO", "on-dpo-sd15"),
        ("complementarity-sd35", "on FlowGRPO", "on-flowgrpo-sd35"),
    ],
)
def test_a_row_of_a_sweep_is_the_row_that_ships_by_itself(sweep: str, row: str, single: str) -> None:
    (alone,) = recipe.load(f"realalign/{single}")
    assert meanings(by_row(f"sweeps/{sweep}")[row]) == meanings(alone)


def test_numbers_of_pairs_are_trained_for_equal_steps_or_as_the_launcher_has_it() -> None:
    def said(name: str) -> dict[str, tuple[int, int]]:
        found = {row: {step.name: step.options for step in each.steps} for row, each in by_row(name).items()}
        return {row: (options["pairs"].keep.top, options["stage1"].steps) for row, options in found.items()}  # type: ignore[attr-defined]

    assert said("sweeps/pairs") == {"256": (256, 1600), "512": (512, 1600), "768": (768, 1600), "1024": (1024, 1600)}
    assert said("sweeps/pairs-released") == {**said("sweeps/pairs"), "1024": (1024, 3200)}
    assert [each.row.values for each in recipe.load("sweeps/pairs-released") if each.row][3] == {"pairs": 1024.0}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_has_a_table_with_a_row_for_each_run(name: str) -> None:
    found = recipe.load(name)
    labels = [each.row.label for each in found if each.row]
    assert len(set(labels)) == len(found)
    assert len(found) > 1 or labels == [""], "one run, all models of which are rows"
    assert len({each.name for each in found}) == len(found)
    for each in found:
        assert each.row is not None
        assert recipe.parse(each.document()).row == each.row
        if all(step.verb != "compare" for step in each.steps):
            assert any(step.verb == "feedback" for step in each.steps), "a table of models or of edits"
            continue
        models = [step.options.models for step in each.steps if step.verb == "generate"][-1]  # type: ignore[attr-defined]
        assert each.row.table.model in {None, *models}
        assert set(each.row.table.also) <= set(models)
        if each.row.table.published:
            paper = published.find(each.row.table.published)
            assert bool(paper.rows) == bool(paper.source), "no number without its source"
            assert paper.rows or paper.missing


@pytest.mark.parametrize("name", [each for each in SWEEPS if not each.startswith("sweeps/tiny-")])
def test_every_sweep_has_a_miniature(name: str) -> None:
    miniature = {
        "complementarity-sd15": "complementarity",
        "complementarity-sd35": "complementarity",
        "figure2-sd35": "complementarity",
    }
    short = name.removeprefix("sweeps/")
    small = by_row(f"sweeps/tiny-{miniature.get(short, short)}")
    for found in small.values():
        assert "no evidence" in found.description
        assert all(step.options.steps <= 40 for step in found.steps if step.verb == "train")  # type: ignore[attr-defined]


def test_variants_change_several_fields_and_take_steps_away(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        PLAIN
        + '[sweep.kind]\nshort = { "stage1.steps" = 5, "stage2" = false, "pictures.models" = { "stage 1 + 2" = false } }\n'
        + "full = {}\n"
        + '[sweep]\nseed = [1, 2]\n[table]\nmodel = "stage 1"\n'
    )
    found = recipe.load(file)
    assert [each.name for each in found] == ["mine-short-seed=1", "mine-short-seed=2", "mine-full-seed=1", "mine-full-seed=2"]
    assert [each.row.label for each in found if each.row][:2] == ["kind short, seed 1", "kind short, seed 2"]
    assert [step.name for step in found[0].steps if step.verb == "train"] == ["stage1"]
    assert found[0].row is not None
    assert found[0].row.values == {"kind": "short", "seed": 1}


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ('[sweep.kind]\nshort = { "stage9.steps" = 5 }', r"must be '<step>\.<field>' or 'seed'\. Did you mean"),
        ('[sweep.kind]\nshort = { "stage1" = 5 }', r"must be '<step>\.<field>' or 'seed'"),
        ('[sweep]\n"stage1.steps" = 5', "must be a list of values or a table of variants, got 5"),
        ("[sweep]\nseed = [1]\n[table]\nmodell = 'x'", r"table.*modell: unknown field\. Did you mean 'model'\?"),
    ],
)
def test_a_mistake_in_a_sweep_is_an_error_that_names_it(tmp_path: Path, sweep: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(PLAIN + sweep)
    with pytest.raises(RecipeError, match=message):
        recipe.load(file)


def test_a_recipe_extends_several_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "tiny"\nname = "a"\n[step.stage1]\nsteps = 3\n')
    (tmp_path / "b.toml").write_text("[step.stage1]\nsteps = 4\nbatch = 2\n")
    (tmp_path / "c.toml").write_text('name = "c"\nextends = ["a.toml", "b.toml"]\n')
    (found,) = recipe.load(tmp_path / "c.toml")
    stage1 = next(step.options for step in found.steps if step.name == "stage1")
    assert (stage1.steps, stage1.batch) == (4, 2)  # type: ignore[attr-defined]
    (tmp_path / "c.toml").write_text('name = "c"\nextends = [3]\n')
    with pytest.raises(RecipeError, match="one name or a list of names"):
        recipe.load(tmp_path / "c.toml")


# The gain columns of the paper's Table 1 are not at hand in print; these are its values' differences, worked by hand.
GAINS = {
    "realalign-table1a": {
        "SPO": "+0.54 +0.17 +0.06 +1.33 -0.30 +0.28",
        "Diffusion-DPO": "+0.38 +0.17 +0.11 +0.82 +0.08 +0.11",
        "stage 1 + 2": "+0.39 +0.22 +0.14 +1.35 +0.26 +0.16",
        "on Diffusion-DPO": "+0.54 +0.26 +0.16 +1.52 +0.25 +0.17",
    },
    "realalign-table1b": {
        "SPO": "+0.36 +0.21 +0.06 +1.33 -0.31 +0.28",
        "Diffusion-DPO": "+0.24 +0.15 +0.10 +0.79 +0.08 +0.08",
        "stage 1 + 2": "+0.30 +0.16 +0.13 +1.37 +0.26 +0.10",
        "on Diffusion-DPO": "+0.39 +0.22 +0.16 +1.60 +0.24 +0.12",
    },
    "realalign-table1-sd35-drawbench": {
        "Diffusion-DPO": "+0.28 +0.18 +0.17 +0.76 -0.13 +0.00",
        "FlowGRPO": "+1.14 +0.47 +0.29 +2.60 +0.09 +0.50",
        "stage 1 + 2": "+0.38 +0.29 +0.16 +2.74 +0.17 +0.11",
        "on FlowGRPO": "+1.21 +0.51 +0.30 +3.27 +0.12 +0.55",
    },
    "realalign-table1-sd35-partiprompts": {
        "Diffusion-DPO": "+0.21 +0.11 +0.10 +0.44 -0.12 +0.02",
        "FlowGRPO": "+1.14 +0.27 +0.17 +1.35 +0.15 +0.56",
        "stage 1 + 2": "+0.36 +0.16 +0.11 +1.69 +0.20 +0.13",
        "on FlowGRPO": "+1.20 +0.29 +0.18 +1.74 +0.18 +0.61",
    },
}


@pytest.mark.parametrize("name", GAINS)
def test_gains_of_published_values_come_out_to_the_last_digit(name: str) -> None:
    found = printed.cells(published.find(name))
    gains = {label: [cell.gain for cell in row if cell] for label, row in found.items()}
    assert {
        label: " ".join(f"{each:+}" for each in row if each is not None) for label, row in gains.items() if label != "base"
    } == GAINS[name]
    assert gains["base"] == [None] * 6


def test_best_and_second_of_a_published_column_are_marked() -> None:
    found = printed.cells(published.find("realalign-table1a"))
    places = {label: [cell.place for cell in row if cell] for label, row in found.items()}
    assert places["on Diffusion-DPO"] == [1, 1, 1, 1, 2, 2]
    assert places["SPO"][0] == 1, "21.19 twice: both are best"
    assert places["SPO"][5] == 1
    assert places["base"] == [0] * 6
    assert found["base"][0] is not None
    assert found["base"][0].value == Decimal("20.65")


def test_a_paper_is_shown_with_its_source_and_with_what_is_missing() -> None:
    shown = printed.block(published.find("realalign-table6"))
    text = printed.beside(shown, ".txt")
    assert text.startswith("Published, not measured here: arXiv 2605.19839, Table 6")
    assert "21.04 (+0.39)" in text
    assert "Not here: the rows 'none', 'colour' and 'gap'." in text
    assert r"stage 1 \& 2" in printed.beside(printed.Block("x", ["a"], [["stage 1 & 2", "3"]], []), ".tex")
    assert "| base | 20.65 | 0.16 |" in printed.beside(shown, ".md")
    assert printed.beside(printed.Block("x.", [], [], ["y"]), ".md") == "**x.**\n\n\ny\n"


def test_published_numbers_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    with pytest.raises(PublishedError, match=r"neither a file nor among those that ship\. Did you mean 'realalign-table1[ab]'"):
        published.find("realalign-table1")
    file = tmp_path / "mine.toml"
    file.write_text('paper = "x"\nwhat = "y"\nsetting = "z"\nsource = "s"\nbaseline = "bas"\n[rows.base]\na = 1\n')
    with pytest.raises(PublishedError, match="baseline: there is no row 'bas'"):
        published.find(str(file))
    file.write_text('paper = "x"\n')
    with pytest.raises(PublishedError, match="what"):
        published.find(str(file))


def test_figure_2_scales_each_metric_over_the_models_and_takes_the_mean() -> None:
    rows = published.find("realalign-figure2-sd35").rows
    across = planes.scaled(rows, ["hpsv3", "unifiedreward"])
    assert across["base"] == 0.0
    assert across["on FlowGRPO"] == pytest.approx(0.5 * 1.0 + 0.5 * 0.30 / 0.38)
    assert across["DiffusionNFT"] == pytest.approx(0.5 * 2.44 / 3.27 + 0.5)
    up = planes.scaled(published.find("realalign-figure2-sd15").rows, ["texture"])
    assert (up["InPO"], up["stage 1 + 2"]) == (0.0, 1.0)
    drawn = planes.plane({"<b>": {"x": 1.0, "y": 2.0}, "c": {"x": 3.0, "y": 1.0}, "d": {"x": None, "y": 1.0}}, ["x"], ["y"])
    assert drawn.count("<circle") == 4, "a model without a number is no point"
    assert "&lt;b&gt; (0.00, 1.00)" in drawn
