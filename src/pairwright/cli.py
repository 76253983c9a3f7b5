"""The command line: one command per verb. Heavy imports come after the arguments are understood.

Arguments are tyro's, made from the typed options, so that every field of every verb can be set and has its meaning in
``--help``. Values that are tables in a recipe (plug-ins, models, filters) are written as in TOML:
``--perturbation inpaint`` or ``--perturbation '{name = "inpaint", steps = 20}'``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import tyro
from pydantic import TypeAdapter, ValidationError
from tyro.constructors import PrimitiveConstructorSpec, PrimitiveTypeInfo

from pairwright import __version__, options, ranks
from pairwright.errors import Explained

app = tyro.extras.SubcommandApp()
registry = tyro.constructors.ConstructorRegistry()
CONFIG = (tyro.conf.FlagConversionOff,)

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG}
"""What the user's disk has to say is no fault of ours."""

_TABLES = (options.Plugin, options.Model, options.Filter, options.Keep, options.Gap, options.PromptSet)

Root = Annotated[Path, tyro.conf.arg(help="Folder of the runs and of the store.", metavar="DIR")]
Changes = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    tyro.conf.arg(name="set", metavar="STEP.FIELD=VALUE", help="Change a field; a TOML assignment: --set 'stage1.steps = 300'."),
]
RecipeName = Annotated[str, tyro.conf.arg(metavar="RECIPE", help="A file, or the name of a shipped recipe.")]
Flag = tyro.conf.UseCounterAction[int]
"""A word that takes no value."""
Folder = Annotated[Path, tyro.conf.arg(metavar="RUN", help="A run's folder, for instance runs/demo.")]


@dataclass(frozen=True)
class Place:
    """Where a single step belongs."""

    run: str
    """Name of the run; it is begun where it is new."""
    step: str
    """Name of this step in the run. A step of that name is replaced."""
    inputs: Annotated[tuple[str, ...], tyro.conf.arg(name="from")] = ()
    """Steps of the run that this one builds on."""
    root: Root = Path("runs")


@app.command(name="run")
def _run(recipe: tyro.conf.Positional[RecipeName], *, changes: Changes = (), root: Root = Path("runs")) -> None:
    """Run a recipe, from photographs to the report. Run again, it goes on where it was."""
    from pairwright import recipe as recipes

    for each in recipes.load(recipe, changes):
        _execute(each, root)


@app.command(name="curate")
def _curate(place: Annotated[Place, tyro.conf.arg(name="")], curate: Annotated[options.Curate, tyro.conf.arg(name="")]) -> None:
    """Make pairs out of photographs."""
    _one_step(place, "curate", curate)


@app.command(name="import")
def _import(place: Annotated[Place, tyro.conf.arg(name="")], chosen: Annotated[options.Import, tyro.conf.arg(name="")]) -> None:
    """Bring pairs that you have already: Pick-a-Pic, HPD, tables and folders of your own."""
    _one_step(place, "import", chosen)


@app.command(name="feedback")
def _feedback(place: Annotated[Place, tyro.conf.arg(name="")], chosen: Annotated[options.Feedback, tyro.conf.arg(name="")]) -> None:
    """Improve pictures by critique, instruction and edit, and make pairs of originals and edits."""
    _one_step(place, "feedback", chosen)


@app.command(name="train")
def _train(
    place: Annotated[Place, tyro.conf.arg(name="")],
    train: Annotated[options.Train, tyro.conf.arg(name="")],
    *,
    calibrate: tyro.conf.UseCounterAction[int] = 0,
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
        _one_step(place, "train", train)


@app.command(name="generate")
def _generate(
    place: Annotated[Place, tyro.conf.arg(name="")], generate: Annotated[options.Generate, tyro.conf.arg(name="")]
) -> None:
    """Make pictures with several models, for the same prompts and the same noise."""
    _one_step(place, "generate", generate)


@app.command(name="score")
def _score(
    pictures: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PICTURES")] = "",
    *,
    named: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="with", metavar="NAME,...")] = (),
    changes: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="NAME.OPTION=VALUE")] = (),
    rewards: tuple[options.Plugin, ...] = (),
    diversity: str | None = None,
    out: Path | None = None,
    plan: Flag = 0,
    batch_size: int = 32,
    device: str = "auto",
    devices: tuple[str, ...] = (),
    run: str = "",
    step: str = "",
    inputs: Annotated[tuple[str, ...], tyro.conf.arg(name="from")] = (),
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
        run: without PICTURES: name of the run that this is a step of.
        step: name of this step in the run.
        inputs: steps of the run whose pictures are scored.
        root: folder of the runs and of the store.
    """
    spread = tuple(name for word in devices for name in word.split(",") if name)
    chosen = options.rewards(named, changes, rewards)
    asked = options.Score(rewards=chosen, diversity=diversity, batch_size=max(batch_size, 1), device=device, devices=spread)
    if not pictures:
        if not (run and step):
            raise options.WordError("say what to score: a folder, a list, Parquet files or a run; or --run, --step and --from")
        _one_step(Place(run, step, inputs, root), "score", asked)
        return
    if diversity:
        raise options.WordError("--diversity compares pictures of one prompt by several models: it needs --run, --step and --from")
    _collection(pictures, asked, root, out, only_plan=bool(plan))


@app.command(name="compare")
def _compare(
    compare: Annotated[options.Compare, tyro.conf.arg(name="")],
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")] = (),
    *,
    out: Path | None = None,
    run: str = "",
    step: str = "",
    inputs: Annotated[tuple[str, ...], tyro.conf.arg(name="from")] = (),
    root: Root = Path("runs"),
) -> None:
    """Compare models by their scores: paired, clustered by prompt, corrected for many metrics.

    Args:
        compare: how, where it is a step of a run.
        runs: folders of runs that are compared already: one is shown and written as Markdown, text, CSV and LaTeX; several
            that differ in their seed show how much a difference spreads over training seeds.
        out: folder for these tables; default: the first run's folder.
        run: without RUN: name of the run that this is a step of.
        step: name of this step in the run; with RUN: which compare step, where there are several.
        inputs: score steps of the run.
        root: folder of the runs and of the store.
    """
    if runs:
        from pairwright import evaluate

        print(evaluate.compare_runs(runs, step, out))
    elif run and step:
        _one_step(Place(run, step, inputs, root), "compare", compare)
    else:
        raise options.WordError("say what to compare: folders of runs; or --run, --step and --from")


@app.command(name="checkpoints")
def _checkpoints(
    training: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN/STEP")]],
    *,
    prompts: str,
    named: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="with", metavar="NAME,...")] = (),
    changes: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="NAME.OPTION=VALUE")] = (),
    limit: int | None = None,
    per_prompt: int = 2,
    like: str = "",
) -> None:
    """Say which checkpoint of a training is best, and when that cannot be said.

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


exports = tyro.extras.SubcommandApp()
app.command(exports, name="export", help="Write what was made for other programs.")


@exports.command(name="model")
def _export_model(
    model: tyro.conf.Positional[Annotated[options.Model, tyro.conf.arg(metavar="MODEL")]],
    export: Annotated[options.Export, tyro.conf.arg(name="")],
    *,
    formats: Annotated[tuple[options.ExportFormat, ...], tyro.conf.arg(name="as")] = ("diffusers",),
    out: Path | None = None,
    replace: bool = False,
    root: Root = Path("runs"),
) -> None:
    """Write a model as a LoRA, a merged network or a whole pipeline.

    Args:
        model: runs/<run>/<step>, one of its checkpoints runs/<run>/<step>@step-00000100, or any model as in a recipe.
        export: what the files say, and how exactly.
        formats: one or several.
        out: a folder, or for one LoRA a .safetensors file; default: exports/<run>-<step>.
        replace: overwrite what is there.
        root: folder of the runs and of the store.
    """
    from pairwright import progress
    from pairwright.export import export as write
    from pairwright.store import Store

    for path in write(model, formats, out, Store(root), export, replace=replace, progress=progress.choose()):
        print(path)


studies = tyro.extras.SubcommandApp()
app.command(studies, name="study", help="Ask people which pictures they prefer, and say how sure the answer is.")
Study = Annotated[Path, tyro.conf.arg(metavar="STUDY", help="A study's folder, or the folder of a run with one study.")]
Address = Annotated[str, tyro.conf.arg(metavar="URL", help="Where raters reach the server; default: this machine alone.")]


@studies.command(name="create")
def _study_create(
    run: tyro.conf.Positional[Folder],
    study: Annotated[options.Study, tyro.conf.arg(name="")],
    *,
    step: str = "pictures",
    name: str = "study",
) -> None:
    """Make a study out of the pictures of a run.

    Args:
        run: the run.
        study: what is asked, of whom.
        step: the generate step whose pictures are shown.
        name: of the study: its folder in the run's folder "studies".
    """
    from pairwright import run as runner
    from pairwright import study as studies_of
    from pairwright.store import Store

    print(studies_of.create(runner.result(run, step), Store(run.resolve().parent), run, name, study))


@studies.command(name="serve")
def _study_serve(study: tyro.conf.Positional[Study], *, host: str = "127.0.0.1", port: int = 8765, address: Address = "") -> None:
    """Serve the raters' page until interrupted. Run again, it goes on: no acknowledged answer is lost.

    Args:
        study: which one.
        host: where to listen; the default is this machine alone. See docs/study.md before you open it to others.
        port: where to listen; 0 takes a free one.
        address: what the printed links begin with.
    """
    from pairwright import study as studies_of

    folder = studies_of.locate(study)

    def said(where: str) -> None:
        for whose, link in studies_of.links(folder, address or where):
            print(f"{whose:<11} {link}")
        print(f"listening on {where}", flush=True)

    studies_of.serve(folder, host=host, port=port, said=said)


@studies.command(name="links")
def _study_links(study: tyro.conf.Positional[Study], *, address: Address = "http://127.0.0.1:8765") -> None:
    """List the raters' links and the researcher's."""
    from pairwright import study as studies_of

    for whose, link in studies_of.links(studies_of.locate(study), address):
        print(f"{whose:<11} {link}")


@studies.command(name="export")
def _study_export(study: tyro.conf.Positional[Study], *, out: Path = Path("votes.csv")) -> None:
    """Write every vote as a row, also those that were undone.

    Args:
        study: which one.
        out: a .csv or .parquet file.
    """
    from pairwright import study as studies_of

    print(f"{out}: {studies_of.export(studies_of.locate(study), out)} votes")


@studies.command(name="report")
def _study_report(
    study: tyro.conf.Positional[Study],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    attention: float = 0.6,
    repeats: float = 0.75,
    fast_seconds: float = 1.5,
) -> None:
    """Analyse the votes: majorities, intervals, agreement; into the run's report.html as well.

    Args:
        study: which one.
        resamples: of prompts and raters.
        confidence: of the intervals.
        seed: of the resamples.
        attention: flag raters who pass a smaller share of the attention checks.
        repeats: share of repeated pairs that a careful rater answers alike; flag who answers fewer alike than chance explains.
        fast_seconds: flag raters whose median time for a pair is shorter.
    """
    from pairwright import study as studies_of
    from pairwright.report import report

    folder = studies_of.locate(study)
    rules = studies_of.Rules(attention=attention, repeats=repeats, fast_seconds=fast_seconds)
    print(studies_of.report(folder, rules, studies_of.Bootstrap(resamples, confidence, seed)))
    run = folder.resolve().parent.parent
    print(report(run) if (run / "run.json").is_file() else folder / "analysis.md")


PairsOf = Annotated[str, tyro.conf.arg(metavar="PAIRS", help="A run's folder, <run>/<step>, or Parquet files of pairs.")]


@app.command(name="audit")
def _audit(
    pairs: tyro.conf.Positional[PairsOf],
    *,
    step: str = "",
    prompts: tuple[str, ...] = (),
    accept: tuple[str, ...] = (),
    json_output: Annotated[Flag, tyro.conf.arg(name="json")] = 0,
) -> None:
    """Say what is wrong with pairs before anything is trained on them. The exit status is 2 where there is a problem.

    Args:
        pairs: which ones.
        step: of a run that makes pairs more than once.
        prompts: files of evaluation prompts that captions must not be among; default: those that the run generates for.
        accept: checks whose problems are known and wanted, for instance sharpness.
        json_output: print JSON.
    """
    from pairwright import audit, pairsets, progress

    found = audit.audit(pairsets.find(pairs, step), against=prompts, accepted=accept, progress=progress.choose())
    print(json.dumps(found.json(), indent=2, ensure_ascii=False) if json_output else found.text())
    if found.problems:
        sys.exit(2)


@app.command(name="pairs")
def _pairs(pairs: tyro.conf.Positional[PairsOf], *, step: str = "", port: int = 0) -> None:
    """Look at pairs in a browser on this machine, one at a time, and veto what should not be trained on.

    Args:
        pairs: which ones.
        step: of a run that makes pairs more than once.
        port: where to listen; 0 takes a free one.
    """
    from pairwright import pairsets
    from pairwright.report import gallery

    def said(address: str) -> None:
        print(f"open {address}\nCtrl-C ends it; vetoes are kept as they are made", flush=True)

    gallery.serve(pairsets.find(pairs, step), port, said)


@exports.command(name="pairs")
def _export_pairs(
    pairs: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PAIRS")]],
    export: Annotated[options.ExportPairs, tyro.conf.arg(name="")],
    *,
    formats: Annotated[tuple[options.PairFormat, ...], tyro.conf.arg(name="as")] = ("parquet",),
    out: Path | None = None,
    replace: bool = False,
) -> None:
    """Write pairs as a data set: Parquet, Pick-a-Pic's columns, TRL's, the first paper's CSV, two folders.

    Args:
        pairs: runs/<run>/<step>, a run with one such step, a result in the store, or Parquet files of pairs.
        export: what the dataset card says.
        formats: one or several.
        out: a folder; default: exports/<run>-<step>.
        replace: overwrite what is there.
    """
    from pairwright import progress
    from pairwright.export import export_pairs

    for path in export_pairs(pairs, formats, out, export, replace=replace, progress=progress.choose()):
        print(path)


@app.command(name="report")
def _report(run: tyro.conf.Positional[Folder]) -> None:
    """Write report.html from a run's folder, at any time, also while it runs."""
    from pairwright.report import report

    print(report(run))


@app.command(name="plan")
def _plan(recipe: tyro.conf.Positional[RecipeName], *, changes: Changes = (), root: Root = Path("runs")) -> None:
    """Say beforehand what a recipe downloads, whether it fits into memory and about how long it takes."""
    from pairwright import plan
    from pairwright import recipe as recipes

    for each in recipes.load(recipe, changes):
        print(plan.plan(each, root))


@app.command(name="recipes")
def _recipes(name: Annotated[str | None, tyro.conf.Positional] = None) -> None:
    """List the recipes that ship, or show one.

    Args:
        name: show this one.
    """
    from pairwright import recipe as recipes

    if name is not None:
        print(recipes.find(name).read_text(encoding="utf-8"), end="")
        return
    found = recipes.shipped()
    width = max(map(len, found))
    for each, path in found.items():
        print(f"{each:<{width}}  {recipes.read(path).get('description', '')}")


@app.command(name="init")
def _init(
    path: Annotated[Path, tyro.conf.Positional] = Path("recipe.toml"),
    *,
    photos: Path = Path("photos"),
    route: str = "realalign-sd15",
) -> None:
    """Write a commented recipe for your own pictures.

    Args:
        path: file to write; it must not exist.
        photos: folder with your pictures, with captions in metadata.jsonl or in a .txt beside each.
        route: the shipped recipe that it starts from; "tiny" runs without a GPU.
    """
    from pairwright import recipe as recipes

    recipes.init(path, photos, route)
    print(f"{path}: edit it, then: pairwright plan {path}; pairwright run {path}")


@app.command(name="doctor")
def _doctor(*, scorers: Flag = 0) -> None:
    """Say what is installed, what hardware is there and which models are cached.

    Args:
        scorers: also load every scorer whose weights are here, and say whether it gives the scores that it gave before.
    """
    from pairwright import doctor, progress

    print(doctor.doctor(scorers=bool(scorers), progress=progress.choose()))


@app.command(name="gc")
def _gc(*, root: Root = Path("runs"), delete: bool = False) -> None:
    """List results that no run points to.

    Args:
        root: folder of the runs and of the store.
        delete: remove them.
    """
    from pairwright import run as runner

    found = runner.delete(root) if delete else runner.unreferenced(root)
    for node, size in found:
        print(f"{size / 1e6:10.1f} MB  {node.path}")
    total = sum(size for _, size in found) / 1e6
    print(f"{total:.1f} MB in {len(found)} results that no run points to{', removed' if delete else ''}")


def spelled(words: list[str]) -> list[str]:
    """Words of a command line in which ``--protocol`` says its fields: tyro names every field, whether it was typed or not."""
    given = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    if words[:1] != ["generate"] or "--protocol" not in given:
        return words
    name = given["--protocol"] or next(iter(words[words.index("--protocol") + 1 :]), "")
    settings = options.PROTOCOLS.get(name, {})
    flags = {f"--{field.replace('_', '-')}": str(value) for field, value in settings.items()}
    return words + [word for flag, value in flags.items() if flag not in given for word in (flag, value)]


def main() -> None:
    """Entry point. Errors that explain themselves are one message, without a traceback."""
    if sys.argv[1:] == ["--version"]:
        print(f"pairwright {__version__}")
        return
    try:
        shared = sys.argv[1:2] == ["score"] and "--run" not in sys.argv  # every process scores its share
        with contextlib.nullcontext() if shared else ranks.together():
            if shared or ranks.rank() == 0:
                words = spelled(sys.argv[1:])
                app.cli(args=words, prog="pairwright", description=_DESCRIPTION, registry=registry, config=CONFIG)
            else:
                from pairwright import train

                train.follow()
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; what was computed is kept: run the same command again to go on")
    except Explained as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:  # `pairwright plan x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        sys.exit(f"error: {error.strerror}: {error.filename or 'the disk'}; what was computed is kept: mend it and run again")


_DESCRIPTION = "Preference pairs without labels, aligned text-to-image models, and whether it helped."


def _execute(recipe: Any, root: Path, only: str | None = None) -> None:
    from pairwright import progress
    from pairwright import run as runner

    shown = progress.choose()
    command = shlex.join(["pairwright", *sys.argv[1:]])
    page = runner.run(recipe, root, progress=shown, command=command, only=only)
    shown.say(f"report: {page}")
    print(page)


def _one_step(place: Place, verb: str, chosen: options.Options) -> None:
    """A single step grows its run: it is put into the run's recipe, and what it builds on is there or made."""
    from pairwright import recipe as recipes

    document = _document(place)
    table = {"verb": verb, "from": list(place.inputs), **chosen.model_dump(mode="json")}
    steps = {**document.get("step", {}), place.step: table}
    where = f"run {place.run}"
    recipe = recipes.check(recipes.parse({**document, "name": place.run, "step": steps}, where), where)
    _execute(recipe, place.root, place.step)


def _choose(folder: Path, training: str, asked: Any) -> None:
    """Checkpoints of a train step, compared as steps of its own run."""
    from pairwright import recipe as recipes
    from pairwright import run as runner
    from pairwright import wording
    from pairwright.recipe import checkpoints

    document = runner.read(folder)["recipe"]
    there = sorted(path.parent.name for path in runner.result(folder, training).path.glob("checkpoints/*/model.json"))
    added = checkpoints.steps(document, training, there, asked)
    for judged in checkpoints.same_prompts(document, asked.prompts):
        print(f"note: {judged} is judged on {asked.prompts} too; its numbers will favour the checkpoint that is chosen here")
    where = f"run {folder.name}"
    recipe = recipes.check(recipes.parse({**document, "step": {**document["step"], **added}}, where), where)
    last = list(added)[-1]
    _execute(recipe, folder.parent, last)
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


def _document(place: Place) -> dict[str, Any]:
    path = place.root / place.run / "run.json"
    if not path.exists():
        return {}
    from pairwright import run as runner

    return dict(runner.read(path.parent)["recipe"])


@registry.primitive_rule
def _tables(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """What is a table in a recipe is one argument here: a bare word, or a TOML value."""
    if not any(_mentions(info.type, table) for table in _TABLES):
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(info.type)
    several = get_origin(info.type) is tuple

    def build(words: list[str]) -> Any:
        values = [_toml(word) for word in words]
        try:
            return adapter.validate_python(values if several else values[0])
        except ValidationError as error:
            raise ValueError("; ".join(each["msg"] for each in error.errors())) from error

    return PrimitiveConstructorSpec(
        nargs="*" if several else 1,
        metavar="NAME|{TOML} ..." if several else "NAME|{TOML}",
        instance_from_str=build,
        is_instance=lambda _: True,
        str_from_instance=lambda value: [_shown(each) for each in value] if several else [_shown(value)],
    )


def _mentions(annotation: Any, table: type) -> bool:
    return annotation is table or any(_mentions(each, table) for each in get_args(annotation))


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word


def _shown(value: Any) -> str:
    """A default as it would be typed."""
    plain = options.plain(value) if not isinstance(value, options.Plugin) else value.model_dump(mode="json")
    if isinstance(plain, Mapping) and set(plain) == {"name", "options"} and not plain["options"]:
        return str(plain["name"])
    return json.dumps(plain)


if __name__ == "__main__":
    main()
