"""The dataset card: how many pairs, out of what, who left on the way, under which licences, and how the files are opened."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairwright.options import ExportPairs, PairFormat
from pairwright.pairsets import PairSet
from pairwright.wording import line

_SAID: Mapping[PairFormat, str] = {
    "parquet": "every column that pairwright has of a pair: id, prompt, winner, loser, mask, ids of both, lineage",
    "pickapic": "Pick-a-Pic version 2's columns; which picture is the first says nothing",
    "trl": "`prompt`, `chosen`, `rejected`, as TRL reads them",
    "csv": "`pairs.csv` (`win_image_path`, `lose_image_path`, `caption`), pictures in `win/` and `lose/`",
    "folders": "`w/` and `l/`, pictures of the same names, each caption on one line in a `.txt`",
}
_TABLES = ("parquet", "pickapic", "trl")
_COUNTED = {"source": "source", "imported": "imported as", "winner_model": "winner's model", "loser_model": "loser's model"}
MOST = 20
"""Rows of one count that are shown."""


def card(found: PairSet, chosen: ExportPairs, formats: Sequence[PairFormat], title: str, damaged: int) -> str:
    """``README.md``, with the front matter that the hub and ``datasets`` read.

    Args:
        found: the pairs.
        chosen: what it says.
        formats: those that were written.
        title: its heading.
        damaged: pairs that were left out since a picture cannot be read.
    """
    lineages = [outline.lineage for outline in found.outlines]
    lines = [
        *_front(formats),
        "",
        f"# {title}",
        "",
        f"{len(lineages) - damaged:,} preference pairs (a prompt, a winner, a loser), made with pairwright.",
        *([f"{damaged:,} more were left out: a picture of theirs cannot be read."] if damaged else []),
        "",
        *_licences(lineages, chosen.license),
        "",
        "## Files",
        "",
        *(f"- `{form}/`: {_SAID[form]}" for form in formats),
        "",
        "## Who became a pair",
        "",
        *_funnel(found),
        "",
        "## Where they come from",
        "",
        *_lineage(found, lineages),
        "",
        "## Opening",
        "",
        *_opening(formats),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _front(formats: Sequence[PairFormat]) -> Iterator[str]:
    yield "---"
    yield "license: other  # to be filled in: see the licences below"
    yield "task_categories: [text-to-image]"
    yield "tags: [preference, dpo]"
    held = [form for form in formats if form in _TABLES]
    if held:
        yield "configs:"
    for form in held:
        yield f"- config_name: {form}"
        yield f"  data_files: '{form}/*.parquet'"
        if form == held[0]:
            yield "  default: true"
    yield "---"


def _licences(lineages: Sequence[Mapping[str, Any]], said: str | None) -> Iterator[str]:
    yield f"Licence: {' '.join(said.split())}" if said else "Licence: TO BE FILLED IN, here and in `license:` above."
    yield "What the pictures themselves carried:"
    yield ""
    yield from _counted("licence", Counter(_text(each.get("license")) or "not stated" for each in lineages))


def _counted(what: str, counts: Counter[str]) -> Iterator[str]:
    yield line([what, "pairs"])
    yield "|---|---|"
    yield from (line([name, f"{count:,}"]) for name, count in counts.most_common(MOST))
    if len(counts) > MOST:
        yield line([f"{len(counts) - MOST:,} others", f"{sum(counts.values()) - sum(n for _, n in counts.most_common(MOST)):,}"])


def _funnel(found: PairSet) -> Iterator[str]:
    steps = found.node.summary.get("funnel", []) if found.node else []
    if not steps:
        yield "Not known of what this was exported from."
        return
    yield line(["step", "entered", "left", "why"])
    yield "|---|---|---|---|"
    for step in steps:
        why = ", ".join(f"{count:,} x {_text(reason)}" for reason, count in step.get("reasons", {}).items())
        yield line([_text(step["step"]), f"{step['entered']:,}", f"{step['left']:,}", why])


def _lineage(found: PairSet, lineages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name, what in _COUNTED.items():
        counts = Counter(_text(each[name]) for each in lineages if each.get(name))
        if counts:
            yield from _counted(what, counts)
            yield ""
    if found.node is None:
        yield f"Exported from `{found.name.rsplit('/', 1)[-1]}`. Each pair's own lineage is with it."
        return
    record = found.node.record()
    yield f"Result `{found.node.fingerprint}` of `pairwright {found.node.verb}` {record.get('pairwright', '')}. Each pair's own"
    yield "lineage is with it. Every option:"
    yield ""
    yield "```json"
    yield json.dumps(record["meaning"], indent=2, sort_keys=True, ensure_ascii=False)
    yield "```"


def _opening(formats: Sequence[PairFormat]) -> Iterator[str]:
    held = [form for form in formats if form in _TABLES]
    if held:
        yield "```python"
        yield "from datasets import load_dataset"
        yield ""
        yield from (f'{form} = load_dataset(".", "{form}", split="train")' for form in held)
        yield "```"
        yield ""
    read = {"parquet": "datasets", "trl": "datasets", "pickapic": "pickapic", "csv": "csv", "folders": "winlose"}
    yield "In a recipe of pairwright:"
    yield ""
    yield "```toml"
    for form in formats:
        path = f"{form}/pairs.csv" if form == "csv" else form
        yield f'source = {{ name = "{read[form]}", path = "{path}" }}'
    yield "```"


def _text(value: object) -> str:
    """On one line, and no more of it than a table bears."""
    return " ".join(str(value or "").split())[:200]
