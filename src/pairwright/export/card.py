"""The model card: what a model was made with, how it did, and how it is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairwright.export.facts import Facts
from pairwright.wording import line

_SHOWN = ("objective", "steps", "batch", "resolution", "beta", "margin", "seed")
_READ = {"beta": ("dpo", "ipo", "hinge"), "margin": ("dro",)}
"""Which objectives read a field, where not all do."""


def card(found: Facts, title: str, files: Mapping[str, str], network: str, *, comparison: str = "", reduced: str = "") -> str:
    """``README.md``, with the front matter that the Hugging Face hub reads.

    Args:
        found: where the model comes from.
        title: its heading.
        files: names by format.
        network: what diffusers calls the denoising network.
        comparison: the Markdown table of a compare step.
        reduced: what reducing the rank cost.
    """
    lines = [
        *_front(found, files),
        "",
        f"# {title}",
        "",
        f"{_what(files)} for `{found.base}`, made with pairwright.",
        *([reduced] if reduced else []),
        "",
        "Licence: TO BE FILLED IN. The base's licence applies to what is made of it; name it here and in `license:` above.",
        "",
        "## Files",
        "",
        *(f"- `{name}`: {_SAID[form]}" for form, name in files.items()),
        "",
        "## Training",
        "",
        *_training(found),
        "",
        "## Results",
        "",
        comparison.strip() or "No comparison was given when this card was written.",
        "",
        "## Loading",
        "",
        *_loading(found, files, network),
    ]
    return "\n".join(lines).rstrip() + "\n"


_SAID = {
    "diffusers": "LoRA in diffusers' keys; strength 1 is what was trained",
    "kohya": "LoRA in kohya's keys, for A1111-style programs and ComfyUI; strength 1 is what was trained",
    "comfy": "LoRA in ComfyUI's keys; strength 1 is what was trained",
    "merged": "the denoising network with everything merged into it",
    "pipeline": "a whole pipeline with that network",
}


def _what(files: Mapping[str, str]) -> str:
    return "A LoRA" if {"diffusers", "kohya", "comfy"} & files.keys() else "A denoising network"


def _front(found: Facts, files: Mapping[str, str]) -> Iterator[str]:
    yield "---"
    yield "library_name: diffusers"
    yield "pipeline_tag: text-to-image"
    if found.base == found.ref.base:  # an id on the hub
        yield f"base_model: {json.dumps(found.base.partition('@')[0])}"
    yield "tags: [text-to-image, diffusers" + (", lora" if _what(files) == "A LoRA" else "") + "]"
    yield "license: other  # to be filled in: the base's licence"
    yield "---"


def _training(found: Facts) -> Iterator[str]:
    """One row per training, the last one last."""
    rows = list(_trainings(found))
    if not rows:
        yield "Not trained by pairwright, or not known from what it was exported from."
        return
    columns = [name for name in ("step", *_SHOWN) if any(name in row for row in rows)]
    yield line(columns)
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield line([str(row.get(name, "")) for name in columns])
    if found.node:
        record = found.node.record()
        yield ""
        yield f"Pairs: `{' '.join(record['inputs'])}`. Training: `{found.node.fingerprint}`. Every option of the last training:"
        yield ""
        yield "```json"
        yield json.dumps(record["meaning"], indent=2, sort_keys=True)
        yield "```"


def _trainings(found: Facts) -> Iterator[Mapping[str, Any]]:
    if found.run is None:
        if found.node:
            yield {"step": found.node.fingerprint, **_kept(found.meaning)}
        return
    steps: Mapping[str, Any] = found.run["recipe"]["step"]
    for name in _ancestors(steps, found.step):
        if steps[name]["verb"] == "train":
            last = name == found.step
            label = f"{name}@{found.checkpoint}" if last and found.checkpoint else name
            yield {"step": label, **_kept(found.meaning if last else steps[name])}


def _kept(options: Mapping[str, Any]) -> dict[str, Any]:
    rate = options.get("optimiser", {}).get("learning_rate")
    objective = options.get("objective")
    read = [name for name in _SHOWN if objective in _READ.get(name, (objective,))]
    kept = {name: options[name] for name in read if options.get(name) is not None}
    return kept | ({"objective": f"{kept['objective']}, learning rate {rate:g}"} if rate and "objective" in kept else {})


def _ancestors(steps: Mapping[str, Any], name: str) -> list[str]:
    """A step and all that it builds on, in the recipe's order."""
    needed = {name}
    for each in reversed(list(steps)):
        if each in needed:
            needed |= set(steps[each]["from"])
    return [each for each in steps if each in needed]


def _loading(found: Facts, files: Mapping[str, str], network: str) -> Iterator[str]:
    if "pipeline" in files:
        yield from _code(["pipeline = DiffusionPipeline.from_pretrained(" + json.dumps(files["pipeline"]) + ")"])
    elif "merged" in files:
        kind = "UNet2DConditionModel" if network == "unet" else "SD3Transformer2DModel"
        load = f"{network} = {kind}.from_pretrained({json.dumps(files['merged'])})"
        pipe = f"pipeline = DiffusionPipeline.from_pretrained({json.dumps(found.base)}, {network}={network})"
        yield from _code([load, pipe], kind)
    if lora := files.get("diffusers") or (files.get("kohya") if network == "unet" else None):
        base = f"pipeline = DiffusionPipeline.from_pretrained({json.dumps(found.base)})"
        yield from _code([base, f'pipeline.load_lora_weights(".", weight_name={json.dumps(lora)})'])
    if name := files.get("comfy") or files.get("kohya"):
        yield f"ComfyUI: put `{name}` into `models/loras` and load it with the node *Load LoRA* at strength 1."
        yield ""
    if name := files.get("kohya"):
        yield f"A1111-style programs: put `{name}` into `models/Lora` and write `<lora:{name.removesuffix('.safetensors')}:1>`."


def _code(lines: Sequence[str], *more: str) -> Iterator[str]:
    yield "```python"
    yield f"from diffusers import {', '.join(['DiffusionPipeline', *more])}"
    yield ""
    yield from lines
    yield "```"
    yield ""
