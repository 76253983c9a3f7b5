"""From pairs to an adapter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pairwright.options._base import Model, Options, execution


class Lora(Options):
    """A low-rank adapter on the denoising network (peft)."""

    rank: int = Field(4, ge=1)
    alpha: float = Field(4.0, gt=0)
    """Strength is alpha / rank."""
    targets: tuple[str, ...] = ()
    """Module name endings; empty: the family's attention projections, as in the papers."""


class Optimiser(Options):
    """AdamW on float32 weights."""

    learning_rate: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    warmup: int = Field(0, ge=0)
    """Linear warm-up over so many steps, then constant."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""


class Rollout(Options):
    """How DRO gets its losers: from the policy's own sampling."""

    steps: int = Field(20, ge=1)
    """Steps of the sampling trajectory."""
    refresh: int = Field(1, ge=1)
    """The sampling policy is brought up to date every so many optimiser steps: 1 is ``dro``, 16 is ``realalign``."""
    savings: bool = True
    """Skip what provably does not change the step (stop at the state that is used; no policy half while fresh; no
    rollout while the gate is open without it). ``false`` is the published loop."""


class Train(Options):
    """Aligns a model: stage 1 (``dro``), stage 2 (``dpo``), or supervised tuning on the winners (``sft``)."""

    objective: Literal["sft", "dro", "dpo"]
    """Which loss; see :mod:`pairwright.diffusion.objectives`."""
    start: Model
    """Where training starts: a base, a base with LoRAs, or an earlier step."""
    reference: Model | Literal["start"] = "start"
    """What the policy is measured against; ``start`` is the model as training starts, its LoRAs included."""
    steps: int = Field(1000, ge=1)
    """Optimiser steps."""
    batch: int = Field(256, ge=1)
    """Effective batch: samples (for dpo: pairs) per optimiser step, whatever the micro-batch."""
    resolution: int | None = None
    """Side in pixels; default: the pairs' own size."""
    beta: float = Field(2000.0, gt=0)
    """DPO's strength in the original code's convention: the loss is ``-logsigmoid(0.5 * beta * gain)`` with T absorbed and
    errors as means. Other trainers omit the 0.5 or sum over pixels: beta is not portable between them."""
    margin: float = Field(0.001, ge=0)
    """DRO's margin: the loss is ``relu(margin - gain)``."""
    caption_dropout: float = Field(0.0, ge=0, lt=1)
    """Probability that a caption is replaced by the empty prompt."""
    flips: bool = True
    """Random horizontal flips, the same for both sides of a pair."""
    lora: Lora = Lora()
    """The adapter that is trained. Where the start ends in an adapter of an earlier step, that one is continued instead."""
    optimiser: Optimiser = Optimiser()
    """How the adapter's weights are stepped."""
    rollout: Rollout = Rollout()
    """Where DRO's losers come from."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Largest decay of the weights' moving average, warmed up as min(ema, (1 + n) / (10 + n)); 0: none. Where it is on,
    the averaged weights are the result."""
    checkpoint_every: int = Field(100, ge=1)
    """A checkpoint is kept every so many optimiser steps (part of the result: evaluation can pick one)."""
    seed: int = 0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the frozen weights and the forwards; trained weights and losses are float32. (float16 would lose the small
    gradients of a large batch.)"""
    micro_batch: int = execution(8, ge=1)
    """Samples per forward and backward; changes memory and speed, not the step."""
    checkpoint_activations: bool = execution(default=False)
    """Trade a third more time for much less memory."""
    device: str = execution("auto")
    """``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
