"""The learning benchmark.

    python -m benchmarks.learning develop --photos flowers-128.tar    # choose hyper-parameters, on prompts of their own
    python -m benchmarks.learning judged  --photos flowers-128.tar    # the runs that count; PROTOCOL.md must be committed
    python -m benchmarks.learning pictures --photos flowers-128.tar --seeds 2    # some of a judged run's, to look at

Run again, either goes on where it was. Seeds can be run apart (``--seeds 0``); their scores are kept in ``results/judged``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks import judging, photographs, pooled, provenance
from benchmarks.contrasts import BASE, Families
from benchmarks.judging import Benchmark
from pairwright import prompts, recipe, run
from pairwright.options import Train
from pairwright.progress import choose
from pairwright.recipe import Recipe
from pairwright.store import write_text
from pairwright.wording import number, percent
from tools.tiny_pack.captions import caption
from tools.tiny_pack.samples import sheet

HERE = Path(__file__).parent
PROTOCOL = HERE / "PROTOCOL.md"
PROMPTS, DEVELOPMENT_PROMPTS = 200, 100
COMMAND = "python -m benchmarks.learning"
ARMS = ("sft", "dpo", "dro", "both")
BETWEEN_ARMS = (("both", "dro"), ("both", "dpo"), ("both", "sft"), ("dro", "sft"))
"""What stage 2 adds, what stage 1 adds, and what either has over plain supervised tuning."""
FAMILIES: Families = {"against the base": tuple((arm, BASE) for arm in ARMS), "between arms": BETWEEN_ARMS}


def prepare(flowers: photographs.Flowers, root: Path) -> list[str]:
    """Photographs and prompts on disk, and the assignments that put them into the recipes."""
    folder = photographs.folder(flowers, "photos", root)
    known = {caption(traits) for traits in flowers.split("photos").values()}
    judged = photographs.distinct_captions(flowers, "test", PROMPTS)
    tuning = photographs.distinct_captions(flowers, "base", DEVELOPMENT_PROMPTS, without=judged)
    written = photographs.write_prompts(root / "learning-prompts.jsonl", judged, known)
    photographs.write_prompts(root / "learning-develop.jsonl", tuning)
    return [
        f"pairs.source.path = {json.dumps(str(folder.resolve()))}",
        f"pictures.prompts = {json.dumps(str(written.resolve()))}",
    ]


def load(name: str, changes: Sequence[str]) -> list[Recipe]:
    """The recipes of ``learning.toml`` or ``develop.toml``, one per run."""
    return recipe.load(HERE / f"{name}.toml", changes)


def develop(flowers: photographs.Flowers, root: Path) -> str:
    """Train and judge every candidate; the differences that PickScore sees on the development prompts, as a table."""
    changes = [
        *prepare(flowers, root),
        f"tried.prompts = {json.dumps(str((root / 'learning-develop.jsonl').resolve()))}",
    ]
    rows: dict[tuple[str, ...], list[str]] = {}
    for each in load("develop", changes):
        run.run(each, root, progress=choose(), command=f"{COMMAND} develop", only="tried_comparison")
        node = run.result(root / each.name, "tried_comparison")
        found = json.loads((node.path / "comparison.json").read_text(encoding="utf-8"))
        for row in found["comparisons"]:
            interval = "none" if row["low"] is None else f"{number(row['low'], sign=True)} .. {number(row['high'], sign=True)}"
            rows[candidate(each, row["model"])] = [number(row["difference"], sign=True), interval, percent(row["win_rate"])]
    header = ["arm", "learning rate", "beta", "PickScore against the base", "95 % interval", "won"]
    return provenance.table(header, [[*key, *row] for key, row in sorted(rows.items())])


def candidate(found: Recipe, arm: str) -> tuple[str, str, str]:
    """Arm, learning rate and beta of a development run."""
    options = next(step.options for step in found.steps if step.name == arm)
    assert isinstance(options, Train)
    return arm, f"{options.optimiser.learning_rate:g}", f"{options.beta:g}"


def groups(root: Path) -> dict[str, set[str]]:
    """Prompts by whether they are the caption of a photograph that is curated (``known``) or not (``new``), by their ids."""
    found: dict[str, set[str]] = {}
    for prompt in prompts.load(str(root / "learning-prompts.jsonl")):
        found.setdefault(prompt.category, set()).add(prompt.id)
    return found


def main() -> None:
    """One of the commands."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("command", choices=("develop", "judged", "pictures"))
    photographs.arguments(parser)
    judging.arguments(parser)
    chosen = parser.parse_args()
    flowers = photographs.read(chosen.photos)
    if chosen.command == "develop":
        said = provenance.provenance()
        text = "# Development of the learning benchmark\n\n" + develop(flowers, chosen.root) + "\n" + provenance.footnote(said)
        write_text(chosen.results / "learning-develop.md", text)
        print(text)
        return
    recipes = load("learning", prepare(flowers, chosen.root))
    if chosen.command == "pictures":
        for each in recipes:
            if judging.seed_of(each) in (chosen.seeds or [0]):
                rows = judging.pictures(chosen.root / each.name)
                sheet(list(rows.values()), list(rows), chosen.results / "learning-pictures.jpg", zoom=1)
        return
    found = Benchmark(f"{COMMAND} judged", PROTOCOL, chosen.root, chosen.results / judging.KEPT.name).run(recipes, chosen.seeds)
    if left := judging.missing(found, recipes):
        print(f"seeds {left} are still to be run; the table is made when all are there")
        return
    result = pooled.summary(found, recipes, FAMILIES, groups(chosen.root))
    text = pooled.page(result, "The learning benchmark")
    print(text)
    print(provenance.write("learning", result, text, chosen.results))


if __name__ == "__main__":
    main()
