"""The verb ``train``: from pairs and a starting model to an adapter.

The result holds ``adapter/pytorch_lora_weights.safetensors`` (the whole chain on the public base, in diffusers' layout),
``model.json``, ``steps.jsonl`` and ``checkpoints/``. It can be interrupted at any moment and goes on at its newest
checkpoint, with the same numbers as if it had not been.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import pyarrow.parquet as pq

from pairwright import models, runtime
from pairwright.context import Context
from pairwright.diffusion import checkpoints, encodings, families, policy, training
from pairwright.diffusion.batches import Batches
from pairwright.errors import Explained
from pairwright.models import ModelRef
from pairwright.options import Lora, Train
from pairwright.store import Node, write_text

VERSION = 1
"""Part of the fingerprint; grows when the same options would give other weights."""
LOG = "steps.jsonl"
_UNREAD = {"sft": ("beta", "margin", "rollout", "reference"), "dpo": ("margin", "rollout"), "dro": ("beta",)}
# What an objective does not read must not change its fingerprint.


class TrainError(Explained, ValueError):
    """Inputs that cannot be trained on; the message says what is missing."""


@dataclass(frozen=True)
class _Models:
    start: ModelRef
    reference: ModelRef | None
    """None: the start."""


def train(options: Train, context: Context) -> Node:
    """Align a model with the pairs among the inputs.

    Args:
        options: objective, start, reference and everything else; see :class:`pairwright.options.Train`.
        context: ``inputs`` holds one step that made pairs, and the step that ``options.start`` names, if it names one.

    Returns:
        The node of the trained adapter.

    Raises:
        TrainError: there are no pairs among the inputs, or several sets.
        ModelError: a model that is not found or does not fit.
        EncodingError: pairs that cannot be encoded as they are.
        TrainingError: loss or gradient became infinite or not a number.
    """
    pairs = _pairs(context)
    named = options.reference if not isinstance(options.reference, str) and options.objective != "sft" else None
    found = _Models(models.resolve(options.start, context), models.resolve(named, context) if named else None)
    node = context.node("train", _meaning(options, found, context), [pairs.fingerprint])
    if node.complete:
        return node
    if policy.continues(found.start) and options.lora != Lora():
        context.progress.say("  lora is not read: the adapter that the start ends in is continued, with its own rank")
    trainer = _trainer(options, found, pairs, context)
    metadata = _metadata(options, node, trainer)
    done = _resume(node, trainer, context)
    with _log(node, done.steps) as log, context.progress.task(f"train {options.objective}", options.steps, done.steps) as task:
        for step in training.steps(trainer, done.steps):
            log.write(json.dumps(step.row()) + "\n")
            log.flush()
            task.advance(loss=step.loss, lr=step.lr)
            done = checkpoints.Progress(step.step, done.seconds + step.seconds)
            if step.step % options.checkpoint_every == 0 or step.step == options.steps:
                os.fsync(log.fileno())
                checkpoints.save(node, trainer, done, metadata)
    checkpoints.publish(node, trainer, metadata)
    node.finish(parts=trainer.batches.encoded.nodes, **_summary(node, trainer, done))
    return node


def log_rows(node: Node) -> list[dict[str, Any]]:
    """What every step so far said of itself, in order; a line that a kill cut short is left out."""
    path = node.path / LOG
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _pairs(context: Context) -> Node:
    found = {name: node for name, node in context.inputs.items() if _holds_pairs(node)}
    if len(found) != 1:
        said = f"several of its inputs made pairs ({', '.join(found)})" if found else "none of its inputs made pairs"
        raise TrainError(f"training reads one set of pairs, but {said}; name one such step in 'from'")
    return next(iter(found.values()))


def _holds_pairs(node: Node) -> bool:
    shards = node.shards()
    return bool(shards) and {"winner", "loser"} <= set(pq.read_schema(shards[0]).names)


def _meaning(options: Train, found: _Models, context: Context) -> dict[str, Any]:
    meaning = options.meaning() | {"version": VERSION, "start": found.start.identity(context.store)}
    if found.reference:
        meaning["reference"] = found.reference.identity(context.store)
    for name in _UNREAD[options.objective]:
        del meaning[name]
    if policy.continues(found.start):
        del meaning["lora"]
    return meaning


def _trainer(options: Train, found: _Models, pairs: Node, context: Context) -> training.Trainer:
    device = runtime.device(options.device)
    sides: tuple[encodings.Side, ...] = ("winner", "loser") if options.objective == "dpo" else ("winner",)
    encoded = encodings.encode(
        pairs, found.start, context, sides=sides, resolution=options.resolution, flips=options.flips, device=device
    )
    family = families.load_base(found.start, dtype=options.dtype, device=device)
    actors = policy.build(
        family,
        found.start,
        found.reference,
        context.store,
        options.lora,
        seed=options.seed,
        lagging=training.lagging(options),
    )
    if options.checkpoint_activations:
        family.network.enable_gradient_checkpointing()  # type: ignore[operator]
    batches = Batches(
        encoded=encoded,
        process=family.process,
        device=device,
        size=options.batch,
        micro=min(options.micro_batch, options.batch),
        seed=options.seed,
        flips=options.flips,
        dropout=options.caption_dropout,
    )
    return training.Trainer(options, actors, batches)


def _metadata(options: Train, node: Node, trainer: training.Trainer) -> dict[str, str]:
    side = trainer.batches.encoded.resolution
    return {
        "modelspec.title": f"{options.objective} on {trainer.policy.family.base}",
        "modelspec.resolution": f"{side}x{side}",
        "pairwright.objective": options.objective,
        "pairwright.fingerprint": node.fingerprint,
    }


def _resume(node: Node, trainer: training.Trainer, context: Context) -> checkpoints.Progress:
    newest = checkpoints.newest(node)
    if newest is None:
        return checkpoints.Progress(0, 0.0)
    done = checkpoints.load(newest, trainer)
    again = max((row["step"] for row in log_rows(node)), default=done.steps) - done.steps
    context.progress.say(f"  goes on after step {done.steps}" + (f"; the {again} after it are done again" if again > 0 else ""))
    return done


@contextmanager
def _log(node: Node, done: int) -> Iterator[TextIO]:
    """``steps.jsonl``, open behind step ``done``: what a killed process wrote beyond its checkpoint is done again."""
    kept = [row for row in log_rows(node) if row["step"] <= done]
    write_text(node.path / LOG, "".join(json.dumps(row) + "\n" for row in kept))
    with (node.path / LOG).open("a", encoding="utf-8") as stream:
        yield stream


def _summary(node: Node, trainer: training.Trainer, done: checkpoints.Progress) -> dict[str, Any]:
    rows = log_rows(node)
    shares = [row["rollouts"] for row in rows if row["rollouts"] is not None]
    said: dict[str, Any] = {
        "steps": done.steps,
        "pairs": len(trainer.batches.encoded.ids),
        "seconds": round(done.seconds, 3),
        "loss": rows[-1]["loss"],
    }
    return said | ({"rollouts": sum(shares) / len(shares)} if shares else {})
