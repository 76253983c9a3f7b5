"""Models by name: a public base and ordered layers on top of it. Never a second copy of the base.

Base, reference, model to evaluate, stage, checkpoint and foreign LoRA are all a :class:`ModelRef`. What training makes
is one adapter that stands for its whole chain on the public base.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pairwright import options, weights
from pairwright.context import Context
from pairwright.errors import Explained
from pairwright.store import Node, Store

LORA_FILE = "pytorch_lora_weights.safetensors"
"""The file's name in diffusers' layout."""
STORE_PREFIX = "store:"
RUNS_PREFIX = "runs/"
FAMILIES = {"StableDiffusionPipeline": "sd15"}
"""Pipeline classes of ``model_index.json`` and the family that trains and samples them."""


class ModelError(Explained, ValueError):
    """A model that cannot be found or is not what it is taken for; the message says what there is."""


@dataclass(frozen=True)
class Layer:
    """Something on top of the base."""

    kind: Literal["adapter"]
    path: str
    """Folder or file; ``store:train/<fingerprint>/adapter`` inside the store, so that a store can be moved."""
    scale: float = 1.0
    """Strength; 1 is what was trained."""

    def file(self, store: Store) -> Path:
        """The safetensors file.

        Raises:
            ModelError: there is none, or several and none of them has diffusers' name.
        """
        inside = self.path.removeprefix(STORE_PREFIX)
        path = store.root / "store" / inside if inside != self.path else weights.locate(self.path, patterns=["*.safetensors"])
        if path.is_file() and path.suffix != ".safetensors":
            raise ModelError(f"{path} is not a .safetensors file; other formats can execute code and are not read")
        if path.is_file():
            return path
        found = sorted(path.glob("*.safetensors"))
        named = [each for each in found if each.name == LORA_FILE] or found
        if len(named) != 1:
            raise ModelError(f"{path} holds {len(found)} .safetensors files; name one of them")
        return named[0]


@dataclass(frozen=True)
class ModelRef:
    """A named public base and the layers that are put on it, in order."""

    base: str
    """As :mod:`pairwright.weights` reads it; local paths are absolute."""
    family: str
    """Which file of ``diffusion/families`` loads it."""
    layers: tuple[Layer, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``model.json``."""
        return {"base": self.base, "family": self.family, "layers": [asdict(layer) for layer in self.layers]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelRef:
        """The inverse of :meth:`to_json`."""
        return cls(value["base"], value["family"], tuple(Layer(**layer) for layer in value["layers"]))

    def identity(self, store: Store) -> dict[str, Any]:
        """What a fingerprint says of the model: base and layers by their content, wherever they lie."""
        layers = [
            {"kind": layer.kind, "weights": weights.identity(str(layer.file(store))), "scale": layer.scale} for layer in self.layers
        ]
        return {"base": weights.identity(self.base), "family": self.family, "layers": layers}


def resolve(model: options.Model, context: Context) -> ModelRef:
    """What a recipe's model stands for.

    ``model.base`` is, in this order: a step among the inputs (``stage1``, or ``stage1@step-00000800`` for one of its
    checkpoints), a step of any run in the store (``runs/<run>/<step>``), or whatever :func:`weights.locate` finds.
    Layers that are named are put on top.

    Raises:
        ModelError: no such step, run or checkpoint; a step that trains nothing; an unknown kind of pipeline.
        WeightsError: no such weights.
    """
    name, _, checkpoint = model.base.partition("@")
    if name in context.inputs:
        found = of_node(context.inputs[name], checkpoint)
    elif name.startswith(RUNS_PREFIX) and (context.store.root / name.split("/")[1] / "run.json").exists():
        found = of_node(_of_run(name, context.store), checkpoint)
    else:
        base = str(Path(model.base).expanduser().resolve()) if Path(model.base).expanduser().exists() else model.base
        found = ModelRef(base, _family(base) if model.family == "auto" else model.family)
    layers = tuple(_layer(text) for text in model.layers)
    return ModelRef(found.base, found.family, found.layers + layers)


def of_node(node: Node, checkpoint: str = "") -> ModelRef:
    """The model that a train step made, or one of its checkpoints.

    Raises:
        ModelError: the step made no model (yet), or has no such checkpoint.
    """
    folder = node.path / "checkpoints" / checkpoint if checkpoint else node.path
    path = folder / "model.json"
    if not path.exists():
        known = sorted(each.parent.name for each in (node.path / "checkpoints").glob("*/model.json"))
        hint = f"; its checkpoints are {', '.join(known)}" if known else ""
        what = f"checkpoint {checkpoint!r}" if checkpoint else "finished model"
        raise ModelError(f"step {node.verb} {node.fingerprint} has no {what}{hint}")
    return ModelRef.from_json(json.loads(path.read_text(encoding="utf-8")))


def trained_layer(node: Node, folder: str) -> Layer:
    """The layer for an adapter that lies in ``folder`` of a node, written so that the store can be moved."""
    return Layer("adapter", f"{STORE_PREFIX}{node.verb}/{node.fingerprint}/{folder}")


def _of_run(name: str, store: Store) -> Node:
    parts = name.split("/")
    pointers = json.loads((store.root / parts[1] / "run.json").read_text(encoding="utf-8"))["steps"]
    step = "/".join(parts[2:])
    if step not in pointers:
        raise ModelError(f"run {parts[1]!r} has no step {step!r}; it has {', '.join(pointers)}")
    if pointers[step]["fingerprint"] is None:
        raise ModelError(f"step {step!r} of run {parts[1]!r} is not finished")
    return store.open(pointers[step]["verb"], pointers[step]["fingerprint"])


def _family(base: str) -> str:
    path = weights.locate(base, patterns=["model_index.json"])
    index = path / "model_index.json"
    if not index.is_file():
        raise ModelError(f"{base} has no model_index.json, so its family is not known; name one of {', '.join(FAMILIES.values())}")
    kind = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    if kind not in FAMILIES:
        raise ModelError(f"{base} is a {kind}; what can be trained and sampled here: {', '.join(FAMILIES)}")
    return FAMILIES[kind]


def _layer(text: str) -> Layer:
    path, separator, scale = text.rpartition(":")
    try:
        strength = float(scale) if separator else 1.0
    except ValueError:  # the colon belongs to the path (C:\..., tiny:...)
        path, strength = text, 1.0
    name = path if separator else text
    local = Path(name).expanduser()
    return Layer("adapter", str(local.resolve()) if local.exists() else name, strength)
