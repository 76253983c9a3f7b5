"""Checkpoints and resume states of a training: whole or not there, and nothing in them is executed when they are read.

``checkpoints/step-00000100/`` holds ``adapter/`` (``weights/`` of a full fine-tuning) and ``model.json``: a result, which
stays. ``resume/step-00000120/`` holds what going on needs; the last two stay until the training is over. There are no
generator states: draws are keyed by step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from pairwright.diffusion import microbatch, optimisers
from pairwright.diffusion.losers import Replayed
from pairwright.diffusion.training import Trainer
from pairwright.models import ModelRef, trained_layer
from pairwright.store import Node, write_folder, write_json

KEEP = 2
"""So many resume states are kept: one more than is needed, should a disk have lied about the newest."""
MODEL = "model.json"


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    steps: int
    seconds: float


def folder(node: Node, step: int) -> Path:
    """Where the checkpoint after ``step`` steps is or will be."""
    return node.path / "checkpoints" / f"step-{step:08d}"


def save(node: Node, trainer: Trainer, step: int, metadata: Mapping[str, str]) -> None:
    """Write a checkpoint."""
    place = folder(node, step)
    _remove_damaged(node, place)

    def write(temporary: Path) -> None:
        trainer.policy.save(temporary / trainer.policy.kind, metadata, trainer.result)
        write_json(temporary / MODEL, _model(node, trainer, f"checkpoints/{place.name}").to_json())

    write_folder(place, write)


def whole(node: Node, step: int) -> bool:
    """Whether the checkpoint after ``step`` steps is there, with every file that the node's record lists of it."""
    return (folder(node, step) / MODEL).is_file() and _intact(node, folder(node, step))


def _intact(node: Node, place: Path) -> bool:
    inside = place.relative_to(node.path).as_posix() + "/"
    return all((node.path / name).is_file() for name in node.record().get("files", {}) if name.startswith(inside))


def _remove_damaged(node: Node, place: Path) -> None:
    """A finished result may have lost files since; what is left of a folder must not pass for the whole."""
    if place.exists() and not _intact(node, place):
        _remove(place)


def publish(node: Node, trainer: Trainer, step: int) -> None:
    """Make the last checkpoint the result: ``adapter/`` or ``weights/``, then ``model.json``, which says that it is there."""
    kind = trainer.policy.kind
    _remove_damaged(node, node.path / kind)
    source = folder(node, step) / kind
    write_folder(node.path / kind, lambda temporary: shutil.copytree(source, temporary, dirs_exist_ok=True))
    write_json(node.path / MODEL, _model(node, trainer).to_json())


def keep(node: Node, trainer: Trainer, progress: Progress) -> None:
    """Write a state that training can go on from, then drop older ones."""
    write_folder(_states(node) / f"step-{progress.steps:08d}", lambda temporary: _write_state(trainer, temporary, progress))
    for old in _kept(node)[:-KEEP]:
        _remove(old)


def newest(node: Node) -> Path | None:
    """The newest state that training can go on from."""
    found = _kept(node)
    return found[-1] if found else None


def state(node: Node, name: str) -> Path:
    """The resume state of that name."""
    return _states(node) / name


def progress(place: Path) -> Progress:
    """How far a resume state is."""
    said = json.loads((place / "state.json").read_text(encoding="utf-8"))
    return Progress(said["steps"], said["seconds"])


def load(place: Path, trainer: Trainer) -> Progress:
    """Put a trainer back where it was: weights, averages, sampling policy, optimiser, and the micro-batch that fitted."""
    policy = trainer.policy
    device = policy.family.device
    policy.put(load_file(place / "policy.safetensors"))
    if trainer.average:
        trainer.average.tensors = {key: value.to(device) for key, value in load_file(place / "average.safetensors").items()}
    if (place / "snapshot.safetensors").exists():
        policy.put_sampled(load_file(place / "snapshot.safetensors"))
    if isinstance(trainer.losers, Replayed):
        trainer.losers.kept.tensors.clear()
        trainer.losers.kept.tensors.update(load_file(place / "replay.safetensors"))
    optimisers.put(trainer.optimiser, list(policy.trained), load_file(place / "optimiser.safetensors"))
    said = json.loads((place / "state.json").read_text(encoding="utf-8"))
    if said["micro_batch"] == [trainer.settings.micro_batch, str(device)]:
        microbatch.set_micro(trainer, said["micro"])
        if said["checkpointed"] and not trainer.checkpointed:
            trainer.checkpoint()
    return progress(place)


def clear(node: Node) -> None:
    """Take the resume states away."""
    if _states(node).exists():
        _remove(_states(node))


def _states(node: Node) -> Path:
    return node.path / "resume"


def _kept(node: Node) -> list[Path]:
    return sorted(_states(node).glob("step-*"))


def _model(node: Node, trainer: Trainer, place: str = "") -> ModelRef:
    policy = trainer.policy
    layer = trained_layer(node, "/".join(filter(None, (place, policy.kind))), policy.kind)
    return ModelRef(policy.family.base, policy.family.name, (*policy.below, layer))


def _write_state(trainer: Trainer, place: Path, now: Progress) -> None:
    policy = trainer.policy
    _write(place / "policy.safetensors", policy.trained)
    if trainer.average:
        _write(place / "average.safetensors", trainer.average.tensors)
    if policy.sampled is not None:
        _write(place / "snapshot.safetensors", policy.sampled)
    if isinstance(trainer.losers, Replayed):
        _write(place / "replay.safetensors", trainer.losers.kept.tensors)
    _write(place / "optimiser.safetensors", optimisers.state(trainer.optimiser, list(policy.trained)))
    said = {
        "steps": now.steps,
        "seconds": now.seconds,
        "micro_batch": [trainer.settings.micro_batch, str(policy.family.device)],
        "micro": trainer.batches.micro,
        "checkpointed": trainer.checkpointed,
    }
    write_json(place / "state.json", said)


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)


def _remove(place: Path) -> None:
    """Renamed first: a half-removed folder must not be taken for a whole one. ``gc`` clears what a kill leaves of it."""
    aside = place.with_name(f".tmp-removed-{place.name}")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(place.rename(aside))
