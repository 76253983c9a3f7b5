"""What the documentation shows works: recipes parse, commands exist and take the options that are shown."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pairwright import cli, recipe
from pairwright.audit import Audit
from pairwright.cli import steps

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    (page.name, kind, text)
    for page in PAGES
    for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
]


def blocks(kind: str) -> list[Any]:
    return [pytest.param(text, id=f"{name}-{number}") for number, (name, found, text) in enumerate(BLOCKS) if found == kind]


@pytest.mark.parametrize("text", blocks("toml"))
def test_a_recipe_in_the_docs_is_valid(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    assert recipe.load(path)


COMMANDS = [
    line.split("  #")[0].strip()
    for _, kind, text in BLOCKS
    if not kind
    for line in text.splitlines()
    if line.startswith("pairwright ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_in_the_docs_is_understood(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "laptop", "rich"):
        (tmp_path / f"{name}.toml").write_text(f'name = "{name}"\nextends = "tiny"\n')
    reached: list[str] = []
    monkeypatch.setattr(steps, "one_step", lambda place, verb, chosen: reached.append(verb))
    monkeypatch.setattr(steps, "_calibrate", lambda place, chosen: reached.append("calibrate"))
    monkeypatch.setattr(steps, "execute_all", lambda recipes, root: reached.append("run"))
    monkeypatch.setattr(steps, "execute", lambda recipe, root, only: reached.append("run"))
    monkeypatch.setattr(steps, "tabulate", lambda *_: reached.append("table"))
    monkeypatch.setattr(steps, "_choose", lambda folder, training, asked: reached.append("checkpoints"))
    monkeypatch.setattr("pairwright.evaluate.compare_runs", lambda *_: reached.append("compare"))
    monkeypatch.setattr("pairwright.export.export", lambda *_, **__: [reached.append("export")])  # type: ignore[func-returns-value]
    monkeypatch.setattr("pairwright.export.export_pairs", lambda *_, **__: [reached.append("export")])  # type: ignore[func-returns-value]
    for part in ("create", "serve", "links", "export", "report"):
        monkeypatch.setattr(f"pairwright.study.{part}", lambda *_, **__: reached.append("study") or [])  # type: ignore[func-returns-value]
    monkeypatch.setattr("pairwright.study.locate", lambda path: path)
    monkeypatch.setattr("pairwright.run.result", lambda *_: None)
    monkeypatch.setattr("pairwright.pairsets.find", lambda *_: None)
    monkeypatch.setattr("pairwright.audit.audit", lambda *_, **__: reached.append("audit") or Audit("mine", 0, 0, ()))  # type: ignore[func-returns-value]
    monkeypatch.setattr("pairwright.report.gallery.serve", lambda *_: reached.append("pairs"))
    words = shlex.split(command)[1:]
    if words[0] == "init":
        (tmp_path / "mine.toml").unlink()
    if words[0] in {"report", "plan", "doctor", "gc"} or "--help" in words:
        with pytest.raises(SystemExit) as ended:
            cli.call([words[0], "--help"])
        assert not ended.value.code
        return
    cli.call(words)
    assert reached or words[0] in {"init", "recipes"}


def test_the_docs_show_commands_and_recipes_at_all() -> None:
    assert len(COMMANDS) > 8
    assert len(blocks("toml")) >= 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_citation_and_metadata_agree_on_the_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"license: {project['license']}" in (ROOT / "CITATION.cff").read_text()
