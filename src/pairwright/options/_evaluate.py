"""From models to pictures, scores and a comparison."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pairwright.options._base import Model, Options, RewardPlugin, execution


def _without_false(value: Any) -> Any:
    return {label: each for label, each in value.items() if each is not False} if isinstance(value, dict) else value


class PromptSet(Options):
    """Prompts: a known set by its name, or a file. In TOML: ``"drawbench"`` or ``{ name = "prompts.jsonl", limit = 100 }``."""

    name: str
    """A known set (``pickapic_v2_test``, ``drawbench``, ``partiprompts``, ``hpdv2``, ``dpg_bench``, ``geneval``), a file
    (``.txt``, ``.jsonl``, ``.csv``, ``.tsv``, ``.json``, ``.parquet``), ``hub:owner/name@revision/file``, or a step whose
    captions are used."""
    path: str | None = execution(None)
    """Of a known set: the file or folder that it is read from; it is held to its checksum. Default: the folder that
    ``PAIRWRIGHT_PROMPTS`` names, else the hub."""
    limit: int | None = Field(None, ge=1)
    """Take so many, chosen by seed; default: all."""
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Generate(Options):
    """Pictures of several models for the same prompts and the same initial noise."""

    models: Annotated[dict[str, Model], BeforeValidator(_without_false)] = Field(min_length=1)
    """What is compared: a label and the model. The first is the baseline of later comparisons unless one is named. ``false``
    takes an inherited model away."""
    prompts: PromptSet
    """What is asked for."""
    per_prompt: int = Field(5, ge=1)
    """Pictures per prompt; picture ``i`` of a prompt has the same initial noise for every model."""
    resolution: int = Field(512, ge=32, le=8192)
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
    devices: tuple[str, ...] = execution(())
    """Several devices share the pictures, each in a process of its own; default: ``device`` alone."""


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
