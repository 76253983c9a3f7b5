"""The command line: help that comes at once, errors that are one sentence, every field within reach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pairwright import cli, options, recipe
from pairwright.cli import arguments, jobs, steps

VERBS = [
    *("run", "curate", "import", "feedback", "editors", "train", "generate", "score", "compare", "report", "plan"),
    *("edits", "plugins", "recipes", "doctor", "gc"),
    *("init", "export", "export model", "export pairs"),
    *("study", "study create", "study serve", "study links", "study export", "study report"),
]


def called(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pairwright.cli", *arguments], capture_output=True, text=True, check=check)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_needs_no_torch_for_it(verb: str) -> None:
    code = f"""
import sys
from pairwright import cli
sys.argv = ["pairwright", *{verb!r}.split(), "--help"]
try:
    cli.main()
except SystemExit as error:
    assert not error.code
print([name for name in ("torch", "transformers", "diffusers", "pyarrow.dataset") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"
    assert f"pairwright {verb}" in said


def test_every_field_of_a_verb_is_an_option_with_its_meaning() -> None:
    for verb, group in recipe.VERBS.items():
        said = called(verb, "--help").stdout
        for name, field in group.model_fields.items():
            flag = name.replace("_", "-")
            assert f"--{flag}" in said, f"{verb} --help lacks --{flag}"
            assert field.description or name in {"seed", "dtype", "steps", "resolution", "device", "batch_size"}, (
                f"{verb}.{name} has no meaning"
            )


def test_the_version_is_said() -> None:
    from pairwright import __version__

    assert called("--version").stdout.strip() == f"pairwright {__version__}"


def test_a_mistake_is_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    said = called("run", "tiny", "--set", "stage1.stepz = 3", "--root", str(tmp_path), check=False)
    assert said.returncode == 1
    assert said.stderr.startswith("error: ")
    assert "Did you mean 'steps'?" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--device", "gpu"], "error: score.device: 'gpu' is no device"),
        (["--devices", "cpu,gpu"], "error: score.devices.1: 'gpu' is no device"),
        (["--batch-size", "0"], "error: score.batch_size: "),
    ],
)
def test_a_bad_option_of_score_is_one_sentence_too(tmp_path: Path, given: list[str], said: str) -> None:
    done = called("score", str(tmp_path), "--with", "texture", *given, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_verb_is_refused() -> None:
    assert called("trian", check=False).returncode == 2


def test_recipes_lists_and_shows() -> None:
    assert "tiny" in called("recipes").stdout
    assert "[step.pairs]" in called("recipes", "tiny").stdout


def test_init_writes_a_recipe_and_does_not_overwrite_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    called("init", str(path), "--route", "tiny")
    assert recipe.load(path)
    assert "is there already" in called("init", str(path), check=False).stderr


def test_tables_are_given_as_in_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(steps, "one_step", lambda place, verb, chosen: seen.update(place=place, verb=verb, chosen=chosen))
    words = [
        "curate", "--run", "r", "--step", "s", "--source", "{name = 'imagefolder', path = 'x'}",
        "--perturbation", "{name = 'inpaint', steps = 3}", "--filters", "{reward = 'colorfulness', rule = 'above_mean'}",
        "--mask.threshold", "0.3", "--eager", "True",
    ]  # fmt: skip
    cli.call(words)
    chosen = seen["chosen"]
    assert isinstance(chosen, options.Curate)
    assert chosen.perturbation.options == {"steps": 3}
    assert chosen.filters[0].reward.name == "colorfulness"
    assert (chosen.mask.threshold, chosen.eager, seen["place"].run) == (0.3, True, "r")


def test_a_single_step_joins_its_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[recipe.Recipe, str | None]] = []
    monkeypatch.setattr(jobs, "execute", lambda found, root, only=None: seen.append((found, only)))
    place = arguments.Place("mine", "pairs", root=tmp_path)
    jobs.one_step(place, "curate", options.Curate.model_validate({"source": {"name": "tests.fakes.colours"}}))
    found, only = seen[0]
    assert (found.name, [step.name for step in found.steps], only) == ("mine", ["pairs"], "pairs")
