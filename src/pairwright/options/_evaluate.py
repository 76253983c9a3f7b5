"""From models to pictures, scores and a comparison."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pairwright.options._base import FALSE_IS_NONE, Device, Model, Options, RewardPlugin, execution
from pairwright.options._engine import EngineName, Ray


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


PROTOCOLS: dict[str, dict[str, int | float | str]] = {
    name: {"guidance": guidance, "steps": steps, "resolution": 512, "per_prompt": 5, "sampler": "model", "negative_prompt": ""}
    for name, guidance, steps in (("sd15-paper", 7.5, 50), ("sd35-paper", 4.5, 40))
}
"""How the first paper (arXiv 2605.19839) makes the pictures that it judges."""


class Generate(Options):
    """Pictures of several models for the same prompts and the same initial noise."""

    models: Annotated[dict[str, Model], BeforeValidator(_without_false)] = Field(min_length=1)
    """What is compared: a label and the model. The first is the baseline of later comparisons unless one is named. ``false``
    takes an inherited model away."""
    prompts: PromptSet
    """What is asked for."""
    protocol: Annotated[Literal["sd15-paper", "sd35-paper"] | None, FALSE_IS_NONE] = None
    """The paper's settings by name: 5 pictures of 512 pixels per prompt, no negative prompt, the model's own sampler;
    ``sd15-paper``: guidance 7.5, 50 steps; ``sd35-paper``: guidance 4.5, 40 steps. A field that is given and says otherwise is an
    error."""
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
    """Of the network that is sampled. A CPU that has no products in it uses float32."""
    batch_size: int = execution(8, ge=1)
    device: Device = execution("auto")
    devices: tuple[Device, ...] = execution(())
    """Several devices share the pictures of every model, each in a process of its own; default: ``device`` alone."""
    compile: bool = execution(default=False)
    """Compile the network (``torch.compile``) at every model's first picture, which takes a minute or more; its kernels round
    at other places. Needs a C++ compiler on a CPU, Triton on a GPU."""

    @model_validator(mode="before")
    @classmethod
    def _by_protocol(cls, value: Any) -> Any:
        name = value.get("protocol") if isinstance(value, dict) else None
        if name is None or name not in PROTOCOLS:
            return value
        for field, wanted in PROTOCOLS[name].items():
            if field in value and value[field] != wanted:
                raise ValueError(
                    f"protocol = {name!r} means {field} = {wanted!r}, and {field} = {value[field]!r} is given; "
                    "leave one of the two out (protocol = false takes an inherited one away)"
                )
        return {**value, **PROTOCOLS[name]}

    def meaning(self) -> dict[str, Any]:
        """What is fingerprinted: the settings, and not the name that stands for them."""
        return {name: value for name, value in super().meaning().items() if name != "protocol"}


class Score(Options):
    """Scores pictures with any rewards; each is a table of its own."""

    rewards: tuple[RewardPlugin, ...] = Field(min_length=1)
    """Which rewards; prompts are those that the pictures were made for."""
    diversity: str | None = None
    """Also how much the pictures of a prompt differ: by ``pixels`` (8 x 8 thumbnails), or by the image features of one of the
    rewards (``pickscore``, ``clipscore``). Needs at least 2 pictures per prompt. Default: not measured."""
    batch_size: int = execution(32, ge=1)
    device: Device = execution("auto")
    devices: tuple[Device, ...] = execution(())
    """Several devices share the pictures, each in a process of its own; default: ``device`` alone."""
    engine: EngineName = execution("local")
    """``local``: this machine; ``ray``: the pools of a Ray cluster, for the same tables. Diversity is always measured here."""
    ray: Ray = execution(Ray())
    """Cluster and pools of ``engine = "ray"``."""


class Compare(Options):
    """Compares models by their scores: paired, clustered by prompt, corrected for many metrics."""

    baseline: str | None = None
    """Label of the model that the others are compared with; default: the first."""
    primary: str | None = None
    """The one column that decides, chosen beforehand, by whose reward no pair was chosen; default: the first column."""
    aimed: tuple[str, ...] = ()
    """Columns that training aimed at, beside those whose rewards chose the pairs: what rises there is no proof, and what falls
    elsewhere meanwhile is an alarm."""
    best: bool = False
    """Also say which model is best by the primary column, and which ones cannot be told from it (checkpoints of a training)."""
    resamples: int = Field(10_000, ge=100)
    """Bootstrap resamples over prompts."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Of every interval."""
    seed: int = 0
