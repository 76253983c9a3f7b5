"""The learning benchmark.

    python -m benchmarks.learning develop --photos flowers-128.tar    # choose hyper-parameters, on prompts of their own
    python -m benchmarks.learning judged  --photos flowers-128.tar    # the runs that count; PROTOCOL.md must be committed

Run again, either goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import photographs, provenance
from benchmarks.learning import contrasts
from pairwright import recipe, run
from pairwright.context import Context
from pairwright.errors import Explained
from pairwright.evaluate.join import read_scored
from pairwright.options import Train
from pairwright.progress import choose
from pairwright.recipe import Recipe
from pairwright.store import Store, write_text
from pairwright.wording import number, percent, probability
from tools.tiny_pack.captions import caption

HERE = Path(__file__).parent
PROTOCOL = HERE / "PROTOCOL.md"
PROMPTS, DEVELOPMENT_PROMPTS = 200, 100
PROMPT_SEED = 0
COMMAND = "python -m benchmarks.learning"


class LearningError(Explained, RuntimeError):
    """A benchmark that cannot be run or summed up; the message says what to do."""


def prepare(flowers: photographs.Flowers, root: Path) -> list[str]:
    """Photographs and prompts on disk, and the assignments that put them into the recipes."""
    folder = photographs.folder(flowers, "photos", root)
    known = {caption(traits) for traits in flowers.split("photos").values()}
    judged = photographs.distinct_captions(flowers, "test", PROMPTS, PROMPT_SEED)
    tuning = photographs.distinct_captions(flowers, "base", DEVELOPMENT_PROMPTS, PROMPT_SEED, without=judged)
    prompts = photographs.write_prompts(root / "learning-prompts.jsonl", judged, known)
    photographs.write_prompts(root / "learning-develop.jsonl", tuning)
    return [
        f"pairs.source.path = {json.dumps(str(folder.resolve()))}",
        f"pictures.prompts = {json.dumps(str(prompts.resolve()))}",
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
    return arm, f"{options.optimiser.learning_rate:g}", f"{options.beta:g}" if options.objective == "dpo" else "-"


def judged(flowers: photographs.Flowers, root: Path, protocol: Path = PROTOCOL) -> dict[str, Any]:
    """Run every seed that is missing, and sum up. Every run is entered in the protocol before it is begun."""
    found: dict[int, Any] = {}
    recipes = load("learning", prepare(flowers, root))
    pack = provenance.provenance()["pack"]
    for each in recipes:
        enter(protocol, each, pack)
        run.run(each, root, progress=choose(), command=f"{COMMAND} judged")
        enter(protocol, each, pack, "done")
        scores = run.result(root / each.name, "scores")
        found[seed_of(each)] = contrasts.numbers(read_scored(Context(Store(root), {"scores": scores})))
    return {
        "seeds": sorted(found),
        "recipe": digest(recipes, pack),
        "means": contrasts.means(found),
        "contrasts": contrasts.contrasts(found),
        "provenance": provenance.provenance(),
    }


def seed_of(found: Recipe) -> int:
    """The training seed of a run: that of all its trainings.

    Raises:
        LearningError: they differ.
    """
    seeds = {step.options.seed for step in found.steps if isinstance(step.options, Train)}
    if len(seeds) != 1:
        raise LearningError(f"the trainings of {found.name} have the seeds {sorted(seeds)}; one was expected")
    return seeds.pop()


def digest(recipes: Sequence[Recipe], pack: Mapping[str, str]) -> str:
    """What a judged run consists of: options and weights, wherever photographs and prompts lie."""
    documents = []
    for each in recipes:
        document = each.document()
        for step in document["step"].values():
            if step["verb"] == "generate":
                step["prompts"]["name"] = ""
            if step["verb"] == "curate":
                step["source"] = ""
        documents.append(document)
    return hashlib.sha256(json.dumps([documents, dict(pack)], sort_keys=True).encode()).hexdigest()[:12]


def enter(protocol: Path, found: Recipe, pack: Mapping[str, str], state: str = "begun") -> None:
    """Put a run into the protocol's list, which is its last section; a run that goes on keeps its line."""
    lines = protocol.read_text(encoding="utf-8").rstrip().splitlines()
    name = f"`{digest([found], pack)}`"
    place = next((row for row, line in enumerate(lines) if name in line), len(lines))
    begun = lines[place].split("|")[1].strip() if place < len(lines) else datetime.now(UTC).date().isoformat()
    done = place < len(lines) and lines[place].endswith("| done |")
    lines[place:] = [f"| {begun} | {found.name} | {name} | {'done' if done else state} |", *lines[place + 1 :]]
    write_text(protocol, "\n".join(lines) + "\n")


def page(result: Mapping[str, Any], title: str = "The learning benchmark") -> str:
    """The result as Markdown."""
    metrics = list(next(iter(result["means"].values())))
    means = [[arm, *(number(by_metric[metric]) for metric in metrics)] for arm, by_metric in result["means"].items()]
    rows = [
        [
            f"{row['arm']} - {row['against']}",
            f"**{row['metric']}**" if row["metric"] == contrasts.PRIMARY else row["metric"],
            number(row["difference"], sign=True),
            f"{number(row['low'], sign=True)} .. {number(row['high'], sign=True)}",
            percent(row["won"], 1),
            probability(row["p_holm"]),
            ", ".join(number(each["difference"], sign=True) for each in row["per_seed"]),
            row["verdict"],
        ]
        for row in result["contrasts"]
    ]
    header = ["contrast", "metric", "difference", "95 % interval", "won", "p (Holm)", "by seed", "verdict"]
    first = result["contrasts"][0]
    counted = f"{first['prompts']} prompts, {first['pictures']} pictures per arm over training seeds {result['seeds']}."
    return "\n".join(
        [
            f"# {title}\n",
            f"{counted} Pooled over seeds; see PROTOCOL.md. Run `{result['recipe']}`.\n",
            provenance.table(["arm", *metrics], means),
            provenance.table(header, rows),
            provenance.footnote(result["provenance"]),
        ]
    )


def main() -> None:
    """One of the two commands."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("command", choices=("develop", "judged"))
    photographs.arguments(parser)
    parser.add_argument("--results", type=Path, default=provenance.RESULTS, help="where the table is written")
    chosen = parser.parse_args()
    flowers = photographs.read(chosen.photos)
    if chosen.command == "develop":
        said = provenance.provenance()
        text = "# Development of the learning benchmark\n\n" + develop(flowers, chosen.root) + "\n" + provenance.footnote(said)
        write_text(chosen.results / "learning-develop.md", text)
        print(text)
        return
    result = judged(flowers, chosen.root)
    print(page(result))
    print(provenance.write("learning", result, page(result), chosen.results))


if __name__ == "__main__":
    main()
