"""What is known of a model that is exported: where it comes from, and what a header says of that."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors import safe_open

from pairwright import __version__, images, options, weights
from pairwright.diffusion import adapters
from pairwright.diffusion.families import Family
from pairwright.models import RUNS_PREFIX, STORE_PREFIX, ModelRef
from pairwright.store import Node, Store

_TRAINED = re.compile(rf"{STORE_PREFIX}train/([0-9a-f]+)/")
_VERSIONS = {"sd15": "sd_v1", "sdxl": "sdxl_base_v1-0", "sd35": "5-medium"}
"""``ss_base_model_version`` as kohya's scripts write it."""
_MODULES = {"sd35": "networks.lora_sd3"}
_THUMBNAIL = 256


@dataclass(frozen=True)
class Facts:
    """Where a model comes from."""

    name: str
    """A file's name: the run and the step, or the base."""
    ref: ModelRef
    run: Mapping[str, Any] | None
    """The run's record, where the model was named through one."""
    step: str
    checkpoint: str
    """Of the step; empty: its end."""
    node: Node | None
    """The training that made the last layer, where one of ours did."""

    @property
    def meaning(self) -> Mapping[str, Any]:
        """The training's options, or nothing."""
        return dict(self.node.record()["meaning"]) if self.node else {}

    @property
    def base(self) -> str:
        """The base for people: its id on the hub, or the name of its folder."""
        return Path(self.ref.base).name if Path(self.ref.base).is_absolute() else self.ref.base


def facts(model: options.Model, ref: ModelRef, store: Store) -> Facts:
    """Look up run and training of a model."""
    named, _, checkpoint = model.base.partition("@")
    run, step = None, ""
    if named.startswith(RUNS_PREFIX) and (path := store.root / named.split("/")[1] / "run.json").exists():
        run = json.loads(path.read_text(encoding="utf-8"))
        step = "/".join(named.split("/")[2:])
        name = "-".join(part for part in (run["name"], step, checkpoint) if part)
    else:
        name = "-".join([Path(model.base).name, *(Path(layer.path).stem for layer in ref.layers)])
    match = _TRAINED.match(ref.layers[-1].path) if ref.layers else None
    node = store.open("train", match[1]) if match else None
    return Facts(re.sub(r"[^\w.-]+", "-", name).strip("-."), ref, run, step, checkpoint, node)


def header(found: Facts, family: Family, chosen: options.Export, store: Store) -> dict[str, str]:
    """ModelSpec 1.0.1, kohya's fields, and ours; only what is known, and no time unless it is asked for."""
    meaning = found.meaning
    said: dict[str, Any] = {
        **dict(_inherited(found, store)),
        **adapters.header(family),
        "base": found.base,
        "modelspec.title": chosen.title or found.name,
        "modelspec.implementation_version": f"pairwright/{__version__}",
        "modelspec.thumbnail": thumbnail(Path(chosen.thumbnail)) if chosen.thumbnail else None,
        "ss_base_model_version": _VERSIONS.get(family.name),
        "ss_sd_model_name": found.base,
        "ss_network_module": _MODULES.get(family.name, "networks.lora"),
        "ss_output_name": found.name,
        "ss_v2": False,
        "ss_seed": meaning.get("seed"),
        "ss_steps": int(found.checkpoint.rpartition("-")[2]) if found.checkpoint else meaning.get("steps"),
        "ss_learning_rate": meaning.get("optimiser", {}).get("learning_rate"),
        "ss_total_batch_size": meaning.get("batch"),
        "pairwright.version": __version__,
        "pairwright.base": weights.identity(found.ref.base),
    }
    if found.node:
        record = found.node.record()
        said["pairwright.data"] = " ".join(record["inputs"])
        if chosen.dated and "finished" in record:
            said["modelspec.date"] = datetime.fromtimestamp(record["finished"], UTC).date().isoformat()
    if found.run:
        said["pairwright.recipe"] = recipe_digest(found.run["recipe"])
    return {name: str(value) for name, value in said.items() if value is not None}


def recipe_digest(recipe: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for a run's whole recipe."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def thumbnail(path: Path) -> str:
    """A picture as a data URL, its long side at most 256 pixels.

    Raises:
        ImageError: it is not a picture that can be read.
        OSError: it is not there.
    """
    image = images.decode(images.trusted(path.read_bytes()))
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _inherited(found: Facts, store: Store) -> Iterator[tuple[str, str]]:
    """What the training wrote into its own file's header."""
    if found.node is None:
        return
    path = found.ref.layers[-1].file(store)
    if path.suffix != ".safetensors":
        return
    with safe_open(path, framework="pt") as file:
        said = file.metadata() or {}
    for name, value in said.items():
        if name == "modelspec.resolution" or name.startswith("pairwright."):
            yield name, value
