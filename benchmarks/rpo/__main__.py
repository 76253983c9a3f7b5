"""The benchmark of rich feedback.

    python -m benchmarks.rpo --photos flowers-128.tar    # the runs that count; PROTOCOL.md must be committed

Run again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import photographs, provenance
from benchmarks.learning import __main__ as learning
from benchmarks.learning import contrasts
from pairwright import recipe, run
from pairwright.context import Context
from pairwright.evaluate.join import read_scored
from pairwright.progress import choose
from pairwright.recipe import Recipe
from pairwright.store import Store
from pairwright.wording import number, percent
from tools.tiny_pack.captions import caption

HERE = Path(__file__).parent
PROTOCOL = HERE / "PROTOCOL.md"
PROMPTS, SAMPLED = 200, 120
COMMAND = "python -m benchmarks.rpo"
SAID = ("kept", "edited_won", "flips", "ties", "share_won")
ROADS = ("random", "half", "one_step", "two_steps")
FAMILIES = {
    "against the base": tuple((arm, contrasts.BASE) for arm in ("dpo", "rpo_one", "rpo_two")),
    "between arms": (("rpo_two", "dpo"), ("rpo_one", "dpo"), ("rpo_two", "rpo_one")),
}


def prepare(flowers: photographs.Flowers, root: Path) -> list[str]:
    """Prompts on disk, and the assignments that put them into the recipe."""
    known = {caption(traits) for traits in flowers.split("base").values()}
    judged = photographs.distinct_captions(flowers, "test", PROMPTS, learning.PROMPT_SEED)
    sampled = photographs.distinct_captions(flowers, "photos", SAMPLED, learning.PROMPT_SEED, without=judged)
    places = {
        "pictures": photographs.write_prompts(root / "rpo-prompts.jsonl", judged, known),
        "samples": photographs.write_prompts(root / "rpo-sampled.jsonl", sampled),
    }
    return [f"{step}.prompts = {json.dumps(str(path.resolve()))}" for step, path in places.items()]


def load(changes: Sequence[str]) -> list[Recipe]:
    """The recipes of ``rpo.toml``, one per seed."""
    return recipe.load(HERE / "rpo.toml", changes)


def judged(recipes: Sequence[Recipe], root: Path, protocol: Path = PROTOCOL) -> dict[str, Any]:
    """Run every seed that is missing, and sum up. Every run is entered in the protocol before it is begun."""
    found: dict[int, Any] = {}
    roads: dict[str, Any] = {}
    pack = provenance.provenance()["pack"]
    for each in recipes:
        learning.enter(protocol, each, pack)
        run.run(each, root, progress=choose(), command=COMMAND)
        learning.enter(protocol, each, pack, "done")
        scores = run.result(root / each.name, "scores")
        found[learning.seed_of(each)] = contrasts.numbers(read_scored(Context(Store(root), {"scores": scores})))
        roads = {name: run.result(root / each.name, name).summary for name in ROADS}
    return {
        "seeds": sorted(found),
        "recipe": learning.digest(recipes, pack),
        "roads": {
            name: {key: said[key] for key in ("kept", "edited_won", "flips", "ties", "share_won")} for name, said in roads.items()
        },
        "means": contrasts.means(found),
        "contrasts": contrasts.contrasts(found, FAMILIES),
        "provenance": provenance.provenance(),
    }


def page(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    rows = [
        [name, str(said["kept"]), str(said["edited_won"]), str(said["flips"]), str(said["ties"]), share(said["share_won"])]
        for name, said in result["roads"].items()
    ]
    header = ["pairs", "kept", "second picture won", "first won", "ties", "share won"]
    title, _, rest = learning.page(result, "The benchmark of rich feedback").partition("\n\n")
    return "\n\n".join([title, provenance.table(header, rows).rstrip(), rest])


def share(value: float | None) -> str:
    """A share, or that there is none."""
    return "-" if value is None else f"{percent(value)} ({number(value)})"


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    photographs.arguments(parser)
    parser.add_argument("--results", type=Path, default=provenance.RESULTS, help="where the table is written")
    chosen = parser.parse_args()
    result = judged(load(prepare(photographs.read(chosen.photos), chosen.root)), chosen.root)
    print(page(result))
    print(provenance.write("rpo", result, page(result), chosen.results))


if __name__ == "__main__":
    main()
