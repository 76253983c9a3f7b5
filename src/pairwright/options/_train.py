"""From pairs to an adapter."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pairwright.options._base import Device, Model, Options, execution


class Lora(Options):
    """A low-rank adapter on the denoising network (peft)."""

    rank: int = Field(4, ge=1)
    alpha: float = Field(4.0, gt=0)
    """Strength is alpha / rank."""
    targets: tuple[str, ...] = ()
    """Module name endings; empty: the family's attention projections, as in the papers."""


class Focus(Options):
    """Where in the pictures the errors of a pair are measured."""

    on: Literal["everywhere", "mask", "difference"] = "everywhere"
    """``mask``: where the pair's own mask says that its pictures differ. ``difference``: where their latents do, for pairs
    that carry no mask."""
    rest: float = Field(0.0, ge=0, lt=1)
    """Weight of the rest of the picture; what is looked at has 1."""


class Optimiser(Options):
    """How float32 weights are stepped."""

    name: Literal["adamw", "adafactor"] = "adamw"
    """``adafactor`` keeps one number per row and column instead of two per weight (the original Diffusion-DPO's choice for
    SDXL); it reads neither betas nor epsilon."""
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
    """Steps of the sampling trajectory: DPM-Solver++ for SD-1.5 and SDXL, Euler for SD-3.5-M (whose papers take 10)."""
    refresh: int = Field(1, ge=1)
    """The sampling policy is brought up to date every so many optimiser steps: 1 is ``dro``, 16 is ``realalign``."""
    states: int = Field(1, ge=1)
    """How many samples one trajectory serves, on average: each takes another of its states as its loser (SD-3.5-M: noises its
    end anew), at that timestep, with the trajectory's picture and caption. A step then samples ``batch / states`` trajectories.
    Above 1 it costs less, and the samples are correlated. The papers have 1. It must divide ``batch``."""
    buffer: int = Field(0, ge=0)
    """How many of the newest trajectories the further uses are drawn from, the published replay of own samples; 0: those of
    the same step. A larger buffer spreads a trajectory's uses over ``buffer * states / batch`` steps, so most losers are of an
    older policy. Counted in trajectories; read only where ``states`` is above 1."""
    savings: bool = True
    """Skip what provably does not change the step (stop at the state that is used; no policy half while fresh; no
    rollout while the gate is open without it). ``false`` is the published loop."""
    at_once: int | None = execution(None, ge=1)
    """Trajectories that are sampled at the same time; default: the micro-batch. Sampling keeps no activations, so more fit
    than in training."""

    @model_validator(mode="after")
    def _reuse(self) -> Rollout:
        if self.buffer and self.states == 1:
            raise ValueError(
                "buffer keeps trajectories for further uses, but states = 1 has none; raise states or leave buffer out"
            )
        return self


class Previews(Options):
    """Pictures of fixed prompts from fixed noise, drawn while it trains. They change nothing in the training."""

    every: int = Field(0, ge=0)
    """Draw after every so many optimiser steps, and before the first; 0: never."""
    prompts: tuple[str, ...] = ()
    """What to draw; empty: the first captions of the pairs."""
    count: int = Field(4, ge=1)
    """How many pictures; prompts are used in turn."""
    steps: int = Field(25, ge=1)
    """Of the sampler."""
    guidance: float = Field(7.5, ge=0)
    """Strength of classifier-free guidance; 1: none."""


class Train(Options):
    """Aligns a model: stage 1 (``dro``), stage 2 (``dpo``, ``ipo``, ``hinge``), or supervised tuning on the winners (``sft``)."""

    objective: Literal["sft", "dro", "dpo", "ipo", "hinge"]
    """Which loss; see :mod:`pairwright.diffusion.objectives`."""
    method: Literal["lora", "full"] = "lora"
    """What is trained: a low-rank adapter, or every weight of the denoising network (the original Diffusion-DPO)."""
    start: Model
    """Where training starts: a base, a base with LoRAs, or an earlier step."""
    reference: Model | Literal["start", "base"] = "start"
    """What the policy is measured against: ``start``, the model as training starts, its LoRAs included; ``base``, the public
    base below it; or any model, such as another run's step (``runs/<run>/<step>``, ``...@step-00000800``)."""
    mix: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Of several sets of pairs: each step's share of the samples, such as ``{ human = 0.5, rich = 0.5 }``. Every pair comes at
    least once per pass; a small set with a large share comes more often."""
    steps: int = Field(1000, ge=1)
    """Optimiser steps."""
    batch: int = Field(256, ge=1)
    """Effective batch: samples (for dpo: pairs) per optimiser step, whatever the micro-batch."""
    resolution: int | None = None
    """Side in pixels; default: the pairs' own size."""
    beta: float = Field(2000.0, gt=0)
    """Strength of dpo, ipo and hinge in the original code's convention: the loss reads ``0.5 * beta * gain`` with T absorbed
    and errors as means. Other trainers omit the 0.5 or sum over pixels: beta is not portable between them."""
    loser_weight: float = Field(1.0, ge=0)
    """How much the loser's part of the gain counts in dpo, ipo and hinge; below 1 there is less reward for spoiling losers,
    which is how winners come to be spoilt with them."""
    sft_weight: float = Field(0.0, ge=0)
    """Adds so much of ``sft``'s loss to dpo, ipo and hinge."""
    focus: Focus = Focus()
    """Where in the pictures dpo, ipo and hinge measure."""
    margin: float = Field(0.001, ge=0)
    """DRO's margin: the loss is ``relu(margin - gain)``."""
    caption_dropout: float = Field(0.0, ge=0, lt=1)
    """Probability that a caption is replaced by the empty prompt."""
    flips: bool = True
    """Random horizontal flips, the same for both sides of a pair."""
    lora: Lora = Lora()
    """The adapter that is trained (method ``lora``). Where the start ends in an adapter of an earlier step, that one is
    continued instead."""
    optimiser: Optimiser = Optimiser()
    """How the adapter's weights are stepped."""
    rollout: Rollout = Rollout()
    """Where DRO's losers come from."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of the weights' moving average; 0: none. Where it is on, the averaged weights are the result, and what a later
    step goes on from."""
    ema_every: int = Field(1, ge=1)
    """The average moves after every so many optimiser steps (SD-3.5-M: 0.9 every 8)."""
    ema_warmup: bool = True
    """Warm the decay up as min(ema, (1 + n) / (10 + n)) after n steps, the form of SD-1.5; ``false``: the decay is fixed."""
    checkpoint_every: int = Field(100, ge=1)
    """A checkpoint is kept every so many optimiser steps (part of the result: evaluation can pick one)."""
    seed: int = 0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the frozen weights and the forwards; trained weights and losses are float32. (float16 would lose the small
    gradients of a large batch.) A CPU that has no products in bfloat16 uses float32."""
    micro_batch: Annotated[int, Field(ge=1)] | Literal["auto"] = execution("auto")
    """Samples per forward and backward; changes memory and speed, not the step. ``auto``: as many as fit into a CUDA
    device's memory, measured at the start; 8 on other devices. Where memory runs out, it is halved and the step done again."""
    checkpoint_activations: bool | Literal["auto"] = execution("auto")
    """Trade a third more time for much less memory. ``auto``: only where not even one sample fits without."""
    resume_minutes: float = execution(10.0, gt=0)
    """A state to go on from is written every so many minutes, besides the checkpoints, and taken away at the end."""
    max_skips: int = execution(10, ge=1)
    """A step whose loss or gradient is not finite is skipped; so many in a row stop the training."""
    previews: Previews = execution(Previews())
    """Pictures to look at while it trains."""
    report_to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = execution(())
    """Send every line of ``steps.jsonl`` there too; the library must be installed."""
    device: Device = execution("auto")
    """``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""

    @property
    def paired(self) -> bool:
        """Whether losers are the pairs' own."""
        return self.objective in {"dpo", "ipo", "hinge"}

    def meaning(self) -> dict[str, Any]:
        """The fingerprinted part, without what this objective and method do not read."""
        return {name: value for name, value in super().meaning().items() if name not in self._unread()}

    def _unread(self) -> set[str]:
        unread = ({"lora"} if self.method == "full" else set()) | (set() if self.mix else {"mix"})
        if self.paired:
            return unread | {"margin", "rollout"}
        unread |= {"beta", *_OF_PAIRS}
        return unread if self.objective == "dro" else unread | {"margin", "rollout", "reference"}

    @model_validator(mode="after")
    def _average_moves(self) -> Self:
        if self.ema and self.ema_every > self.steps:
            raise ValueError(
                f"the average moves after every {self.ema_every} steps and there are only {self.steps}, so the result would be "
                "the start; lower ema_every or raise steps"
            )
        return self

    @model_validator(mode="after")
    def _said_of_pairs_is_read(self) -> Self:
        if self.paired:
            return self
        for name in _OF_PAIRS:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is read by the objectives dpo, ipo and hinge only, and this is {self.objective!r}")
        return self


_OF_PAIRS = ("loser_weight", "sft_weight", "focus")
