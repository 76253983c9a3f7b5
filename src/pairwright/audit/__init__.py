"""Audit: what is wrong with a set of pairs before anything is trained on it.

Duplicates among the winners, captions that are evaluation prompts, ties and gaps of the wrong sign, and shortcuts: trivial
cues (resolution, compression, sharpness, mean colour) that tell the sides apart by themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pairwright import duplicates as likeness
from pairwright import images, prompts, suggestions, vetoes
from pairwright.audit import duplicates, overlap, shortcuts, sides
from pairwright.audit.cues import CUES, measure
from pairwright.audit.findings import Audit, Finding
from pairwright.audit.shortcuts import Sides
from pairwright.errors import Explained
from pairwright.pairsets import PairSet
from pairwright.progress import SILENT, Progress

__all__ = ["CHECKS", "Audit", "AuditError", "Finding", "audit"]

CHECKS = ("pictures", "sides", "gap", "duplicates", "near duplicates", "views", "overlap", *(cue.name for cue in CUES))


class AuditError(Explained, ValueError):
    """What cannot be audited, or accepted; the message says what there is."""


def audit(pairs: PairSet, *, against: Sequence[str] = (), accepted: Sequence[str] = (), progress: Progress = SILENT) -> Audit:
    """Examine a set of pairs. Every picture is decoded once.

    Args:
        pairs: which ones; those that are vetoed are left out.
        against: known sets or files of evaluation prompts; none: those that the run generates for, where the pairs are a run's.
        accepted: checks whose problems are known and wanted; they are notes then.
        progress: whom to tell.

    Raises:
        AuditError: there are no pairs, or no check of that name.
        PromptError, RowError: a file of prompts that cannot be read.
    """
    for name in accepted:
        if name not in CHECKS:
            raise AuditError(f"there is no check {name!r}." + suggestions.hint(name, CHECKS, listed="There are"))
    asked = dict.fromkeys(against) or _evaluated(pairs)
    sets = {name: [each.text for each in prompts.load(name, path=path)] for name, path in asked.items()}
    vetoed = vetoes.read(pairs.vetoes).get(pairs.step, {})
    seen = _Seen()
    with progress.task("look at pairs", len(pairs.outlines)) as task:
        for outline, pair in pairs:
            if outline.id not in vetoed:
                seen.add(outline, pair)
            task.advance()
    if not seen.ids:
        raise AuditError(f"{pairs.name} holds no pairs that can be looked at" + (f": {seen.broken[0]}" if seen.broken else ""))
    findings = tuple(
        replace(each, level="note", advice="Accepted.") if each.level == "problem" and each.check in accepted else each
        for each in seen.findings(sets)
    )
    return Audit(pairs.name, len(seen.ids), len(set(seen.captions)), findings)


class _Seen:
    """What is kept of every pair once its pictures are put away."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.captions: list[str] = []
        self.lineages: list[Mapping[str, Any]] = []
        self.digests: list[tuple[str, str]] = []
        self.codes: list[int] = []
        self.sides: list[Sides] = []
        self.broken: list[str] = []

    def add(self, outline: Any, pair: Any) -> None:
        if isinstance(pair, images.ImageError):
            self.broken.append(f"{outline.id}: {pair}")
            return
        self.ids.append(pair.id)
        self.captions.append(pair.prompt)
        self.lineages.append(pair.lineage)
        winner, loser = likeness.pixels(pair.winner.image), likeness.pixels(pair.loser.image)
        self.digests.append((winner, loser))
        self.codes.append(likeness.dhash(pair.winner.image))
        self.sides.append((measure(pair.winner), measure(pair.loser)))

    def findings(self, sets: Mapping[str, Sequence[str]]) -> list[Finding]:
        winners, losers = zip(*self.digests, strict=True)
        photographs = [str(each.get("photograph") or "") for each in self.lineages]
        return [
            *([self._unreadable()] if self.broken else []),
            sides.same(self.ids, winners, losers),
            sides.gaps(self.ids, self.lineages),
            *duplicates.findings(self.ids, winners, self.codes, photographs),
            *overlap.findings(self.captions, sets),
            *([] if sets else [_UNASKED]),
            *shortcuts.findings(self.sides, self.captions),
        ]

    def _unreadable(self) -> Finding:
        said = f"{len(self.broken)} pairs have a picture that cannot be read."
        return Finding("pictures", "problem", said, "Drop them.", {"pairs": len(self.broken)}, tuple(self.broken[:3]))


_UNASKED = Finding(
    "overlap", "note", "captions were compared with no prompts.", "Name the files of your evaluation: --prompts FILE."
)


def _evaluated(pairs: PairSet) -> dict[str, str | None]:
    """The prompt sets that the run generates for, and where they are read from, if that is said.

    Prompts that are a step's are the captions themselves, and are none.
    """
    if pairs.run is None:
        return {}
    steps = json.loads((pairs.run / "run.json").read_text(encoding="utf-8")).get("recipe", {}).get("step", {})
    named = [table.get("prompts") for table in steps.values() if table.get("verb") == "generate"]
    sets = [each if isinstance(each, Mapping) else {"name": each} for each in named]
    return {each["name"]: each.get("path") for each in sets if isinstance(each["name"], str) and each["name"] not in steps}
