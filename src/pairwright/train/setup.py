"""From options and inputs to a trainer that is ready for its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from pairwright import models, ranks, runtime
from pairwright.context import Context
from pairwright.diffusion import encodings, losers, policy, training
from pairwright.diffusion.batches import Batches
from pairwright.diffusion.encodings import Encoded
from pairwright.diffusion.mixing import Mix
from pairwright.errors import Explained
from pairwright.models import ModelRef
from pairwright.options import Lora, Train
from pairwright.store import Node
from pairwright.wording import percent

VERSION = 1
"""Part of the fingerprint; grows when the same options would give other weights."""


class TrainError(Explained, ValueError):
    """Inputs that cannot be trained on; the message says what is missing."""


@dataclass(frozen=True)
class Job:
    """A training before anything is loaded for it."""

    options: Train
    context: Context
    pairs: Mapping[str, Node]
    """The sets of pairs, by step; several where ``mix`` says how much of each."""
    start: ModelRef
    reference: ModelRef | None
    """None: the start."""

    @classmethod
    def of(cls, options: Train, context: Context) -> Job:
        """Find what the options name.

        Raises:
            TrainError: there are no pairs among the inputs, or several sets and no proportions; a batch that cannot be shared.
            ModelError: a model that is not found or does not fit.
        """
        pairs = _pairs(options, context)
        if options.batch < ranks.count():
            raise TrainError(f"a batch of {options.batch} cannot be shared by {ranks.count()} processes; start fewer")
        plan = losers.replay(options)
        if plan and plan.carried and ranks.count() > 1:
            raise TrainError("rollout.buffer is not shared between processes; start one, or leave rollout.buffer out")
        start = models.resolve(options.start, context)
        return cls(options, context, pairs, start, models.reference(options, start, context))

    @property
    def continues(self) -> bool:
        """Whether the adapter that the start ends in is trained on."""
        return policy.continues(self.start, self.options)

    def meaning(self) -> dict[str, Any]:
        """The fingerprinted part."""
        meaning = self.options.meaning() | {"version": VERSION, "start": self.start.identity(self.context.store)}
        if self.reference:
            meaning["reference"] = self.reference.identity(self.context.store)
        if self.continues:
            meaning.pop("lora", None)
        if options := self.options.mix:
            meaning["mix"] = [options[name] for name in self.pairs]
        return meaning

    def said(self) -> list[str]:
        """What is trained and what it is measured against, and what a user might not expect of that."""
        options, found = self.options, []
        if options.method == "full":
            trained = "every weight of the denoising network"
        elif self.continues:
            trained = "the adapter that the start ends in"
        else:
            trained = f"a fresh adapter of rank {options.lora.rank} on the start"
        if options.objective == "sft":
            against = "nothing"
        elif isinstance(options.reference, str):
            against = {"start": "the start", "base": "the base below the start"}[options.reference]
        else:
            against = ", ".join([options.reference.base, *options.reference.layers])
        found.append(f"trains {trained}; measured against {against}")
        if options.mix:
            total = sum(options.mix.values())
            found.append("samples: " + ", ".join(f"{percent(options.mix[name] / total)} of {name}" for name in self.pairs))
        if self.continues and options.lora != Lora():
            found.append("lora is not read: the adapter that is continued has its own rank")
        if text := losers.note(options):
            found.append(text)
        return found

    def encoded(self) -> Encoded:
        """Latents and text states of the pairs, computed where the store does not hold them yet."""
        options = self.options
        sides: tuple[encodings.Side, ...] = ("winner", "loser") if options.paired else ("winner",)
        sides += ("mask",) if options.focus.on == "mask" else ()
        found = [
            encodings.encode(
                pairs,
                self.start,
                self.context,
                sides=sides,
                resolution=options.resolution,
                flips=options.flips,
                device=self.device,
            )
            for pairs in self.pairs.values()
        ]
        return found[0] if len(found) == 1 else encodings.joined(found)

    def mix(self) -> Mix | None:
        """How samples are drawn from several sets."""
        if not self.options.mix:
            return None
        sizes = [sum(1 for _ in node.rows(columns=["id"])) for node in self.pairs.values()]
        return Mix(tuple(sizes), tuple(self.options.mix[name] for name in self.pairs))

    @property
    def device(self) -> Any:
        """Where this process trains."""
        return runtime.device(ranks.device(self.options.device))

    def trainer(self, encoded: Encoded) -> training.Trainer:
        """Networks, adapters and optimiser."""
        options = self.options
        actors = policy.assemble(
            options, self.start, self.reference, self.context.store, self.device, lagging=training.lagging(options)
        )
        batches = Batches(
            encoded=encoded,
            process=actors.family.process,
            device=self.device,
            size=options.batch,
            micro=1,
            seed=options.seed,
            flips=options.flips,
            dropout=options.caption_dropout,
            focus=options.focus,
            replay=losers.replay(options),
            mix=self.mix(),
            rank=ranks.rank(),
            ranks=ranks.count(),
        )
        return training.Trainer(options, actors, batches, self.context.progress.say)


def metadata(node: Node, trainer: training.Trainer) -> dict[str, str]:
    """What the trained file's header says of it."""
    side, objective = trainer.batches.encoded.resolution, trainer.settings.objective
    return {
        "modelspec.title": f"{objective} on {trainer.policy.family.base}",
        "modelspec.resolution": f"{side}x{side}",
        "pairwright.objective": objective,
        "pairwright.fingerprint": node.fingerprint,
    }


def _pairs(options: Train, context: Context) -> dict[str, Node]:
    found = {name: node for name, node in context.inputs.items() if _holds_pairs(node)}
    if options.mix:
        odd = [name for name in options.mix if name not in found] or [name for name in found if name not in options.mix]
        if odd:
            raise TrainError(f"mix: {odd[0]!r} must be a step with pairs in 'from' and have a share in 'mix'")
        return found
    if len(found) != 1:
        said = f"several of its inputs made pairs ({', '.join(found)})" if found else "none of its inputs made pairs"
        how = "; say in which proportions with mix" if found else "; name one such step in 'from'"
        raise TrainError(f"training reads one set of pairs, but {said}{how}")
    return found


def _holds_pairs(node: Node) -> bool:
    shards = node.shards()
    return bool(shards) and {"winner", "loser"} <= set(pq.read_schema(shards[0]).names)
