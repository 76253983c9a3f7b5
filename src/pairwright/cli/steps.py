"""The verbs that are steps of a run, and the run itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from pairwright import options
from pairwright.cli.arguments import Changes, Flag, Inputs, Names, Place, RecipeName, RewardChanges, Root, app
from pairwright.cli.jobs import execute, execute_all, one_step, tabulate

Step = Annotated[Place, tyro.conf.arg(name="")]


@app.command(name="run")
def run(recipe: tyro.conf.Positional[RecipeName], *, changes: Changes = (), root: Root = Path("runs")) -> None:
    """Run a recipe, from photographs to the report. Run again, it goes on where it was."""
    from pairwright import recipe as recipes

    found = recipes.load(recipe, changes)
    execute_all(found, root)
    if found[0].row is not None and any(step.verb == "compare" for step in found[0].steps):
        tabulate([root / each.name for each in found])
    if found[0].row is not None and any(step.verb == "feedback" for step in found[0].steps):
        from pairwright.report import of_runs

        print(of_runs([root / each.name for each in found]), end="")


@app.command(name="curate")
def curate(place: Step, curate: Annotated[options.Curate, tyro.conf.arg(name="")]) -> None:
    """Make pairs out of photographs."""
    one_step(place, "curate", curate)


@app.command(name="import")
def import_(place: Step, chosen: Annotated[options.Import, tyro.conf.arg(name="")]) -> None:
    """Bring pairs that you have already: Pick-a-Pic, HPD, tables and folders of your own."""
    one_step(place, "import", chosen)


@app.command(name="feedback")
def feedback_(place: Step, chosen: Annotated[options.Feedback, tyro.conf.arg(name="")]) -> None:
    """Improve pictures by critique, instruction and edit, and make pairs of originals and edits."""
    one_step(place, "feedback", chosen)


@app.command(name="editors")
def editors(place: Step, chosen: Annotated[options.Editors, tyro.conf.arg(name="")]) -> None:
    """Compare the edits of several feedback steps: a judge sees two of the same picture in both orders."""
    one_step(place, "editors", chosen)


@app.command(name="train")
def train_(
    place: Step,
    train: Annotated[options.Train, tyro.conf.arg(name="")],
    *,
    calibrate: Flag = 0,
) -> None:
    """Align a model with pairs: stage 1 (dro), stage 2 (dpo), or supervised tuning (sft).

    Args:
        place: where the step belongs.
        train: what is trained and how.
        calibrate: do not train, but measure on 64 pairs how large gains become, and say what beta means there.
    """
    if calibrate:
        _calibrate(place, train)
    else:
        one_step(place, "train", train)


@app.command(name="generate")
def generate(place: Step, generate: Annotated[options.Generate, tyro.conf.arg(name="")]) -> None:
    """Make pictures with several models, for the same prompts and the same noise."""
    one_step(place, "generate", generate)


@app.command(name="score")
def score_(
    pictures: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURES")] = "",
    *,
    named: Names = (),
    changes: RewardChanges = (),
    rewards: tuple[options.Plugin, ...] = (),
    diversity: str | None = None,
    out: Path | None = None,
    plan: Flag = 0,
    batch_size: int = 32,
    device: str = "auto",
    devices: tuple[str, ...] = (),
    engine: options.EngineName = "local",
    ray: options.Ray = options.Ray(),  # noqa: B008 - frozen
    run: str = "",
    step: str = "",
    inputs: Inputs = (),
    root: Root = Path("runs"),
) -> None:
    """Score pictures with any rewards: a folder, a list of files, Parquet files, a run, or as a step of a run.

    Args:
        pictures: folder with captions, list of files and prompts (.jsonl, .csv, .tsv), Parquet files or a run's folder.
        named: rewards, with commas between them.
        changes: an option of a reward: --set pickscore.model=tiny:pickscore.
        rewards: the same as --with, in words of their own or as TOML tables.
        diversity: of a step of a run: also how much the pictures of a prompt differ, by "pixels" or by the image features of one
            of the rewards.
        out: write one table of all scores here: .csv, .jsonl or .parquet.
        plan: only say what would be downloaded, how much memory is needed and about how long it takes.
        batch_size: pictures per forward.
        device: cpu, cuda, cuda:1, mps or auto.
        devices: several devices share the pictures, each in a process of its own; with commas or as words.
        engine: of a step of a run: local, or ray for the pools of a Ray cluster.
        ray: cluster and pools of the engine ray.
        run: without PICTURES: name of the run that this is a step of.
        step: name of this step in the run.
        inputs: steps of the run whose pictures are scored.
        root: folder of the runs and of the store.
    """
    spread = tuple(name for word in devices for name in word.split(",") if name)
    chosen = options.rewards(named, changes, rewards)
    from pairwright import recipe

    given = {"rewards": chosen, "diversity": diversity, "batch_size": batch_size, "device": device, "devices": spread}
    asked = recipe.options("score", given | {"engine": engine, "ray": ray}, "score")
    assert isinstance(asked, options.Score)
    if not pictures:
        if not (run and step):
            raise options.WordError("say what to score: a folder, a list, Parquet files or a run; or --run, --step and --from")
        one_step(Place(run, step, inputs, root), "score", asked)
        return
    if engine != "local":
        raise options.WordError(f"--engine {engine} scores a step of a run: it needs --run, --step and --from")
    if diversity:
        raise options.WordError("--diversity compares pictures of one prompt by several models: it needs --run, --step and --from")
    _collection(pictures, asked, root, out, only_plan=bool(plan))


@app.command(name="compare")
def compare_(
    compare: Annotated[options.Compare, tyro.conf.arg(name="")],
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")] = (),
    *,
    together: Flag = 0,
    out: Path | None = None,
    run: str = "",
    step: str = "",
    inputs: Inputs = (),
    root: Root = Path("runs"),
) -> None:
    """Compare models by their scores: paired, clustered by prompt, corrected for many metrics.

    Args:
        compare: how, where it is a step of a run.
        runs: folders of runs that are compared already: one is shown and written as Markdown, text, CSV and LaTeX; several
            that differ in their seed show how much a difference spreads over training seeds.
        together: several runs, each a row of one table: of a sweep, or any that made pictures for the same prompts.
        out: folder for these tables; default: the first run's folder, or the sweep's.
        run: without RUN: name of the run that this is a step of.
        step: name of this step in the run; with RUN: which compare step, where there are several.
        inputs: score steps of the run.
        root: folder of the runs and of the store.
    """
    if runs and together:
        tabulate(runs, step, out)
    elif runs:
        from pairwright import evaluate

        print(evaluate.compare_runs(runs, step, out))
    elif run and step:
        one_step(Place(run, step, inputs, root), "compare", compare)
    else:
        raise options.WordError("say what to compare: folders of runs; or --run, --step and --from")


@app.command(name="checkpoints")
def checkpoints(
    training: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN/STEP")]],
    *,
    prompts: str,
    named: Names = (),
    changes: RewardChanges = (),
    limit: int | None = None,
    per_prompt: int = 2,
    like: str = "",
) -> None:
    """Say which checkpoint of a training is best, and when that cannot be said; with a contact sheet, prompt by checkpoint.

    Args:
        training: a train step of a run: runs/demo/stage2.
        prompts: a small set that nothing else is judged on: a known set or a file.
        named: rewards, with commas between them; the first one decides.
        changes: an option of a reward: --set pickscore.model=tiny:pickscore.
        limit: take so many of the prompts.
        per_prompt: pictures per prompt.
        like: the generate step whose settings are taken; default: the run's only one.
    """
    from pairwright.recipe.checkpoints import Question

    _choose(training.parent, training.name, Question(prompts, options.rewards(named, changes), limit, per_prompt, like))


def _choose(folder: Path, training: str, asked: Any) -> None:
    """Checkpoints of a train step, compared as steps of its own run."""
    from pairwright import recipe as recipes
    from pairwright import run as runner
    from pairwright import wording
    from pairwright.recipe import checkpoints
    from pairwright.report import contact_sheet

    document = runner.read(folder)["recipe"]
    there = sorted(path.parent.name for path in runner.result(folder, training).path.glob("checkpoints/*/model.json"))
    added = checkpoints.steps(document, training, there, asked)
    for judged in checkpoints.same_prompts(document, asked.prompts):
        print(f"note: {judged} is judged on {asked.prompts} too; its numbers will favour the checkpoint that is chosen here")
    where = f"run {folder.name}"
    recipe = recipes.check(recipes.parse({**document, "step": {**document["step"], **added}}, where), where)
    pictures, *_, last = added
    execute(recipe, folder.parent, last)
    print(contact_sheet(folder, pictures))
    print(wording.ranking(json.loads((runner.result(folder, last).path / "comparison.json").read_text(encoding="utf-8"))))


def _calibrate(place: Place, chosen: options.Train) -> None:
    """The run is read and not changed: what the step builds on must be there."""
    from pairwright import progress, train
    from pairwright import run as runner
    from pairwright.context import Context
    from pairwright.recipe import graph
    from pairwright.store import Store

    folder = place.root / place.run
    there = runner.read(folder)["steps"]
    named = dict.fromkeys([*place.inputs, *(name for name in graph.mentioned(chosen) if name in there)])
    inputs = {name: runner.result(folder, name) for name in named}
    print(train.calibrate(chosen, Context(Store(place.root), inputs, progress.choose())).said())


def _collection(pictures: str, asked: options.Score, root: Path, out: Path | None, *, only_plan: bool) -> None:
    """Pictures that are no step of a run: scored, summed up, exported."""
    from pairwright import evaluate, progress

    if out is not None:
        evaluate.check_format(out)
    if only_plan:
        from pairwright.plan.scores import plan_scores

        print(plan_scores(asked, *evaluate.outline(pictures, asked)))
        return
    scored = evaluate.score_collection(pictures, asked, root, progress=progress.choose())
    if not scored.complete:
        print("this process has scored its share; the one that ends last finishes the result")
        return
    print(evaluate.summary(scored))
    if out is not None:
        evaluate.export(scored, out)
        print(out)
