"""Checkpoints of a training: whole or not there, and nothing in them is executed when they are read.

``step-00000100/adapter/`` and ``step-00000100/model.json`` are a result and stay; ``step-00000100/training/`` is what
going on needs, and stays for the last two. There are no generator states: draws are keyed by step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from pairwright.diffusion import adapters
from pairwright.diffusion.policy import SNAPSHOT, TRAINED
from pairwright.diffusion.training import Trainer
from pairwright.models import ModelRef, trained_layer
from pairwright.store import Node, write_folder, write_json

KEEP = 2
"""So many checkpoints can be gone on from."""
TRAINING = "training"


@dataclass(frozen=True)
class Progress:
    """How far a checkpoint is."""

    steps: int
    seconds: float


def folder(node: Node, step: int) -> Path:
    """Where the checkpoint after ``step`` steps is or will be."""
    return node.path / "checkpoints" / f"step-{step:08d}"


def save(node: Node, trainer: Trainer, progress: Progress, metadata: Mapping[str, str]) -> None:
    """Write a checkpoint, then drop what only the older ones need to go on."""
    place = folder(node, progress.steps)

    def write(temporary: Path) -> None:
        _write_adapter(trainer, temporary / "adapter", metadata)
        write_json(temporary / "model.json", _model(node, trainer, f"checkpoints/{place.name}/adapter").to_json())
        _write_training(trainer, temporary / TRAINING, progress)

    write_folder(place, write)
    for old in _resumable(node)[:-KEEP]:
        # Renamed first: a half-removed folder must not be taken for a whole one.
        shutil.rmtree((old / TRAINING).rename(old / f".{TRAINING}-removed"))


def newest(node: Node) -> Path | None:
    """The newest checkpoint that training can go on from."""
    found = _resumable(node)
    return found[-1] if found else None


def load(place: Path, trainer: Trainer) -> Progress:
    """Put a trainer back where it was: weights, averages, sampling policy, optimiser."""
    state = place / TRAINING
    policy = trainer.policy
    device = policy.family.device
    adapters.assign(policy.network, TRAINED, load_file(state / "policy.safetensors"))
    if trainer.average:
        trainer.average.tensors = {key: value.to(device) for key, value in load_file(state / "average.safetensors").items()}
    if (state / "snapshot.safetensors").exists():
        adapters.assign(policy.network, SNAPSHOT, load_file(state / "snapshot.safetensors"))
    _load_optimiser(trainer, load_file(state / "optimiser.safetensors"))
    said = json.loads((state / "state.json").read_text(encoding="utf-8"))
    return Progress(said["steps"], said["seconds"])


def publish(node: Node, trainer: Trainer, metadata: Mapping[str, str]) -> None:
    """Write the training's result: ``adapter/``, then ``model.json``, which says that it is there."""
    write_folder(node.path / "adapter", lambda temporary: _write_adapter(trainer, temporary, metadata))
    write_json(node.path / "model.json", _model(node, trainer, "adapter").to_json())


def _write_adapter(trainer: Trainer, place: Path, metadata: Mapping[str, str]) -> None:
    adapters.save(trainer.policy.family, trainer.policy.chain, place, metadata, trainer.result)


def _model(node: Node, trainer: Trainer, adapter: str) -> ModelRef:
    return ModelRef(trainer.policy.family.base, trainer.policy.family.name, (trained_layer(node, adapter),))


def _write_training(trainer: Trainer, place: Path, progress: Progress) -> None:
    place.mkdir(parents=True)
    policy = trainer.policy
    _write(place / "policy.safetensors", policy.trained)
    if trainer.average:
        _write(place / "average.safetensors", trainer.average.tensors)
    if policy.snapshot != policy.chain:
        _write(place / "snapshot.safetensors", adapters.parameters(policy.network, SNAPSHOT))
    state = trainer.optimiser.state_dict()["state"]
    names = list(policy.trained)
    _write(
        place / "optimiser.safetensors",
        {f"{names[index]}|{kind}": value for index, each in state.items() for kind, value in each.items()},
    )
    write_json(place / "state.json", {"steps": progress.steps, "seconds": progress.seconds})


def _load_optimiser(trainer: Trainer, tensors: Mapping[str, Tensor]) -> None:
    numbers = {name: index for index, name in enumerate(trainer.policy.trained)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, kind = key.split("|")
        state.setdefault(numbers[name], {})[kind] = value
    trainer.optimiser.load_state_dict({"state": state, "param_groups": trainer.optimiser.state_dict()["param_groups"]})


def _resumable(node: Node) -> list[Path]:
    return [path.parent for path in sorted(node.path.glob(f"checkpoints/step-*/{TRAINING}"))]


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
