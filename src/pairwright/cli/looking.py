"""The verbs that look at what is there: pairs, runs, recipes, the machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from pairwright import plugins
from pairwright.cli.arguments import Changes, Flag, Folder, PairsOf, RecipeName, Root, app


@app.command(name="audit")
def audit_(
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
def pairs_(pairs: tyro.conf.Positional[PairsOf], *, step: str = "", port: int = 0) -> None:
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


@app.command(name="report")
def report_(run: tyro.conf.Positional[Folder]) -> None:
    """Write report.html from a run's folder, at any time, also while it runs."""
    from pairwright.report import report

    print(report(run))


@app.command(name="edits")
def edits(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN ...")], *, out: Path | None = None
) -> None:
    """Say what came of each critic, instructor and editor: the edits that won, and the scores of originals and edits.

    Args:
        runs: folders of runs with feedback steps, such as all of a sweep.
        out: folder for edits.md and edits.csv; default: the sweep's, or the first run's.
    """
    from pairwright.report import of_runs

    print(of_runs(runs, out), end="")


@app.command(name="plan")
def plan_(recipe: tyro.conf.Positional[RecipeName], *, changes: Changes = (), root: Root = Path("runs")) -> None:
    """Say beforehand what a recipe downloads, whether it fits into memory and about how long it takes."""
    from pairwright import plan
    from pairwright import recipe as recipes

    for each in recipes.load(recipe, changes):
        print(plan.plan(each, root))


@app.command(name="recipes")
def recipes_(name: Annotated[str | None, tyro.conf.Positional] = None) -> None:
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


@app.command(name="plugins")
def plugins_(name: Annotated[str | None, tyro.conf.Positional] = None) -> None:
    """List sources, rewards, saliency models, perturbations, critics and instructors, or the options of one.

    Args:
        name: a shelf (critics), one of its plug-ins (critics/openai), or a module of your own (critics/my_package.my_critic).
    """
    shelf, _, plugin = (name or "").partition("/")
    for each in plugins.SHELVES if name is None else [plugins.shelf(shelf)]:
        print(shown(each, plugin) if plugin else f"{each}\n{listed(each)}")


def listed(shelf: plugins.Shelf) -> str:
    """The plug-ins of a shelf with what they are."""
    found = {name: plugins.signature(shelf, name).summary for name in plugins.names(shelf)}
    width = max(map(len, found))
    return "".join(f"  {name:<{width}}  {summary}\n" for name, summary in found.items())


def shown(shelf: plugins.Shelf, name: str) -> str:
    """A plug-in's options: type, default and meaning."""
    found = plugins.explained(shelf, name)
    kinds = [f"{each.annotation} = {each.default}" if each.default else f"{each.annotation}, required" for each in found.options]
    rows = [(each.name, kind) for each, kind in zip(found.options, kinds, strict=True)]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [f"{shelf}/{name}: {found.summary}", ""]
    for (option, kind), each in zip(rows, found.options, strict=True):
        lines.append(f"  {option:<{widths[0]}}  {kind:<{widths[1]}}  {each.meaning}".rstrip())
    return "\n".join(lines)


@app.command(name="init")
def init(
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
def doctor_(*, scorers: Flag = 0) -> None:
    """Say what is installed, what hardware is there and which models are cached.

    Args:
        scorers: also load every scorer whose weights are here, and say whether it gives the scores that it gave before.
    """
    from pairwright import doctor, progress

    print(doctor.doctor(scorers=bool(scorers), progress=progress.choose()))


@app.command(name="gc")
def gc(*, root: Root = Path("runs"), delete: bool = False) -> None:
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
