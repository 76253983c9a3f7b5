"""Models by name: a public base and ordered layers on top of it. Never a second copy of the base.

Base, reference, model to evaluate, stage, checkpoint and foreign LoRA are all a :class:`ModelRef`. What training makes
is one layer: an adapter that stands for its whole chain on the public base and the full weights that lie on it, or full
weights that stand for everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pairwright import options, single_files, weights
from pairwright.context import Context
from pairwright.errors import Explained
from pairwright.store import Node, Store
from pairwright.suggestions import hint

LORA_FILE = "pytorch_lora_weights.safetensors"
"""The file's name in diffusers' layout."""
STORE_PREFIX = "store:"
RUNS_PREFIX = "runs/"
NETWORKS = ("unet", "transformer")
"""What diffusers calls a pipeline's denoising network."""
NETWORK_FILES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
)
"""A denoising network's weights in diffusers' layout, the first that is there."""
LAYER_PATTERNS = ("*.safetensors", *(f"{each}*.json" for each in ("", "unet/", "transformer/")))
"""What is downloaded of a layer on the hub."""
_LONGEST_HEADER = 100_000_000
_OWN_KEYS = ("conv_in.weight", "pos_embed.proj.weight")
# Of the networks themselves (UNets, SD-3's transformer) in diffusers' keys.
FAMILIES = {"StableDiffusionPipeline": "sd15", "StableDiffusionXLPipeline": "sdxl", "StableDiffusion3Pipeline": "sd35"}
"""Pipeline classes of ``model_index.json`` and the family that trains and samples them."""


class ModelError(Explained, ValueError):
    """A model that cannot be found or is not what it is taken for; the message says what there is."""


@dataclass(frozen=True)
class Layer:
    """Something on top of the base."""

    kind: Literal["adapter", "weights"]
    """``weights``: all of the denoising network's, in the base's place."""
    path: str
    """Folder or file; ``store:train/<fingerprint>/adapter`` inside the store, so that a store can be moved."""
    scale: float = 1.0
    """Strength of an adapter; 1 is what was trained."""
    network_only: bool = False
    """Whether a LoRA's part for the text encoders is left out on purpose."""

    def file(self, store: Store) -> Path:
        """The safetensors file, or the index of several that hold one network.

        Raises:
            ModelError: there is none, or several and none of them has diffusers' name.
        """
        inside = self.path.removeprefix(STORE_PREFIX)
        path = store.root / "store" / inside if inside != self.path else weights.locate(self.path, patterns=LAYER_PATTERNS)
        if path.is_dir() and self.kind == "weights":
            if (found_network := network_file(path)) is None:
                raise ModelError(f"{path} holds no weights of a denoising network; looked for {', '.join(NETWORK_FILES)}")
            return found_network
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
        layers = [_layer_identity(layer, layer.file(store)) for layer in self.layers]
        return {"base": single_files.identity(self.base, self.family), "family": self.family, "layers": layers}


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
    elif name.startswith(RUNS_PREFIX) and not Path(model.base).exists():
        runs = sorted(path.parent.name for path in context.store.root.glob("*/run.json"))
        raise ModelError(f"there is no run {name.split('/')[1]!r} in {context.store.root}." + hint(name.split("/")[1], runs))
    else:
        base = str(Path(model.base).expanduser().resolve()) if Path(model.base).expanduser().exists() else model.base
        found = ModelRef(base, _family(base) if model.family == "auto" else model.family)
    layers = tuple(replace(_layer(text), network_only=model.network_only) for text in model.layers)
    return ModelRef(found.base, found.family, found.layers + layers)


def reference(chosen: options.Train, start: ModelRef, context: Context) -> ModelRef | None:
    """What a training is measured against; None: the start, or an objective that measures against nothing.

    Raises:
        ModelError: see :func:`resolve`.
    """
    if chosen.objective == "sft" or chosen.reference == "start":
        return None
    return ModelRef(start.base, start.family) if chosen.reference == "base" else resolve(chosen.reference, context)


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


def trained_layer(node: Node, folder: str, kind: Literal["adapter", "weights"] = "adapter") -> Layer:
    """The layer that lies in ``folder`` of a node, written so that the store can be moved."""
    return Layer(kind, f"{STORE_PREFIX}{node.verb}/{node.fingerprint}/{folder}")


def network_file(folder: Path) -> Path | None:
    """The weights of a denoising network in diffusers' layout: the folder's own, or those of the pipeline that it is."""
    places = (folder / inside / name for inside in ("", *NETWORKS) for name in NETWORK_FILES)
    return next((path for path in places if path.is_file()), None)


def _layer_identity(layer: Layer, file: Path) -> dict[str, Any]:
    said = {"kind": layer.kind, "weights": weights.identity(str(_content(file))), "scale": layer.scale}
    if (config := file.with_name("adapter_config.json")).is_file():
        said["config"] = weights.identity(str(config))  # where peft keeps a LoRA's strength
    return said | ({"network_only": True} if layer.network_only else {})


def _content(file: Path) -> Path:
    # Of an index, the shards that it names are the content.
    return file.parent if file.suffix == ".json" else file


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
    if path.is_file():
        return single_files.family(path)
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
    layer = Layer(_kind(name), str(local.resolve()) if local.exists() else name, strength)
    if layer.kind == "weights" and layer.scale != 1:
        raise ModelError(f"{text}: {name} holds a whole network, which has no strength; only LoRAs do")
    return layer


def _kind(name: str) -> Literal["adapter", "weights"]:
    """Whether a layer is a LoRA or a whole network, told by its files.

    Raises:
        ModelError: a checkpoint of a whole pipeline, which is a base.
        WeightsError: it is not there.
    """
    path = weights.locate(name, patterns=LAYER_PATTERNS)
    if path.is_dir():
        return "adapter" if (path / LORA_FILE).is_file() or network_file(path) is None else "weights"
    keys = _header_keys(path) if path.suffix == ".safetensors" else []
    if any(key.startswith("model.diffusion_model.input_blocks.") for key in keys):
        raise ModelError(f"{path} is a checkpoint of a whole pipeline; name it as the base, not as a layer")
    return "weights" if any(key in keys for key in _OWN_KEYS) else "adapter"


def _header_keys(path: Path) -> list[str]:
    """The names of a safetensors file's tensors; it starts with 8 bytes of length and a JSON header."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            return list(json.loads(stream.read(min(length, _LONGEST_HEADER))))
        except ValueError:
            return []  # not readable: said by whoever reads the tensors
