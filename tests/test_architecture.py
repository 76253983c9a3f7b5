"""The floors: ground <- shelves <- verbs <- run <- cli. Nobody imports upward; verbs do not import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "pairwright"

GROUND = {
    "advice", "bradley_terry", "caches", "catalogue", "context", "digests", "duplicates", "engines", "errors", "hardware", "images",
    "literals", "locks", "models", "onnx_files", "options", "overlaps", "pairsets", "places", "plugins", "progress", "prompts",
    "protocols", "published", "ranks", "recipe", "records", "resolve", "richhf", "rowfiles", "runtime", "scoring", "seeds",
    "selection", "servers", "shares", "single_files", "state_dicts", "stats", "store", "suggestions", "tables", "tfrecords",
    "untrusted", "vetoes", "vlms", "votes", "weights", "wording",
}  # fmt: skip
DIFFUSION = {"diffusion"}
SHELVES = {"sources", "rewards", "saliency", "perturbations", "critics", "instructors"}
VERBS = {"audit", "curate", "importing", "train", "generate", "evaluate", "export", "feedback", "report", "plan", "study", "doctor"}
TOP = {"run": 4, "cli": 5, "__main__": 6}

FLOORS = {**dict.fromkeys(GROUND, 0), **dict.fromkeys(DIFFUSION, 1), **dict.fromkeys(SHELVES, 2), **dict.fromkeys(VERBS, 3), **TOP}


def place(path: Path) -> str:
    """The room of a file: the first part of its module's name below the package."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Rooms that a file imports, whichever way: absolute or relative, at the top or inside a function."""
    package = ["pairwright", *path.relative_to(SOURCE).parent.parts]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "pairwright" else [module]
        rooms |= {name.split(".")[1] for name in names if name.startswith("pairwright.")}
    return rooms - {"__version__"}


FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py" or path.parent != SOURCE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_only_from_its_own_room_and_from_floors_below(path: Path) -> None:
    room = place(path)
    assert room in FLOORS, f"{room} has no floor yet: say in this test on which one it stands"
    for other in imported(path) - {room}:
        assert other in FLOORS, f"{path.name} imports {other}, which has no floor"
        same_ground = FLOORS[room] == FLOORS[other] == 0
        assert same_ground or FLOORS[other] < FLOORS[room], f"{path.name} ({room}) may not import {other}"


def test_the_check_itself_sees_every_form_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    (tmp_path / "rewards").mkdir()
    file = tmp_path / "rewards" / "one.py"
    file.write_text(
        "import pairwright.run\nfrom ..train import x\nfrom pairwright import cli\ndef f():\n    from pairwright.store import y\n"
    )
    assert imported(file) == {"run", "train", "cli", "store"}
