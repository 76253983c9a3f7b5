"""Both ways of the same training: ours as the verb builds it, and a published loop on networks of its own with equal weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from benchmarks.training import published
from benchmarks.training.published import DroLoop, FullExample, Given, Loop, LoraExample
from pairwright import images, runtime, seeds, tables
from pairwright.context import Context
from pairwright.diffusion import adapters, microbatch
from pairwright.diffusion.batches import Batch
from pairwright.diffusion.losers import Gated
from pairwright.diffusion.objectives import Errors
from pairwright.diffusion.training import Trainer
from pairwright.options import Train
from pairwright.records import Pair, Picture
from pairwright.store import Node, Store
from pairwright.train.setup import Job

RANK = 4
MOVED = 0.1
"""Deviation of the adapters' second halves: policy and reference differ, as they do after the first step."""
PAIRS = 32


@dataclass(frozen=True)
class Contest:
    """What is compared, and how."""

    label: str
    published: type[Loop]
    settings: Mapping[str, Any] = field(hash=False)
    """Of our training, besides what all contests share."""
    target: float | None = None
    """How many times faster ours shall be."""
    look: bool = False
    """Sample every trajectory, also where the gate is open without it: what a step costs where all are needed."""


# Gradients must agree to 1e-4. At beta 2000 float32 leaves an error of 1 no better than 1e-4 of the exponent.
STAGE_2 = {"objective": "dpo", "beta": 100.0, "optimiser": {"learning_rate": 2.56e-6}}
STAGE_1 = {"objective": "dro", "margin": 0.001, "optimiser": {"learning_rate": 1e-4}, "ema": 0.9999}
# No gain is as large as 1, so every gate is open without a rollout.
OPEN = {**STAGE_1, "margin": 1.0}
CONTESTS = {
    "dpo": Contest("stage 2, LoRA, against the LoRA example", LoraExample, STAGE_2, 1.5),
    "dpo-full": Contest("stage 2, full, against the original", FullExample, {**STAGE_2, "method": "full"}),
    "realalign": Contest("stage 1, `realalign` (refresh 16)", DroLoop, {**STAGE_1, "rollout": {"refresh": 16}}, 1.5),
    "dro-all": Contest("stage 1, `dro`, every rollout needed", DroLoop, STAGE_1, 1.8, look=True),
    "dro-none": Contest("stage 1, `dro`, no rollout needed", DroLoop, OPEN, 6.0),
}


class Looking(Gated):
    """Samples every trajectory, also where the gate is open without it."""

    def closed(self, winner: Errors) -> Tensor:
        """Everybody."""
        return torch.arange(len(winner.policy_winner))


def write_pairs(store: Store, count: int, side: int) -> Node:
    """Pairs of random pictures with captions of their own, as curation leaves them."""
    node = store.node("curate", {"random": [count, side]})
    if node.complete:
        return node
    rows = []
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
        winner, loser = (Picture(images.content_id(data), data) for data in (images.encode(Image.fromarray(one)) for one in pixels))
        rows.append(tables.pair_row(Pair(f"pair{index}", f"a flower with {index} petals in a garden", winner, loser)))
    node.write(0, rows, tables.PAIRS)
    node.finish(pairs=count)
    return node


def trainer(pairs: Node, store: Store, base: Path, contest: Contest, *, batch: int, micro: int) -> Trainer:
    """Ours, as the verb builds it."""
    common = {"start": str(base), "steps": 1_000_000, "batch": batch, "dtype": "float32", "device": "cpu"}
    # Neither flips nor dropped captions take time.
    quiet = {"flips": False, "caption_dropout": 0.0, "lora": {"rank": RANK, "alpha": RANK}}
    job = Job.of(Train.model_validate({**common, **quiet, **contest.settings}), Context(store, {"pairs": pairs}))
    found = job.trainer(job.encoded())
    microbatch.set_micro(found, micro)
    if contest.look:
        found.losers = Looking(found.settings.rollout.steps, found.settings.margin)
    return found


def loop(base: Path, contest: Contest, settings: Train, alphas_cumprod: Tensor) -> Loop:
    """The published one."""
    with runtime.quiet():
        unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
        vae = AutoencoderKL.from_pretrained(base, subfolder="vae")
        text = CLIPTextModel.from_pretrained(base, subfolder="text_encoder")
    said: dict[str, Any] = {"rank": RANK, "beta": settings.beta, "ema": settings.ema}
    if contest.published is DroLoop:
        said |= {"margin": settings.margin, "refresh": settings.rollout.refresh, "rollout": settings.rollout.steps}
    return contest.published(unet, vae, text, alphas_cumprod, settings.optimiser.learning_rate, **said)


def place(ours: Trainer, theirs: Loop) -> None:
    """Give both the same weights, an adapter's away from the reference."""
    if ours.policy.kind == "adapter":
        drawn = {
            name: seeds.noise(value.shape, [name], 0, "moved")[0] * (MOVED if ".lora_B." in name else 1 / RANK)
            for name, value in ours.policy.trained.items()
        }
        adapters.assign(theirs.unet, published.POLICY, drawn)
    ours.policy.put(theirs.trained)


@dataclass(frozen=True)
class Loader:
    """The published loop's data: decoded pictures and tokens, in memory. Making them is not counted."""

    winners: Tensor
    losers: Tensor
    tokens: Tensor
    rows: Mapping[str, int]

    @classmethod
    def of(cls, pairs: Node, base: Path) -> Loader:
        """From the pairs that ours has encoded."""
        found = list(tables.pairs(pairs))
        tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
        tokens = tokenizer([pair.prompt for pair in found], padding="max_length", truncation=True, return_tensors="pt").input_ids
        winners, losers = (images.batch([getattr(pair, side) for pair in found]) * 2 - 1 for side in ("winner", "loser"))
        return cls(winners, losers, tokens, {pair.id: row for row, pair in enumerate(found)})

    def given(self, batch: Batch) -> Given:
        """The same samples with the same draws."""
        rows = [self.rows[name.split("#")[0]] for name in batch.occasions]
        own = batch.own_noise(torch.arange(len(batch)))
        return Given(self.winners[rows], self.losers[rows], self.tokens[rows], batch.noise, batch.t, own)
