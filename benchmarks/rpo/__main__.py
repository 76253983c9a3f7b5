"""The benchmark of rich feedback.

    python -m benchmarks.rpo --photos flowers-128.tar    # the runs that count; PROTOCOL.md must be committed
    python -m benchmarks.rpo --photos flowers-128.tar --pictures --seeds 2    # some of a judged run's, to look at

Run again, it goes on where it was. Seeds can be run apart (``--seeds 0``); their scores are kept in ``results/judged``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import judging, photographs, pooled, provenance
from benchmarks.contrasts import BASE, Families
from benchmarks.judging import Benchmark, Judged
from pairwright import recipe, run, tables
from pairwright.recipe import Recipe
from pairwright.report.gather import spread
from pairwright.wording import number, percent
from tools.tiny_pack.captions import caption
from tools.tiny_pack.samples import sheet

HERE = Path(__file__).parent
PROTOCOL = HERE / "PROTOCOL.md"
PROMPTS, SAMPLED = 200, 120
COMMAND = "python -m benchmarks.rpo"
SAID = ("kept", "edited_won", "flips", "ties", "share_won")
ROADS = ("random", "half", "one_step", "two_steps")
FAMILIES: Families = {
    "against the base": tuple((arm, BASE) for arm in ("dpo", "rpo_one", "rpo_two")),
    "between arms": (("rpo_two", "dpo"), ("rpo_one", "dpo"), ("rpo_two", "rpo_one")),
}


def prepare(flowers: photographs.Flowers, root: Path) -> list[str]:
    """Prompts on disk, and the assignments that put them into the recipe."""
    known = {caption(traits) for traits in flowers.split("base").values()}
    judged = photographs.distinct_captions(flowers, "test", PROMPTS)
    sampled = photographs.distinct_captions(flowers, "photos", SAMPLED, without=judged)
    places = {
        "pictures": photographs.write_prompts(root / "rpo-prompts.jsonl", judged, known),
        "samples": photographs.write_prompts(root / "rpo-sampled.jsonl", sampled),
    }
    return [f"{step}.prompts = {json.dumps(str(path.resolve()))}" for step, path in places.items()]


def load(changes: Sequence[str]) -> list[Recipe]:
    """The recipes of ``rpo.toml``, one per seed."""
    return recipe.load(HERE / "rpo.toml", changes)


def roads(folder: Path) -> dict[str, Any]:
    """How each road to pairs went, of a run's folder."""
    summaries = {name: run.result(folder, name).summary for name in ROADS}
    return {"roads": {name: {key: said[key] for key in SAID} for name, said in summaries.items()}}


def summary(found: Mapping[int, Judged], recipes: Sequence[Recipe]) -> dict[str, Any]:
    """What all training seeds together say. The roads are the same for all of them."""
    return {**pooled.summary(found, recipes, FAMILIES), "roads": next(iter(found.values())).said["roads"]}


def page(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    rows = [
        [name, str(said["kept"]), str(said["edited_won"]), str(said["flips"]), str(said["ties"]), share(said["share_won"])]
        for name, said in result["roads"].items()
    ]
    header = ["pairs", "kept", "second picture won", "first won", "ties", "share won"]
    title, _, rest = pooled.page(result, "The benchmark of rich feedback").partition("\n\n")
    return "\n\n".join([title, provenance.table(header, rows).rstrip(), rest])


def share(value: float | None) -> str:
    """A share, or that there is none."""
    return "-" if value is None else f"{percent(value)} ({number(value)})"


def pictures(folder: Path) -> dict[str, Tensor]:
    """To look at: some pictures of every arm, and of each road of edits some originals with their edits below."""
    found = judging.pictures(folder)
    count = len(found[BASE])
    for road in ("one_step", "two_steps"):
        pairs = list(tables.pairs(run.result(folder, road)))
        some = [pairs[place] for place in spread(len(pairs), count)]
        for side, won in (("original", False), ("edit", True)):
            chosen = [each.winner if each.lineage["edited_won"] is won else each.loser for each in some]
            found[f"{road}: {side}"] = torch.stack([each.tensor for each in chosen])
    return found


def main() -> None:
    """Run and write the table."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    photographs.arguments(parser)
    judging.arguments(parser)
    parser.add_argument("--pictures", action="store_true", help="only draw the sheet of the first seed that is named")
    chosen = parser.parse_args()
    recipes = load(prepare(photographs.read(chosen.photos), chosen.root))
    if chosen.pictures:
        wanted = (chosen.seeds or [0])[0]
        rows = pictures(chosen.root / next(each.name for each in recipes if judging.seed_of(each) == wanted))
        sheet(list(rows.values()), list(rows), chosen.results / "rpo-pictures.jpg", zoom=1)
        return
    found = Benchmark(COMMAND, PROTOCOL, chosen.root, chosen.results / judging.KEPT.name, roads).run(recipes, chosen.seeds)
    if left := judging.missing(found, recipes):
        print(f"seeds {left} are still to be run; the table is made when all are there")
        return
    result = summary(found, recipes)
    print(page(result))
    print(provenance.write("rpo", result, page(result), chosen.results))


if __name__ == "__main__":
    main()
