"""The base of all option groups, and what a recipe names: plug-ins and models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pairwright import plugins

T = TypeVar("T")


def execution(default: T, **constraints: Any) -> T:
    """A field that changes where or how fast something runs, not what comes out."""
    value: T = Field(default, json_schema_extra={"execution": True}, **constraints)
    return value


_DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu|npu|hpu)(:\d+)?")


def _device(name: str) -> str:
    if not _DEVICE.fullmatch(name):
        raise ValueError(f"{name!r} is no device; there is: auto, cpu, mps, cuda, and one of several as cuda:1")
    return name


Device = Annotated[str, AfterValidator(_device)]
"""``auto``, or a device as torch spells it. Whether this machine has it is asked when it is needed: what is computed already is
read without it."""


class Options(BaseModel):
    """Base of all option groups: unknown names are errors, values do not change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )

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
        if not isinstance(value, (dict, Plugin)):
            raise ValueError('a plug-in is a name, "pickscore", or a table, { name = "pickscore", ... }')  # noqa: TRY004 - pydantic's
        if isinstance(value, dict) and set(value) - {"name", "options"}:
            options = {key: each for key, each in value.items() if key not in {"name", "options"}}
            return {"name": value.get("name"), "options": {**value.get("options", {}), **options}}
        return value

    def meaning(self) -> dict[str, Any]:
        """Name and options, less those that only change the speed."""
        return {"name": self.name, **plain(plugins.meaning(self.options))}


FALSE_IS_NONE = BeforeValidator(lambda value: None if value is False else value)
"""TOML has no word for nothing: ``gap = false`` takes an inherited ``gap`` away."""


def _on(shelf: plugins.Shelf, function: str = "load") -> BeforeValidator:
    def check(value: Any) -> Any:
        plugin = value if isinstance(value, Plugin) else Plugin.model_validate(value)
        plugins.check(shelf, plugin.name, plugin.options, function)
        return plugin

    return BeforeValidator(check)


SourcePlugin = Annotated[Plugin, _on("sources")]
RewardPlugin = Annotated[Plugin, _on("rewards")]
SaliencyPlugin = Annotated[Plugin, _on("saliency")]
PerturbationPlugin = Annotated[Plugin, _on("perturbations")]
JudgePlugin = Annotated[Plugin, _on("rewards", "judge")]
EditJudgePlugin = Annotated[Plugin, _on("rewards", "edit_judge")]
CriticPlugin = Annotated[Plugin, _on("critics")]
InstructorPlugin = Annotated[Plugin, _on("instructors")]


class Model(Options):
    """A model: a public base and ordered layers on top. In TOML: ``"tiny:base"`` or ``{ base = "...", layers = [...] }``."""

    base: str
    """Hub id (``owner/name@revision``), folder, single file, ``tiny:...``, a step of this run, or ``runs/<run>/<step>``."""
    layers: tuple[str, ...] = ()
    """LoRA files or folders, in order, each optionally with a strength: ``lora.safetensors:0.8``."""
    network_only: bool = False
    """Of LoRAs that also change the text encoders, which are refused otherwise: take the denoising network's part alone."""
    family: str = "auto"
    """``sd15``, ``sdxl``, ``sd35``; ``auto`` reads it from ``model_index.json``, or from the keys of a single file."""

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"base": value} if isinstance(value, str) else value
