"""A run's folder as a real run leaves it, made in a second: drawn pictures, invented curves, true statistics."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pairwright import evaluate, options, tables
from pairwright.context import Context
from pairwright.records import Pair, Picture, Rejected
from pairwright.store import Node, Store, write_json

CAPTIONS = (
    "a red poppy in tall grass",
    "two yellow tulips against a blue wall",
    "a purple iris after the rain",
    "a white daisy with a golden heart, seen from above",
    "an orange dahlia",
    "a pink rose, half open",
)
STEPS = {
    "pairs": ("curate", []),
    "stage1": ("train", ["pairs"]),
    "stage2": ("train", ["pairs", "stage1"]),
    "pictures": ("generate", ["stage1", "stage2"]),
    "scores": ("score", ["pictures"]),
    "comparison": ("compare", ["scores"]),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "pairs": {
        "source": {"name": "imagefolder", "options": {"path": "photos"}},
        "filters": [{"reward": {"name": "colorfulness", "options": {}}, "rule": "above_mean", "value": None}],
        "gap": {"reward": {"name": "pickscore", "options": {}}, "at_least": 0.52},
        "keep": {"reward": {"name": "pickscore", "options": {}}, "top": 24},
    },
    "stage1": {"objective": "dro", "start": {"base": "tiny:base"}, "steps": 300, "batch": 16, "seed": 0},
    "stage2": {"objective": "dpo", "start": {"base": "stage1"}, "steps": 200, "batch": 16, "seed": 0, "beta": 500.0},
    "pictures": {"models": {"base": {"base": "tiny:base"}, "stage 1": {"base": "stage1"}, "stage 1 + 2": {"base": "stage2"}}},
    "scores": {"rewards": [{"name": "texture", "options": {}}, {"name": "colorfulness", "options": {}}]},
    "comparison": {"primary": "texture", "resamples": 2000},
}


def scene(seed: int, side: int, colour: float = 1.0) -> Image.Image:
    """A flower before a soft background: petals around a heart."""
    rng = np.random.default_rng(seed)
    sky = Image.fromarray(rng.integers(60, 200, (4, 4, 3), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(sky)
    x, y, radius = side * rng.uniform(0.4, 0.6), side * rng.uniform(0.4, 0.6), side * 0.2
    petal = tuple(int(128 + colour * (value - 128)) for value in rng.integers(20, 256, 3))
    draw.line([x, y, side * rng.uniform(0.3, 0.7), side], fill=(60, 110, 60), width=max(1, side // 24))
    for turn in range(7):
        angle = 2 * math.pi * turn / 7 + seed
        px, py = x + radius * math.cos(angle), y + radius * math.sin(angle)
        draw.ellipse([px - radius * 0.7, py - radius * 0.7, px + radius * 0.7, py + radius * 0.7], fill=petal)
    draw.ellipse([x - radius * 0.5, y - radius * 0.5, x + radius * 0.5, y + radius * 0.5], fill=(230, 190, 60))
    return sky.filter(ImageFilter.GaussianBlur(side / 200))


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def disc(side: int) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    inside: np.ndarray = (rows**2 + columns**2 < 0.38**2).astype(np.float32)
    return inside


def pair(number: int, caption: str, side: int) -> Pair:
    winner = scene(number, side)
    mask = disc(side)
    smear = winner.filter(ImageFilter.GaussianBlur(side / 14))
    loser = Image.composite(smear, winner, Image.fromarray((mask * 255).astype(np.uint8)))
    gap = 2.5 / (1 + number / 4)
    lineage = {
        "gap": gap,
        "gap_reward": "pickscore",
        "winner_score": 21.0 + gap,
        "loser_score": 21.0,
        "mask_area": float(mask.mean()),
        "rank": number,
        "author": "A. Nother <b>Photographer</b>",
        "license": "CC-BY-4.0",
        "file": f"flower-{number:03d}.jpg",
        "perturbation": {"name": "inpaint"},
    }
    name = f"{number:016x}"
    return Pair(name, caption, Picture(f"w{name}", png(winner)), Picture(f"l{name}", png(loser)), mask, lineage)


def write_pairs(store: Store, count: int, captions: Sequence[str], side: int) -> Node:
    node = store.node("curate", {"pairs": count, "side": side, "captions": list(captions)})
    for shard, start in enumerate(range(0, count, 64)):
        rows = [
            tables.pair_row(pair(number, captions[number % len(captions)], side)) for number in range(start, min(start + 64, count))
        ]
        node.write(shard, rows, tables.PAIRS)
    gone = [
        Rejected("holiday/IMG_0042.jpg", "read", "truncated: 12,288 of 401,120 bytes"),
        Rejected("<img src=x onerror=alert(1)>.png", "read", "animated: 24 frames"),
        Rejected("00000000000000ff", "colorfulness", "not above the mean of the set"),
    ]
    node.write(0, [tables.rejected_row(each) for each in gone], tables.REJECTED, "rejected")
    funnel = [
        {"step": "read", "entered": 420, "left": 2, "reasons": {"read": 2}},
        {"step": "2 views each", "entered": 836, "left": 0, "reasons": {}},
        {"step": "colorfulness", "entered": 836, "left": 447, "reasons": {"not above the mean of the set": 447}},
        {"step": "mask", "entered": 96, "left": 5, "reasons": {"salient region below 1% of the picture": 5}},
        {"step": "repaint", "entered": 91, "left": 0, "reasons": {}},
        {"step": "gap", "entered": 91, "left": 91 - count, "reasons": {"gap below 0.52": 91 - count}} if count < 91 else
        {"step": "gap", "entered": count, "left": 0, "reasons": {}},
    ]  # fmt: skip
    node.finish(funnel=funnel, tried=96, kept=count, not_reached=293, seconds=61.5)
    return node


def write_training(store: Store, name: str, pairs: Node, *, done: int | None = None) -> Node:
    """A training's log; ``done`` steps of it where it is not finished, with half a line at its end."""
    chosen = OPTIONS[name]
    meaning = {field: chosen[field] for field in ("objective", "steps", "seed")}
    node = store.node("train", {**meaning, "name": name}, [pairs.fingerprint])
    rng = np.random.default_rng(len(name) + chosen["steps"])
    lines = []
    for step in range(1, (chosen["steps"] if done is None else done) + 1):
        learnt = 1 - math.exp(-step / 80)
        reference = 0.12 + rng.normal(0, 0.012)
        row = {
            "step": step,
            "loss": 0.69 - 0.25 * learnt + rng.normal(0, 0.04),
            "lr": 1e-4,
            "grad_norm": 0.3,
            "seconds": 0.21,
            "policy_winner": reference - 0.01 * learnt + rng.normal(0, 0.002),
            "reference_winner": reference,
            "policy_loser": reference + 0.006 * learnt + rng.normal(0, 0.002) if chosen["objective"] == "dpo" else None,
            "reference_loser": reference if chosen["objective"] == "dpo" else None,
            "rewards/margins": 0.8 * learnt + rng.normal(0, 0.2) if chosen["objective"] == "dpo" else None,
            "rewards/accuracies": float(np.clip(0.5 + 0.3 * learnt + rng.normal(0, 0.1), 0, 1)),
            "rollouts": float(np.clip(0.7 * learnt + rng.normal(0, 0.05), 0, 1)) if chosen["objective"] == "dro" else None,
        }
        lines.append(json.dumps(row))
    (node.path / "steps.jsonl").write_text("\n".join(lines) + ("\n" if done is None else '\n{"step": 9'))
    if done is None:
        node.finish(steps=chosen["steps"], seconds=chosen["steps"] * 0.21)
    return node


def write_pictures(store: Store, captions: Sequence[str], prompts: int, per_prompt: int, side: int) -> Node:
    """Pictures of three models; later ones are more saturated and sharper, some prompts excepted."""
    listed = {}
    for strength, label in enumerate(OPTIONS["pictures"]["models"]):
        node = store.node("pictures", {"label": label, "prompts": prompts, "side": side, "captions": list(captions)})
        rows = []
        for prompt in range(prompts):
            for index in range(per_prompt):
                image = scene(1000 * prompt + index, side, 0.6 + 0.2 * strength * (1 if prompt % 3 else -0.5))
                blurred = image.filter(
                    ImageFilter.GaussianBlur(max(0.0, side / 90 * (1.2 - 0.5 * strength + 0.4 * math.sin(prompt))))
                )
                name = f"{strength:x}{prompt:07x}{index:08x}"
                rows.append(
                    {
                        "id": name,
                        "image": tables.image_cell(png(blurred), name),
                        "caption": captions[prompt % len(captions)] + (f", no. {prompt}" if prompt >= len(captions) else ""),
                        "prompt_id": f"p{prompt}",
                        "category": ("meadow", "garden")[prompt % 2],
                        "index": index,
                        "width": side,
                        "height": side,
                        "provenance": "{}",
                    }
                )
        for shard, start in enumerate(range(0, len(rows), 64)):
            node.write(shard, rows[start : start + 64], tables.GENERATED)
        node.finish()
        listed[label] = node.fingerprint
    node = store.node("generate", {"models": listed}, list(listed.values()))
    write_json(node.path / "models.json", listed)
    node.finish(models=3, prompts=prompts, pictures=3 * prompts * per_prompt)
    return node


def write_run(
    root: Path,
    *,
    until: str | None = None,
    state: str = "complete",
    pairs: int = 10,
    prompts: int = 8,
    per_prompt: int = 2,
    side: int = 48,
    captions: Sequence[str] = CAPTIONS,
    training: int | None = None,
    name: str = "demo",
) -> Path:
    """Write store and ``run.json``.

    Args:
        root: folder of the runs.
        until: the last step that is done; everything where None.
        state: of the run.
        pairs: how many.
        prompts: how many.
        per_prompt: pictures of each prompt.
        side: of all pictures, in pixels.
        captions: of the pairs and, in turn, the prompts.
        training: where ``until`` is followed by a train step, how many steps of it are done.
        name: of the run.

    Returns:
        the run's folder.
    """
    store = Store(root)
    done: dict[str, Node] = {}
    makers = {
        "pairs": lambda: write_pairs(store, pairs, captions, side),
        "stage1": lambda: write_training(store, "stage1", done["pairs"]),
        "stage2": lambda: write_training(store, "stage2", done["pairs"]),
        "pictures": lambda: write_pictures(store, captions, prompts, per_prompt, side),
        "scores": lambda: evaluate.score(
            options.Score.model_validate(OPTIONS["scores"]), Context(store, {"pictures": done["pictures"]})
        ),
        "comparison": lambda: evaluate.compare(
            options.Compare.model_validate(OPTIONS["comparison"]), Context(store, {"scores": done["scores"]})
        ),
    }
    reached = list(STEPS)[: list(STEPS).index(until) + 1] if until else list(STEPS) if state == "complete" else []
    for step in reached:
        done[step] = makers[step]()
    entries = {step: _entry(step, verb, inputs, done.get(step)) for step, (verb, inputs) in STEPS.items()}
    under_way = next((step for step in STEPS if step not in done), None)
    if under_way and state != "complete":
        entries[under_way] |= {"state": state, "error": "TrainingError: loss is <not a number>" if state == "failed" else ""}
        if training is not None:
            entries[under_way]["fingerprint"] = write_training(store, under_way, done["pairs"], done=training).fingerprint
    recipe = {
        "name": name,
        "description": "The whole road on drawn flowers.",
        "step": {step: {"verb": verb, "from": inputs, **OPTIONS[step]} for step, (verb, inputs) in STEPS.items()},
    }
    folder = root / name
    record = {"name": name, "state": state, "started": "2026-11-22T08:00:00+00:00", "command": "pairwright run 'demo recipe.toml'"}
    write_json(folder / "run.json", {**record, "recipe": recipe, "steps": entries})
    return folder


def _entry(step: str, verb: str, inputs: Sequence[str], node: Node | None) -> dict[str, Any]:
    return {
        "verb": verb,
        "from": list(inputs),
        "state": "complete" if node else "waiting",
        "fingerprint": node.fingerprint if node else None,
        "seconds": 61.5 if node else 0.0,
        "reused": step == "pairs",
    }
