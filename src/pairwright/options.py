"""What every verb can be told: frozen, typed, each field with its meaning where it is declared.

Fields are of two kinds. *Meaning* decides what comes out and is fingerprinted. *Execution* (declared with
:func:`execution`) decides where and how fast, and may change between runs of the same recipe.

Nothing here imports torch: ``--help`` and the validation of a recipe are instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pairwright import plugins

T = TypeVar("T")


def execution(default: T, **constraints: Any) -> T:
    """A field that changes where or how fast something runs, not what comes out."""
    value: T = Field(default, json_schema_extra={"execution": True}, **constraints)
    return value


class Options(BaseModel):
    """Base of all option groups: unknown names are errors, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    @classmethod
    def execution_fields(cls) -> frozenset[str]:
        """Names of the fields that change where or how fast something runs, not what comes out."""
        extras = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return frozenset(name for name, extra in extras.items() if isinstance(extra, dict) and extra.get("execution"))

    def meaning(self) -> dict[str, Any]:
        """The fingerprinted part, as plain JSON values."""
        kept = set(type(self).model_fields) - self.execution_fields()
        return {name: plain(getattr(self, name)) for name in sorted(kept)}


def plain(value: Any) -> Any:
    """Option values as JSON values: groups by their meaning, tuples as lists."""
    if isinstance(value, Options):
        return value.meaning()
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    return value


class Plugin(Options):
    """A plug-in by name with its options. In TOML: ``"pickscore"`` or ``{ name = "pickscore", model = "..." }``."""

    name: str
    """File on its shelf, or the dotted name of your own module."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of its ``load``."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and set(value) - {"name", "options"}:
            options = {key: each for key, each in value.items() if key not in {"name", "options"}}
            return {"name": value.get("name"), "options": {**value.get("options", {}), **options}}
        return value

    def meaning(self) -> dict[str, Any]:
        """Name and options, less those that only change the speed."""
        return {"name": self.name, **plain(plugins.meaning(self.options))}


def _on(shelf: plugins.Shelf) -> BeforeValidator:
    def check(value: Any) -> Any:
        plugin = value if isinstance(value, Plugin) else Plugin.model_validate(value)
        plugins.check(shelf, plugin.name, plugin.options)
        return plugin

    return BeforeValidator(check)


SourcePlugin = Annotated[Plugin, _on("sources")]
RewardPlugin = Annotated[Plugin, _on("rewards")]
SaliencyPlugin = Annotated[Plugin, _on("saliency")]
PerturbationPlugin = Annotated[Plugin, _on("perturbations")]


class Model(Options):
    """A model: a public base and ordered layers on top. In TOML: ``"tiny:base"`` or ``{ base = "...", layers = [...] }``."""

    base: str
    """Hub id (``owner/name@revision``), folder, single file, ``tiny:...``, a step of this run, or ``runs/<run>/<step>``."""
    layers: tuple[str, ...] = ()
    """LoRA files or folders, in order, each optionally with a strength: ``lora.safetensors:0.8``."""
    family: str = "auto"
    """``sd15``, ...; ``auto`` reads it from the pipeline's ``model_index.json``."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"base": value} if isinstance(value, str) else value


class Filter(Options):
    """A reward plus a rule: what a picture must score to stay."""

    reward: RewardPlugin
    """Which reward."""
    rule: Literal["above_mean", "at_least", "top"]
    """``above_mean`` of the set, ``at_least`` a threshold, or the ``top`` k."""
    value: float | None = None
    """The threshold of ``at_least`` (in the reward's own unit) or the k of ``top``."""
    column: str | None = None
    """Which column, where the reward has several; default: its first."""

    @model_validator(mode="after")
    def _value_where_needed(self) -> Self:
        if (self.rule == "above_mean") != (self.value is None):
            raise ValueError(f"rule {self.rule!r} {'takes no' if self.rule == 'above_mean' else 'needs a'} value")
        return self


class Keep(Options):
    """Which of the pairs that pass are kept: the best k by a score of the *photograph*, so that repaints can stop early."""

    reward: RewardPlugin
    """Ranks the photographs; prompts are the captions."""
    top: int = Field(512, ge=1)
    """How many pairs are wanted."""
    column: str | None = None
    """Which column, where the reward has several; default: its first."""


class Gap(Options):
    """Keeps a pair only where the winner scores so much more than the loser."""

    reward: RewardPlugin
    """Which reward scores both sides; prompts are the captions."""
    at_least: float | None = 0.52
    """Least difference, in the reward's own unit. The paper's 0.02 on ``100 * cosine / 26`` is 0.52 on PickScore's ``100 * cosine``."""
    pilot_quantile: float | None = Field(None, gt=0, lt=1)
    """Instead of ``at_least``: the threshold is this quantile of the gaps of a pilot, so that it is known before the rest
    is repainted (for rewards whose scale is not known beforehand)."""
    pilot: int = Field(32, ge=2)
    """Candidates in the pilot, in whole batches spread evenly over the ranking; their repaints are used again."""
    column: str | None = None
    """Which column, where the reward has several; default: its first."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.at_least is None) == (self.pilot_quantile is None):
            raise ValueError("give either at_least or pilot_quantile (and set the other to nothing)")
        return self

    @model_validator(mode="before")
    @classmethod
    def _quantile_replaces_default(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("pilot_quantile") is not None and "at_least" not in value:
            return {**value, "at_least": None}
        return value


class Mask(Options):
    """From a saliency map to the region that is repainted."""

    threshold: float = Field(0.5, gt=0, lt=1)
    """Salient where the map is above this (the paper: 0.5)."""
    dilate: int = Field(0, ge=0)
    """Grow the region by so many pixels (the paper: 0)."""
    feather: float = Field(0.0, ge=0)
    """Blur its border with this standard deviation in pixels when compositing (the paper: 0)."""
    least_area: float = Field(0.01, ge=0, lt=1)
    """Reject pictures whose region covers less than this share."""
    most_area: float = Field(0.95, gt=0, le=1)
    """Reject pictures whose region covers more than this share."""


class Curate(Options):
    """From photographs to pairs: the photograph wins over the same photograph with its salient region repainted."""

    source: SourcePlugin
    """Where the photographs are."""
    resolution: int = Field(512, ge=32)
    """Side in pixels: short side resized to it (Lanczos), then cropped."""
    least_side: int = Field(0, ge=0)
    """Reject photographs whose short side is smaller, rather than enlarge them; 0: none."""
    crops: int = Field(1, ge=1)
    """Views taken of each photograph: the first is the centre crop, further ones are drawn by the photograph's id."""
    filters: tuple[Filter, ...] = ()
    """What a photograph must score before anything expensive is done, in order."""
    saliency: SaliencyPlugin = Plugin(name="u2net")
    """Finds the region to repaint."""
    mask: Mask = Mask()
    """How the region is cut."""
    perturbation: PerturbationPlugin = Plugin(name="inpaint")
    """Makes the loser."""
    composite: bool = True
    """Paste the untouched background back. ``false`` is the published behaviour: its losers carry the VAE's error everywhere."""
    gap: Gap | None = None
    """Drops negligible degradations."""
    keep: Keep | None = None
    """Ranks the photographs and keeps the best pairs; without it every candidate is repainted and every pair that passes is kept."""
    eager: bool = False
    """Repaint every candidate before ranking (the published order): the same pairs, and the whole funnel."""
    seed: int = 0
    """Repaints are seeded by this and the picture's id."""
    batch_size: int = execution(8, ge=1)
    """Pictures per forward."""
    device: str = execution("auto")
    """``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""


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


class PromptSet(Options):
    """Prompts: a known set by its name, or a file. In TOML: ``"prompts.jsonl"`` or ``{ name = "...", limit = 100 }``."""

    name: str
    """Known set, or path to ``.txt``, ``.jsonl``, ``.csv`` or ``.tsv``, or a step whose captions are used."""
    limit: int | None = Field(None, ge=1)
    """Take so many, chosen by seed; default: all."""
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Generate(Options):
    """Pictures of several models for the same prompts and the same initial noise."""

    models: dict[str, Model]
    """What is compared: a label and the model. The first is the baseline of later comparisons unless one is named."""
    prompts: PromptSet
    """What is asked for."""
    per_prompt: int = Field(5, ge=1)
    """Pictures per prompt; picture ``i`` of a prompt has the same initial noise for every model."""
    resolution: int = Field(512, ge=32)
    steps: int = Field(50, ge=1)
    guidance: float = Field(7.5, ge=1)
    """Classifier-free guidance scale; 1: none."""
    negative_prompt: str = ""
    """What guidance leads away from; empty: from no prompt at all."""
    sampler: Literal["model", "ddim", "dpmsolver++"] = "model"
    """``model``: the scheduler that comes with the model, as diffusers' pipeline would use it."""
    seed: int = 0
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    batch_size: int = execution(8, ge=1)
    device: str = execution("auto")


class Score(Options):
    """Scores pictures with any rewards; each is a table of its own."""

    rewards: tuple[RewardPlugin, ...] = Field(min_length=1)
    """Which rewards; prompts are those that the pictures were made for."""
    batch_size: int = execution(32, ge=1)
    device: str = execution("auto")


class Compare(Options):
    """Compares models by their scores: paired, clustered by prompt, corrected for many metrics."""

    baseline: str | None = None
    """Label of the model that the others are compared with; default: the first."""
    primary: str | None = None
    """The one column that decides, chosen beforehand, that curation did not use; default: the first column."""
    resamples: int = Field(10_000, ge=100)
    """Bootstrap resamples over prompts."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Of every interval."""
    seed: int = 0
