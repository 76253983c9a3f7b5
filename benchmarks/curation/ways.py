"""Two ways from the same photographs to the same pairs: as published scripts go, and ours. Both use the same networks.

The scripts are rendered plainly: one script per step, one picture at a time, each photograph opened and decoded in full by
every script that needs it, and everything repainted before anything is filtered, scored or ranked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.curation.clock import Clock
from benchmarks.scoring.pixels import numpy_colorfulness
from pairwright import images, plugins, scoring, seeds, store, tables
from pairwright.context import Context
from pairwright.curate import curate, stations, views
from pairwright.options import Curate, Filter, Gap, Keep, Mask, Plugin
from pairwright.records import Edit, Edited, Picture
from pairwright.rewards import texture
from pairwright.store import Store

READ, COLOUR, MASK, REPAINT, GAP, RANK, STORE = "read and crop", "colourfulness", "saliency", "repaint", "gap", "rank", "store"
STEPS = (READ, COLOUR, RANK, MASK, REPAINT, GAP, STORE)


MASKED = Mask(dilate=12, feather=3.0)


@dataclass(frozen=True)
class Task:
    """What is asked of both ways."""

    photographs: Path
    """An imagefolder with ``metadata.jsonl``."""
    saliency: Plugin
    perturbation: Plugin
    keep: int
    gap: float
    side: int = 512
    mask: Mask = MASKED

    def options(self, *, eager: bool) -> Curate:
        """As a recipe."""
        return Curate(
            source=Plugin(name="imagefolder", options={"path": str(self.photographs)}),
            resolution=self.side,
            least_side=0,
            filters=(Filter(reward=Plugin(name="colorfulness"), rule="above_mean"),),
            saliency=self.saliency,
            mask=self.mask,
            perturbation=self.perturbation,
            gap=Gap(reward=Plugin(name="texture"), at_least=self.gap),
            keep=Keep(reward=Plugin(name="texture"), top=self.keep),
            eager=eager,
        )


@dataclass(frozen=True)
class Done:
    """What a way came to."""

    label: str
    files: Sequence[str]
    """Photographs of the pairs that were kept, best first."""
    repaints: int
    seconds: float
    clock: Clock


def published(task: Task, work: Path, captions: Mapping[str, str]) -> Done:
    """The scripts, one after the other."""
    clock, began = Clock(), time.perf_counter()
    networks = _load(task)
    for name, caption in captions.items():
        with clock.step(READ):
            picture = _view(task, name, caption)
        with clock.step(MASK):
            region = stations.cut(networks["saliency"].maps([picture])[0], task.mask)
        with clock.step(STORE):
            Image.fromarray((region * 255).astype(np.uint8)).save(work / f"{name}.mask.png")
    repaints = sum(_repaint(task, name, caption, work, networks["perturbations"], clock) for name, caption in captions.items())
    colours = {}
    for name in captions:
        with clock.step(READ):
            picture = _view(task, name, "")
        with clock.step(COLOUR):
            colours[name] = numpy_colorfulness(picture.pixels)
    mean = float(np.mean(list(colours.values())))
    passing = {}
    for name in (each for each, colour in colours.items() if colour > mean and (work / f"{each}.png").exists()):
        with clock.step(READ):
            picture = _view(task, name, "")
        with clock.step(GAP):
            loser = np.asarray(Image.open(work / f"{name}.png").convert("RGB"))
            score = texture.measure(picture.pixels)
            if score - texture.measure(loser) >= task.gap:
                passing[name] = score
    files = sorted(passing, key=lambda name: -passing[name])[: task.keep]
    return Done("published scripts", files, repaints, time.perf_counter() - began, clock)


def _load(task: Task) -> dict[str, Any]:
    chosen: dict[plugins.Shelf, Plugin] = {"saliency": task.saliency, "perturbations": task.perturbation}
    return {shelf: plugins.load(shelf, plugin.name, **plugin.options) for shelf, plugin in chosen.items()}


def _view(task: Task, name: str, caption: str) -> Picture:
    with Image.open(task.photographs / name) as opened:
        image = images.crop(opened.convert("RGB"), task.side, 0, name)
    picture = Picture(images.content_id(name.encode()), b"", caption)
    vars(picture)["image"] = image
    return picture


def _repaint(task: Task, name: str, caption: str, work: Path, inpainter: Any, clock: Clock) -> bool:
    with clock.step(READ):
        picture = _view(task, name, caption)
        region = tables.decode_mask((work / f"{name}.mask.png").read_bytes())
    if not task.mask.least_area <= region.mean() <= task.mask.most_area:
        return False
    with clock.step(REPAINT):
        (result,) = inpainter.edit([Edit(picture, caption, seeds.key(0, "repaint", name), region)])
    assert isinstance(result, Edited), result
    with clock.step(STORE):
        images.composite(picture.image, result.image, region, task.mask.feather).save(work / f"{name}.png")
    return True


def ours(task: Task, root: Path, *, eager: bool) -> Done:
    """The verb itself."""
    saliency, inpainter = (type(each) for each in _load(task).values())
    clock, began = Clock(), time.perf_counter()
    rewards = {"colorfulness": COLOUR, "texture": RANK}
    with clock.listening(
        (views, "_read", READ, lambda source, *_: len(source)),
        (scoring.Scorer, "some", lambda scorer, *_: rewards[scorer.plugin.name], lambda *args: len(args[3])),
        (saliency, "maps", MASK, lambda _, pictures: len(pictures)),
        (inpainter, "edit", REPAINT, lambda _, edits: len(edits)),
        (stations.Gaps, "work", GAP, lambda *_: 0),
        (store, "write_file", STORE, lambda *_: 0),
    ):
        node = curate(task.options(eager=eager), Context(Store(root)))
    seconds = time.perf_counter() - began
    files = [json.loads(row["lineage"])["file"] for row in node.rows(columns=["lineage"])]
    clock.pictures[STORE] = clock.pictures[GAP] = clock.pictures[REPAINT]
    label = "pairwright, published order" if eager else "pairwright, lazy order"
    return Done(label, files, clock.pictures[REPAINT], seconds, clock)


def captions_of(photographs: Path) -> dict[str, str]:
    """By file, from ``metadata.jsonl``."""
    rows = [json.loads(line) for line in (photographs / "metadata.jsonl").read_text(encoding="utf-8").splitlines() if line.strip()]
    return {row["file_name"]: row.get("text") or row.get("caption") or "" for row in rows}
