"""Every plug-in on every shelf is found, described and checked without being imported."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from pairwright import cli, plugins
from pairwright.cli import looking
from pairwright.plugins import SHELVES, PluginError, Shelf

ALL: list[tuple[Shelf, str]] = [(shelf, name) for shelf in SHELVES for name in plugins.names(shelf)]
EACH = pytest.mark.parametrize(("shelf", "name"), ALL, ids=[f"{shelf}-{name}" for shelf, name in ALL])


def tree(shelf: Shelf, name: str) -> ast.Module:
    module = Path(plugins.__file__).parent / shelf / f"{name}.py"
    return ast.parse((module if module.exists() else module.with_suffix("") / "__init__.py").read_text(encoding="utf-8"))


def load_of(shelf: Shelf, name: str) -> ast.FunctionDef:
    return next(node for node in tree(shelf, name).body if isinstance(node, ast.FunctionDef) and node.name == "load")


def test_no_shelf_is_empty():
    assert {shelf for shelf, _ in ALL} == set(SHELVES)


@EACH
def test_a_plugin_says_what_it_is_and_its_load_says_what_it_takes(shelf: Shelf, name: str):
    summary = plugins.signature(shelf, name).summary
    assert summary.endswith((".", ":"))
    documentation = ast.get_docstring(load_of(shelf, name)) or ""
    assert documentation
    for option in plugins.signature(shelf, name).options:
        assert f"{option.name}:" in documentation, f"{shelf}/{name} does not document {option.name!r}"


@EACH
def test_every_option_is_keyword_only_and_annotated(shelf: Shelf, name: str):
    arguments = load_of(shelf, name).args
    assert not arguments.args
    assert not arguments.posonlyargs
    assert arguments.vararg is None
    assert arguments.kwarg is None
    assert all(argument.annotation is not None for argument in arguments.kwonlyargs)


@EACH
def test_an_option_misspelt_is_an_error_with_a_suggestion(shelf: Shelf, name: str):
    with pytest.raises(PluginError, match=rf"{shelf}/{name} has no option 'bogus_option'.*It takes: "):
        plugins.check(shelf, name, {"bogus_option": 1})
    for option in plugins.signature(shelf, name).options:
        with pytest.raises(PluginError, match="Did you mean"):
            plugins.check(shelf, name, {f"{option.name}x": 1})


@EACH
def test_what_is_read_from_the_source_is_what_python_sees(shelf: Shelf, name: str):
    signature = plugins.signature(shelf, name)
    module = __import__(signature.module, fromlist=["load"])
    found = inspect.signature(module.load).parameters
    assert [option.name for option in signature.options] == list(found)
    required = [option.name for option in signature.options if option.default is None]
    assert required == [parameter.name for parameter in found.values() if parameter.default is parameter.empty]


def test_checking_and_listing_import_neither_torch_nor_the_plugins():
    code = """
import sys
from pairwright import plugins
for shelf in plugins.SHELVES:
    for name in plugins.names(shelf):
        signature = plugins.signature(shelf, name)
        plugins.check(shelf, name, {each.name: None for each in signature.options})
        assert signature.module not in sys.modules, signature.module
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@EACH
def test_every_option_of_what_ships_is_explained(shelf: Shelf, name: str) -> None:
    found = plugins.explained(shelf, name)
    assert found.summary
    assert [each.name for each in found.options if not each.meaning] == []
    said = looking.shown(shelf, name)
    assert all(f"  {each.name} " in said for each in found.options)


def test_a_shelf_is_listed_and_a_misspelt_one_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    cli.call(["plugins", "critics"])
    assert "  qwen2_5_vl    " in capsys.readouterr().out
    cli.call(["plugins", "critics/attributes"])
    assert "Args" not in capsys.readouterr().out
    with pytest.raises(PluginError, match="Did you mean 'critics'"):
        cli.call(["plugins", "critic"])


@pytest.mark.parametrize("shelf", SHELVES)
def test_an_unknown_name_is_an_error_that_lists_the_shelf(shelf: Shelf):
    with pytest.raises(PluginError, match=rf"There is no 'zzz' among the {shelf}\. There are: {plugins.names(shelf)[0]}"):
        plugins.check(shelf, "zzz", {})


def test_a_name_misspelt_is_an_error_with_a_suggestion():
    with pytest.raises(PluginError, match="Did you mean 'imagefolder'"):
        plugins.check("sources", "imagefoldr", {})


@pytest.mark.parametrize("name", ["", "_errors", "../rewards/pickscore", "__init__", "nowhere.at_all", "json"])
def test_what_is_no_plugin_cannot_be_loaded(name: str):
    with pytest.raises(PluginError, match=r"There is no|not a module"):
        plugins.load("sources", name)


def test_a_required_option_that_is_missing_is_named():
    with pytest.raises(PluginError, match="sources/imagefolder needs the option 'path'"):
        plugins.check("sources", "imagefolder", {})


def test_a_value_of_the_wrong_type_is_named_with_what_was_given():
    with pytest.raises(PluginError, match=r"sources/imagefolder, option 'limit': .*integer.*'many'"):
        plugins.load("sources", "imagefolder", path=".", limit="many")


def test_values_are_held_to_their_types_without_building_anything() -> None:
    right = {"model": "nowhere/at-all", "controlnet": "nowhere/at-all", "steps": 3}
    plugins.validate("perturbations", "controlnet", right)
    for wrong, named in (({"steps": 0}, "steps"), ({"strength": 2.0}, "strength"), ({"dtype": "int8"}, "dtype")):
        with pytest.raises(PluginError, match=f"perturbations/controlnet, option '{named}'"):
            plugins.validate("perturbations", "controlnet", {**right, **wrong})


def test_what_is_no_finite_number_is_refused_before_it_is_fingerprinted() -> None:
    with pytest.raises(PluginError, match=r"option 'guidance': a finite number is needed \(got nan\)"):
        plugins.check("perturbations", "controlnet", {"guidance": float("nan")})


def test_a_dotted_name_is_the_users_own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "own_parts"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "source.py").write_text('"""Mine."""\ndef load(*, size: int = 3) -> list[int]:\n    return [size]\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert plugins.signature("sources", "own_parts.source").summary == "Mine."
    assert plugins.load("sources", "own_parts.source", size="4") == [4]
    with pytest.raises(PluginError, match="Did you mean 'size'"):
        plugins.check("sources", "own_parts.source", {"sise": 4})


def test_options_that_only_change_the_speed_are_not_part_of_the_meaning():
    assert plugins.meaning({"workers": 4, "model": "x", "device": "cpu", "batch_size": 2}) == {"model": "x"}
