"""The verb ``train``: from pairs and a starting model to an adapter or to full weights.

The result holds ``adapter/pytorch_lora_weights.safetensors`` (the whole chain on the public base, in diffusers' layout) or
``weights/``, ``model.json``, ``steps.jsonl``, ``checkpoints/`` and ``previews/``. It can be interrupted at any moment and
goes on at its newest resume state, with the same numbers as if it had not been.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pairwright import ranks
from pairwright.context import Context
from pairwright.diffusion import checkpoints, microbatch, training
from pairwright.diffusion.checkpoints import Progress
from pairwright.diffusion.training import Trainer
from pairwright.options import Train
from pairwright.store import Node, Store
from pairwright.train import log, previews, trackers
from pairwright.train.calibrate import calibrate
from pairwright.train.log import LOG, log_rows
from pairwright.train.setup import Job, TrainError, metadata
from pairwright.train.stopping import stopping

__all__ = ["LOG", "TrainError", "calibrate", "follow", "log_rows", "train"]


def train(options: Train, context: Context) -> Node:
    """Align a model with the pairs among the inputs.

    Args:
        options: objective, start, reference and everything else; see :class:`pairwright.options.Train`.
        context: ``inputs`` holds one step that made pairs, or those that ``options.mix`` names, and the step that ``options.start``
            names, if it names one.

    Returns:
        The node of what was trained.

    Raises:
        TrainError: there are no pairs among the inputs, or several sets and no proportions.
        TrackerError: ``report_to`` names a library that is not installed.
        ModelError: a model that is not found or does not fit.
        EncodingError: pairs that cannot be encoded as they are.
        TrainingError: loss or gradient was not finite for too many steps in a row.
        TooLargeError: not even one sample fits into memory.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is kept.
    """
    trackers.check(options.report_to)
    job = Job.of(options, context)
    node = context.node("train", job.meaning(), [each.fingerprint for each in job.pairs.values()])
    if node.complete:
        return node
    for text in job.said():
        context.progress.say(f"  {text}")
    encoded = job.encoded()
    place = _state(node)
    _call(job, node, place)
    with ranks.busy(node.fingerprint):
        trainer = job.trainer(encoded)
        done = Progress(options.steps, _seconds(node)) if _trained(node, options) else _ready(trainer, place, node)
        stopped = False
        if done.steps < options.steps:
            done, stopped = _loop(trainer, node, done, job)
    if stopped:
        raise KeyboardInterrupt
    checkpoints.publish(node, trainer, options.steps)
    checkpoints.clear(node)
    node.finish(parts=encoded.nodes, **_summary(node, trainer, done))
    return node


def follow() -> None:
    """In a process that another one leads: take a share of its trainings until it sends everybody home."""
    while message := ranks.receive():
        store = Store(Path(message["root"]))
        inputs = {name: store.open(verb, fingerprint) for name, (verb, fingerprint) in message["inputs"].items()}
        job = Job.of(Train.model_validate(message["options"]), Context(store, inputs))
        node = store.open("train", message["node"])
        trainer = job.trainer(job.encoded())
        if _trained(node, job.options):
            continue
        place = checkpoints.state(node, message["state"]) if message["state"] else None
        done = _ready(trainer, place, node)
        with stopping() as stop:
            try:
                for _ in training.steps(trainer, done.steps, stop=stop):
                    pass
            except training.TrainingError:
                continue  # the first process says so


def _call(job: Job, node: Node, place: Path | None) -> None:
    """Tell the other processes, if there are any, what is trained and where it goes on."""
    ranks.send(
        {
            "root": str(job.context.store.root.resolve()),
            "options": job.options.model_dump(mode="json"),
            "inputs": {name: [each.verb, each.fingerprint] for name, each in job.context.inputs.items()},
            "node": node.fingerprint,
            "state": place.name if place else "",
        }
    )


def _ready(trainer: Trainer, place: Path | None, node: Node) -> Progress:
    """Choose the micro-batch, and put the trainer where an interrupted training was."""
    chosen = microbatch.choose(trainer)
    if chosen:
        trainer.say(chosen)
    if place is None:
        return Progress(0, 0.0)
    done = checkpoints.load(place, trainer)
    again = max((row["step"] for row in log_rows(node)), default=done.steps) - done.steps
    trainer.say(f"  goes on after step {done.steps}" + (f"; the {again} after it are done again" if again > 0 else ""))
    return done


def _state(node: Node) -> Path | None:
    """What to go on from: the newest state, where the log reaches as far."""
    place = checkpoints.newest(node)
    return place if place and len(log_rows(node)) >= checkpoints.progress(place).steps else None


def _trained(node: Node, options: Train) -> bool:
    """Whether all steps were done before and every checkpoint is there: only the end is missing."""
    steps = {*range(options.checkpoint_every, options.steps, options.checkpoint_every), options.steps}
    return len(log_rows(node)) == options.steps and all(checkpoints.whole(node, step) for step in steps)


def _loop(trainer: Trainer, node: Node, done: Progress, job: Job) -> tuple[Progress, bool]:
    """Train, and write what is to be kept; how far it came, and whether it was stopped there."""
    options, context, said = job.options, job.context, metadata(node, trainer)
    easel = previews.easel(node, trainer, context, next(iter(job.pairs.values())))
    with ExitStack() as stack:
        stop = stack.enter_context(stopping())
        written = stack.enter_context(log.opened(node, options, done.steps))
        tracked = stack.enter_context(trackers.opened(node, options, context.progress.say))
        task = stack.enter_context(context.progress.task(f"train {options.objective}", options.steps, done.steps))
        tracked.pictures(easel.draw(done.steps), done.steps)
        kept = time.monotonic()
        for step in training.steps(trainer, done.steps, stop=stop):
            row = written.add(step)
            for text in row.get("warnings", ()):
                context.progress.say(f"  {text}")
            tracked.log(row)
            task.advance(loss=step.loss, lr=step.lr)
            done = Progress(step.step, done.seconds + step.seconds)
            due = step.step % options.checkpoint_every == 0
            if due or step.step == options.steps:
                written.sync()
                checkpoints.save(node, trainer, step.step, said)
            if (due or time.monotonic() - kept >= 60 * options.resume_minutes) and step.step < options.steps:
                written.sync()
                checkpoints.keep(node, trainer, done)
                kept = time.monotonic()
            tracked.pictures(easel.draw(step.step), step.step)
        if done.steps < options.steps:
            written.sync()
            checkpoints.keep(node, trainer, done)
        return done, stop() or done.steps < options.steps


def _seconds(node: Node) -> float:
    return float(sum(row["seconds"] for row in log_rows(node)))


def _summary(node: Node, trainer: Trainer, done: Progress) -> dict[str, Any]:
    rows = log_rows(node)
    shares = [row["rollouts"] for row in rows if row["rollouts"] is not None]
    said: dict[str, Any] = {
        "steps": done.steps,
        "pairs": len(trainer.batches.encoded.ids),
        "seconds": round(done.seconds, 3),
        "loss": rows[-1]["loss"],
        "skipped": sum(bool(row["skipped"]) for row in rows),
        "warnings": [text for row in rows for text in row.get("warnings", ())],
    }
    return said | ({"rollouts": sum(shares) / len(shares)} if shares else {})
