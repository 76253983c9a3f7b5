"""The tiny pack's check: its recipe repaints as the demo does, and each requirement is what the issue asks for."""

from typing import Any

import numpy as np
import pytest

from benchmarks import borders, pack_check, provenance, savings
from pairwright import recipe
from pairwright.options import Curate, Generate, Score, Train


def options(found: recipe.Recipe, name: str) -> Any:
    (chosen,) = [step.options for step in found.steps if step.name == name]
    return chosen


@pytest.fixture(scope="module")
def check() -> recipe.Recipe:
    (found,) = recipe.load(pack_check.RECIPE)
    return found


def test_held_out_photographs_are_repainted_as_in_the_demo_and_none_is_dropped_for_its_score(check: recipe.Recipe):
    (demo,) = recipe.load("tiny")
    pairs, held_out = options(demo, "pairs"), options(check, "held_out")
    assert isinstance(held_out, Curate)
    for name in ("saliency", "mask", "perturbation", "composite", "resolution"):
        assert getattr(held_out, name) == getattr(pairs, name), name
    assert (held_out.filters, held_out.gap, held_out.keep) == ((), None, None)


def test_winners_are_curated_as_in_the_learning_benchmark(check: recipe.Recipe):
    learning = recipe.load(pack_check.RECIPE.parent / "learning" / "learning.toml")[0]
    assert options(check, "pairs").meaning() == options(learning, "pairs").meaning()
    sft = options(check, "sft")
    assert isinstance(sft, Train)
    assert (sft.objective, sft.steps, sft.start.base) == ("sft", 300, "tiny:base")


def test_the_judges_are_not_curations_scorer(check: recipe.Recipe):
    scores = options(check, "scores")
    assert isinstance(scores, Score)
    assert tuple(each.name for each in scores.rewards) == pack_check.JUDGES
    samples = options(check, "samples")
    assert isinstance(samples, Generate)
    assert set(samples.models) == {"base", "sft"}


def values(**means: float) -> dict[str, dict[str, list[float]]]:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 60)
    sides = {side: list(mean + noise + rng.normal(0, 0.1, 60)) for side, mean in means.items()}
    return dict.fromkeys(pack_check.JUDGES, sides)


CAPTIONS = [f"caption {place // 2}" for place in range(60)]
GOOD = {"photograph": 2.0, "round_trip": 1.5, "repainted": 1.0, "base": 0.0, "sft": 0.3}


def verdict(**means: float) -> list[bool]:
    renamed = {name.replace("_", " "): mean for name, mean in {**GOOD, **means}.items()}
    found = pack_check.checks(values(**renamed), CAPTIONS)
    return list(pack_check.verdict(found, probes(), 0.0).values())


def test_a_pack_with_something_to_align_passes():
    assert verdict() == [True] * 6


@pytest.mark.parametrize(
    ("change", "failing"),
    [({"round_trip": 2.0}, 0), ({"base": 1.5}, 1), ({"repainted": 2.0}, 2), ({"sft": 0.0}, 5)],
)
def test_each_requirement_fails_alone(change: dict[str, float], failing: int):
    assert not verdict(**change)[failing]


def probes(*, pixels: bool = True, latents: bool = True) -> list[dict[str, Any]]:
    """Rows of two feathers; those of the second are the contrary."""
    numbers = {"pairs": 60, "value": 0.9, "low": 0.8, "high": 1.0}
    return [
        {"feather": feather, "where": where, "side": side, "probe": probe, **numbers, "hidden": hidden is (feather == 0)}
        for feather in (0.0, 1.0)
        for where, hidden in ((borders.PIXELS, pixels), (borders.LATENTS, latents))
        for side in (borders.REPAINTED, borders.PASTED)
        for probe in borders.PROBES
    ]


def test_the_border_of_the_recipes_own_feather_decides(check: recipe.Recipe):
    decided = borders.decisive(probes(), borders.LATENTS, 1.0)
    assert (decided["side"], decided["probe"], decided["feather"], decided["hidden"]) == (
        borders.PASTED,
        borders.BORDER,
        1.0,
        False,
    )
    assert borders.decisive(probes(), borders.PIXELS, 0.0)["probe"] == borders.STEP
    assert not borders.decisive(probes(pixels=False), borders.PIXELS, 0.0)["hidden"]
    assert pack_check.options_of(check, "held_out", Curate).mask.feather == options(check, "held_out").mask.feather


def test_the_page_ticks_what_passed_and_lists_every_number():
    found = pack_check.checks(values(**{name.replace("_", " "): mean for name, mean in GOOD.items()}), CAPTIONS)
    said = {
        "date": "today",
        "machine": "m",
        "devices": ["d"],
        "system": "s",
        "versions": {"torch": "1"},
        "pack": {"base": "sha256:ab"},
    }
    means = {
        judge: {side: float(np.mean(row)) for side, row in by_side.items()}
        for judge, by_side in values(**{name.replace("_", " "): mean for name, mean in GOOD.items()}).items()
    }
    page = pack_check.page(
        {
            "verdict": pack_check.verdict(found, probes(pixels=False), 0.0),
            "photographs": 60,
            "captions": 30,
            "means": means,
            "checks": [vars(each) for each in found],
            "borders": probes(pixels=False),
            "feather": 0.0,
            "provenance": said,
        }
    )
    assert page.count("- [x]") == 5
    assert page.count("- [ ] and not by a seam in pixels") == 1
    assert "| feather 0, pixels, repainted, border | 60 | 0.900 | 0.800 .. 1.00 | no |" in page
    assert len([line for line in page.splitlines() if line.startswith("| ") and "| imagereward |" in line]) == 6


def test_a_table_escapes_what_would_break_it():
    assert provenance.table(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n"


def test_savings_are_ratios_of_medians_and_of_mean_forwards():
    slow = savings.Way("slow", [4.0, 100.0, 6.0], [200, 200, 200])
    fast = savings.Way("fast", [2.0, 1.0, 3.0], [40, 60, 50], "said")
    assert savings.rows_of(slow, fast) == [
        ["slow", "6.00", "1.00", "200", "1.00", ""],
        ["fast", "2.00", "3.00", "50", "4.00", "said"],
    ]


def test_repaints_cost_two_forwards_a_step_with_guidance():
    (demo,) = recipe.load("tiny")
    assert savings.repaint_forwards(demo) == 40
