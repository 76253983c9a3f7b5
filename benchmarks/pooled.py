"""What all training seeds of a judged benchmark say together, as numbers and as a page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from benchmarks import contrasts, judging, provenance
from benchmarks.judging import Judged
from pairwright.recipe import Recipe
from pairwright.wording import number, percent, probability

CELLS = ("contrast", "metric", "difference", "95 % interval", "won")


def summary(
    found: Mapping[int, Judged],
    recipes: Sequence[Recipe],
    families: contrasts.Families,
    groups: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Any]:
    """What all training seeds together say.

    Args:
        found: the seeds.
        recipes: theirs.
        families: what is contrasted.
        groups: sets of prompts, by their ids, which are described besides, without correction or verdict.
    """
    said = provenance.provenance()
    by_seed = {seed: each.numbers for seed, each in found.items()}
    return {
        "seeds": sorted(found),
        "recipe": judging.digest(recipes, said["pack"]),
        "means": contrasts.means(by_seed),
        "contrasts": contrasts.contrasts(by_seed, families),
        "groups": {name: _described(contrasts.within(by_seed, prompts), families) for name, prompts in (groups or {}).items()},
        "runs": {str(seed): each.said["provenance"] for seed, each in sorted(found.items())},
        "provenance": said,
    }


def _described(found: contrasts.BySeed, families: contrasts.Families) -> list[dict[str, Any]]:
    metrics = next(iter(next(iter(found.values())).values()))
    pairs = [pair for family in families.values() for pair in family]
    return [contrasts.contrast(found, metric, *pair, sorted(found)) for metric in metrics for pair in pairs]


def page(result: Mapping[str, Any], title: str) -> str:
    """The result as Markdown."""
    metrics = list(next(iter(result["means"].values())))
    means = [[arm, *(number(by_metric[metric]) for metric in metrics)] for arm, by_metric in result["means"].items()]
    rows = [
        [
            *_cells(row),
            probability(row["p_holm"]),
            ", ".join(number(each["difference"], sign=True) for each in row["per_seed"]),
            row["verdict"],
        ]
        for row in result["contrasts"]
    ]
    header = [*CELLS, "p (Holm)", "by seed", "verdict"]
    first = result["contrasts"][0]
    counted = f"{first['prompts']} prompts, {first['pictures']} pictures per arm over training seeds {result['seeds']}."
    return "\n".join(
        [
            f"# {title}\n",
            f"{counted} Pooled over seeds; see PROTOCOL.md. Run `{result['recipe']}`.\n",
            provenance.table(["arm", *metrics], means),
            provenance.table(header, rows),
            *(_group(name, rows) for name, rows in result["groups"].items()),
            *(f"- Seed {seed}: {said['date'][:10]}, {said['machine']}" for seed, said in result["runs"].items()),
            provenance.footnote(result["provenance"]),
        ]
    )


def _group(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    return f"Prompts that are {name} ({rows[0]['prompts']}), described only:\n\n{provenance.table(CELLS, [*map(_cells, rows)])}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        f"{row['arm']} - {row['against']}",
        f"**{row['metric']}**" if row["metric"] == contrasts.PRIMARY else row["metric"],
        number(row["difference"], sign=True),
        f"{number(row['low'], sign=True)} .. {number(row['high'], sign=True)}",
        percent(row["won"], 1),
    ]
