"""A recipe is read, merged, expanded and checked before anything is imported or computed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pairwright import recipe
from pairwright.options import Curate, Train
from pairwright.recipe import RecipeError

PLAIN = """
name = "mine"
seed = 7

[step.pairs]
verb = "curate"
source = { name = "imagefolder", path = "photos" }

[step.stage1]
verb = "train"
from = ["pairs"]
objective = "dro"
start = "tiny:base"

[step.stage2]
verb = "train"
from = ["pairs"]
objective = "dpo"
start = "stage1"
seed = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(PLAIN)
    return path


def one(path: Path, *changes: str) -> recipe.Recipe:
    (found,) = recipe.load(path, changes)
    return found


def train(found: recipe.Recipe, name: str) -> Train:
    (step,) = (step for step in found.steps if step.name == name)
    assert isinstance(step.options, Train)
    return step.options


def test_a_model_that_names_a_step_is_an_input_and_comes_first(file: Path) -> None:
    found = one(file)
    assert [step.name for step in found.steps] == ["pairs", "stage1", "stage2"]
    assert found.steps[2].inputs == ("pairs", "stage1")


def test_steps_are_run_in_the_order_of_the_file_but_for_those_that_build_on_a_later_one(file: Path) -> None:
    tables = """
    [step.other]
    verb = "train"
    objective = "dpo"
    start = "tiny:base"
    from = ["more"]
    [step.more]
    verb = "curate"
    source = { name = "imagefolder", path = "more" }
    """
    file.write_text(PLAIN + "\n".join(line.strip() for line in tables.splitlines()))
    assert [step.name for step in one(file).steps] == ["pairs", "stage1", "stage2", "more", "other"]


SERVED = """
name = "rich"
[step.rich]
verb = "feedback"
source = { name = "imagefolder", path = "mine" }
instructor = "attributes"
critic = { name = "openai", served_model = "x", %s }
"""


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            'server = "localhost:8123"',
            "step.rich.critic: critics/openai: the server's address must be like http://localhost:8000/v1",
        ),
        ('server = "http://me:hunter2@here/v1"', "without user or password"),
        ('key_from = "sk-hunter2"', "not the key"),
    ],
)
def test_an_address_that_cannot_be_right_is_said_with_the_recipe_and_no_key_is_repeated(
    tmp_path: Path, option: str, message: str
) -> None:
    path = tmp_path / "rich.toml"
    path.write_text(SERVED % option)
    with pytest.raises(RecipeError) as raised:
        recipe.load(path)
    assert message in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_the_runs_seed_is_the_default_of_every_step(file: Path) -> None:
    found = one(file)
    assert (train(found, "stage1").seed, train(found, "stage2").seed) == (7, 3)
    curate = found.steps[0].options
    assert isinstance(curate, Curate)
    assert curate.seed == 7


def test_a_field_is_changed_by_a_toml_assignment(file: Path) -> None:
    found = one(file, "stage1.steps = 5", "stage1.lora.rank = 32", 'name = "other"')
    assert (found.name, train(found, "stage1").steps, train(found, "stage1").lora.rank) == ("other", 5, 32)


def test_extending_changes_one_field_of_one_step_and_keeps_the_rest(file: Path) -> None:
    child = file.with_name("child.toml")
    child.write_text('extends = "mine.toml"\nname = "child"\n[step.stage2]\nbeta = 100.0\n')
    found = one(child)
    assert (train(found, "stage2").beta, train(found, "stage2").objective, found.name) == (100.0, "dpo", "child")


def test_tables_merge_and_lists_are_replaced() -> None:
    assert recipe.merge({"a": {"x": 1, "y": [1, 2]}, "b": 1}, {"a": {"y": [3]}, "b": {"z": 1}}) == {
        "a": {"x": 1, "y": [3]},
        "b": {"z": 1},
    }


def test_a_recipe_that_extends_itself_says_through_whom(file: Path) -> None:
    file.write_text('extends = "mine.toml"\n')
    with pytest.raises(RecipeError, match="extends itself"):
        one(file)


def test_a_sweep_is_one_run_for_every_combination_with_a_name_of_its_own(file: Path) -> None:
    file.write_text(PLAIN + '[sweep]\n"stage1.margin" = [0.001, 0.01]\n"stage2.beta" = [100.0, 2000.0]\n')
    found = recipe.load(file)
    assert [each.name for each in found] == [
        "mine-margin=0.001-beta=100.0",
        "mine-margin=0.001-beta=2000.0",
        "mine-margin=0.01-beta=100.0",
        "mine-margin=0.01-beta=2000.0",
    ]
    assert [(train(each, "stage1").margin, train(each, "stage2").beta) for each in found][2] == (0.01, 100.0)


def test_a_sweep_over_the_runs_seed_reaches_the_steps_that_name_none_of_their_own(file: Path) -> None:
    file.write_text(PLAIN + "[sweep]\nseed = [1, 2]\n")
    found = recipe.load(file)
    assert [each.name for each in found] == ["mine-seed=1", "mine-seed=2"]
    assert [(train(each, "stage1").seed, train(each, "stage2").seed) for each in found] == [(1, 3), (2, 3)]


def test_a_sweep_over_what_is_no_step_is_an_error(file: Path) -> None:
    file.write_text(PLAIN + '[sweep]\n"stage3.beta" = [1.0]\n')
    with pytest.raises(RecipeError, match=r"must be '<step>\.<field>' or 'seed'\. Did you mean 'stage[12]'\?"):
        recipe.load(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stage1.stepz = 3", r"step\.stage1\.stepz: unknown field\. Did you mean 'steps'\?"),
        ("stage1.lora.rnk = 3", r"step\.stage1\.lora\.rnk: unknown field\. Did you mean 'rank'\?"),
        ("stage9.steps = 2", r"there is no step 'stage9'\. Did you mean 'stage[12]'\?"),
        ("stage1.steps = 'x'", r"step\.stage1\.steps: .*integer.*\(got 'x'\)"),
        ("stage1.steps = 0", r"step\.stage1\.steps: .*greater than or equal to 1"),
        ("stage1.verb = 'trian'", r"'trian' is not a verb\. Did you mean 'train'\?"),
        ("stage1.from = ['pears']", r"there is no step 'pears'\. Did you mean 'pairs'\?"),
        ("pairs.saliency = 'u2nett'", r"no 'u2nett' among the saliency\. Did you mean 'u2net'\?"),
        ("pairs.saliency = true", 'a plug-in is a name, "pickscore", or a table'),
        ("pairs.perturbation = {name = 'inpaint', step = 3}", r"no option 'step'\. Did you mean 'steps'\?"),
        ("pairs.filters = [{reward = 'colorfulness', rule = 'above_mean', value = 3}]", "rule 'above_mean' takes no value"),
        ("pairs.filters = [{reward = 'colorfulness', rule = 'at_least'}]", "rule 'at_least' needs a value"),
        ("seeed = 1", r"unknown field 'seeed'\. Did you mean 'seed'\?"),
        ("name = '../x'", "it names a folder"),
        ("name = 'store'", "cannot be named 'store'"),
        ("stage1.start = 'stage2'", "in a circle"),
        ("stage1 steps = 3", "not a TOML assignment"),
    ],
)
def test_a_mistake_is_an_error_that_names_the_field(file: Path, change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        one(file, change)


def test_a_file_that_is_not_there_or_not_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="neither a file nor a shipped recipe"):
        recipe.load(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(RecipeError, match=r"broken\.toml: not valid TOML"):
        recipe.load(tmp_path / "broken.toml")


@pytest.mark.parametrize("name", sorted(recipe.shipped()))
def test_every_shipped_recipe_is_valid_and_describes_itself(name: str) -> None:
    for found in recipe.load(name):
        assert found.description


def test_a_resolved_recipe_is_a_recipe_again(file: Path) -> None:
    found = one(file)
    document = found.document()
    assert recipe.parse(document).document() == document


def test_the_commented_recipe_of_init_runs_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    recipe.init(path, tmp_path / "my photos", "tiny")
    found = one(path)
    source = found.steps[0].options
    assert isinstance(source, Curate)
    assert source.source.options["path"] == (tmp_path / "my photos").as_posix()
    with pytest.raises(RecipeError, match="is there already"):
        recipe.init(path, tmp_path, "tiny")


def test_reading_a_recipe_imports_neither_torch_nor_a_plug_in() -> None:
    heavy = ("torch", "diffusers", "transformers")
    code = f"import sys; from pairwright import recipe; recipe.load('tiny'); print([m for m in {heavy} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_sweep_values_that_read_the_same_are_runs_of_their_own(file: Path) -> None:
    file.write_text(
        PLAIN + '[sweep]\n"pairs.source" = [{ name = "imagefolder", path = "a" }, { name = "imagefolder", path = "b" }]\n'
    )
    names = [each.name for each in recipe.load(file)]
    assert len(set(names)) == 2
    file.write_text(PLAIN + '[sweep]\n"stage1.seed" = [-1, 1]\n')
    assert [each.name for each in recipe.load(file)] == ["mine-seed=-1", "mine-seed=1"]


def test_a_table_that_names_another_plug_in_replaces_the_one_it_inherits() -> None:
    old = {"reward": {"name": "pickscore", "model": "tiny:pickscore"}, "at_least": 0.5}
    assert recipe.merge(old, {"reward": {"name": "colorfulness"}}) == {"reward": {"name": "colorfulness"}, "at_least": 0.5}


def test_false_takes_away_what_is_inherited(tmp_path: Path) -> None:
    child = tmp_path / "child.toml"
    child.write_text('name = "child"\nextends = "tiny"\n[step.pairs]\ngap = false\n[step.pictures.models]\n"stage 1" = false\n')
    found = one(child)
    curate = found.steps[0].options
    assert isinstance(curate, Curate)
    assert curate.gap is None
    (pictures,) = (step.options for step in found.steps if step.verb == "generate")
    assert list(pictures.models) == ["base", "stage 1 + 2"]  # type: ignore[attr-defined]


def test_an_inherited_quantile_gives_way_to_a_threshold(tmp_path: Path) -> None:
    child = tmp_path / "child.toml"
    child.write_text('name = "child"\nextends = "tiny"\n[step.pairs.gap]\nat_least = 0.3\npilot_quantile = false\n')
    curate = one(child).steps[0].options
    assert isinstance(curate, Curate)
    assert curate.gap is not None
    assert (curate.gap.at_least, curate.gap.pilot_quantile) == (0.3, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stage1.from = []", r"step\.stage1\.from: train needs a curate, import or feedback step\. There is: pairs"),
        ("scores.from = ['pairs']", "score needs a generate step"),
        ("comparison.from = ['pictures']", "compare needs a score step"),
        ("comparison.baseline = 'bass'", r"no model is called 'bass'\. Did you mean 'base'\?"),
        ("pictures.guidance = inf", "finite number"),
        ("pairs.filters = [{reward = 'colorfulness', rule = 'top', value = -3}]", "a whole number of at least 1"),
    ],
)
def test_what_can_be_known_from_the_recipe_alone_is_said_before_anything_runs(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.load("tiny", [change])


def test_false_takes_an_inherited_step_away_and_nothing_may_still_need_it(file: Path) -> None:
    child = file.with_name("child.toml")
    child.write_text('extends = "mine.toml"\nname = "child"\n[step]\nstage2 = false\n')
    assert [step.name for step in one(child).steps] == ["pairs", "stage1"]
    child.write_text('extends = "mine.toml"\nname = "child"\n[step]\npairs = false\n')
    with pytest.raises(RecipeError, match=r"step\.stage1\.from: there is no step 'pairs'"):
        one(child)


def test_a_checkpoint_of_a_step_makes_the_step_an_input(file: Path) -> None:
    found = one(file, 'stage2.reference = "stage1@step-00000100"', 'stage2.start = "tiny:base"')
    assert found.steps[-1].inputs == ("pairs", "stage1")


def test_a_focus_of_pairs_is_refused_where_there_are_none(file: Path) -> None:
    with pytest.raises(RecipeError, match=r"stage1.*focus is read by the objectives dpo, ipo and hinge only"):
        one(file, 'stage1.focus.on = "mask"')
