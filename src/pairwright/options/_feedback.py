"""From pictures that are there to better ones, and pairs of the two."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pairwright.options._base import (
    FALSE_IS_NONE,
    CriticPlugin,
    Device,
    EditJudgePlugin,
    InstructorPlugin,
    JudgePlugin,
    Options,
    PerturbationPlugin,
    Plugin,
    RewardPlugin,
    SourcePlugin,
    execution,
)
from pairwright.options._engine import EngineName, Ray


class Feedback(Options):
    """Rich feedback: critique a picture, instruct an editor, edit, and label original and edited picture."""

    source: Annotated[SourcePlugin | None, FALSE_IS_NONE] = None
    """Pictures straight from a source instead of a step: the sides of pairs (Pick-a-Pic), or found pictures with captions
    (``richhf``). What is not to be improved need not be imported."""
    resolution: Annotated[int | None, FALSE_IS_NONE] = Field(512, ge=32, le=8192)
    """Of ``source``: side in pixels, as ``import`` makes it; pictures with a short side below half of it are rejected. false:
    every picture stays as it is."""
    side: Literal["winner", "loser"] = "winner"
    """Which pictures of existing pairs are improved."""
    model: str | None = None
    """Of a generate step with several models: whose pictures are improved."""
    limit: int | None = Field(None, ge=1)
    """So many pictures at most, drawn by the seed; default: all."""
    critic: Annotated[CriticPlugin | None, FALSE_IS_NONE]
    """Says what is wrong; false: the instructor is asked from picture and prompt alone (one step)."""
    instructor: InstructorPlugin
    """Says what to change."""
    editor: PerturbationPlugin = Plugin(name="controlnet")
    """Changes the picture. Editors that read an instruction are given prompt and instruction; others, such as ``text2image``, one
    text: prompt, comma, instruction."""
    with_prompt: bool = True
    """Whether editors are told the prompt besides the instruction."""
    reward: Annotated[RewardPlugin | None, FALSE_IS_NONE] = Plugin(name="imagereward")
    """Labels: of original and edited picture the one with the higher score wins."""
    column: str | None = None
    """Which column, where the reward has several; default: its first."""
    tie: float = Field(0.0, ge=0)
    """Scores that differ by no more than this are a tie, which is dropped."""
    judge: JudgePlugin | None = None
    """Labels instead of a reward: a model that sees both pictures, in both orders; a choice that depends on the order is a tie."""
    flips: bool = True
    """Keep pairs in which the original wins."""
    most: int | None = Field(None, ge=1)
    """So many pairs at most, drawn by the seed; default: all."""
    measures: tuple[RewardPlugin, ...] = ()
    """Further rewards that score both pictures and decide nothing: the summary has their means."""
    seed: int = 0
    """Edits are seeded by this and the picture."""
    batch_size: int = execution(8, ge=1)
    """Pictures per forward of editor and rewards."""
    device: Device = execution("auto")
    """``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    engine: EngineName = execution("local")
    """``local``: this process; ``ray``: the pools of a Ray cluster, for the same tables."""
    ray: Ray = execution(Ray())
    """Cluster and pools of ``engine = "ray"``."""

    @model_validator(mode="before")
    @classmethod
    def _judge_replaces_default(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("judge") is not None and "reward" not in value:
            return {"reward": None, **value}
        return value

    @model_validator(mode="after")
    def _one_label(self) -> Self:
        if (self.reward is None) == (self.judge is None):
            raise ValueError("give either a reward or a judge to label with, and leave the other out (reward = false)")
        return self


class Editors(Options):
    """Editors compared: a judge sees two edits of the same picture by the same instruction, in both orders."""

    judge: EditJudgePlugin
    """Says which edit follows the instruction and keeps the rest; a choice that depends on the order is none."""
    limit: int | None = Field(None, ge=1)
    """So many pictures at most for each two steps, drawn by the seed; default: all that both have edited."""
    seed: int = 0
    resamples: int = Field(10_000, ge=100)
    """Bootstrap resamples over prompts."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Of every interval."""
    device: Device = execution("auto")
    """``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
