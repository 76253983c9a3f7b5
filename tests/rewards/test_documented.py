"""Every scorer has its place in docs/scorers.md, and what is said there of prompts is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pairwright import plugins

ROOT = Path(__file__).parent.parent.parent
SHELF = ROOT / "src" / "pairwright" / "rewards"
PAGE = (ROOT / "docs" / "scorers.md").read_text(encoding="utf-8")
NAMES = plugins.names("rewards")


def section(name: str) -> str:
    found = re.search(rf"^## {name}$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return found.group(1) if found else ""


def row(name: str) -> list[str]:
    found = re.search(rf"^\| \[{name}\]\(#{name}\) \|(.*)\|$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in found.group(1).split("|")] if found else []


@pytest.mark.parametrize("name", NAMES)
def test_a_scorer_says_its_unit_its_weights_what_it_is_not_for_and_how_it_was_checked(name: str) -> None:
    assert len(row(name)) == 4, f"docs/scorers.md has no row for {name}"
    # Variants have a list of their own in place of a unit.
    wanted = ("Weights", "Not for", "Checked") if name == "clipscore" else ("Unit", "Weights", "Not for", "Checked")
    missing = [each for each in wanted if f"- **{each}.**" not in section(name)]
    assert not missing, f"docs/scorers.md, {name}: {missing}"


@pytest.mark.parametrize("name", NAMES)
def test_who_reads_no_prompt_says_so_in_both_places(name: str) -> None:
    own = (SHELF / f"{name}.py").read_text(encoding="utf-8")
    shared = {
        each for line in re.findall(r"^from pairwright\.rewards import (.*)$", own, re.MULTILINE) for each in line.split(", ")
    }
    texts = [own, *((SHELF / f"{each}.py").read_text(encoding="utf-8") for each in shared)]
    needs = not any("needs_prompt: ClassVar[bool] = False" in text for text in texts)
    assert (row(name)[-1] != "no") is needs


def test_no_section_is_of_a_scorer_that_is_gone() -> None:
    assert set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE)) <= set(NAMES)
