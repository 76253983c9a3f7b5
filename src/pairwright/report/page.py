"""What every page of ours has: one file with its own style and script, which reaches for no network, and everything escaped."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pairwright import __version__, wording
from pairwright.report.gather import Step

_LIBRARIES = ("torch", "diffusers", "transformers", "peft", "numpy", "pillow", "pyarrow")


def fill(template: str, **content: Any) -> str:
    """A template with its content, its style, its script, and the script's digest for the content security policy."""
    script, style = _asset("script.js"), _asset("style.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            versions=_versions(),
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            script=Markup(script),  # noqa: S704 - our own file, not input
            style=Markup(style),  # noqa: S704 - our own file, not input
            script_digest=digest,
            **content,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pairwright.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["waiting"] = waiting
    environment.filters |= {
        "typeset": typeset,
        "thousands": lambda count: f"{count:,}",
        "duration": wording.duration,
        "options": flat,
    }
    return environment


def typeset(text: str) -> str:
    """Our own words with a true minus before numbers and no line break before a percent sign. Not for what users wrote."""
    return re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", text).replace(" %", "\N{NO-BREAK SPACE}%")


def _asset(name: str) -> str:
    return files("pairwright.report").joinpath("template", name).read_text(encoding="utf-8")


def flat(options: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested options as lines of ``name, value``."""
    lines: list[tuple[str, str]] = []
    for name, value in options.items():
        if isinstance(value, Mapping) and value:
            lines += flat(value, f"{prefix}{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(each, Mapping) for each in value):
            lines += [line for index, each in enumerate(value) for line in flat({str(index): each}, f"{prefix}{name}.")]
        else:
            lines.append((f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return lines


def _versions() -> list[tuple[str, str]]:
    found = [("pairwright", __version__)]
    for name in _LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def waiting(steps: Sequence[Step]) -> str:
    """What is said where a part is missing: which step it waits for, and how that stands."""
    said = [f"{step.name} is {step.state}" for step in steps if step.state != "complete"]
    return (
        f"Not yet: {', '.join(said)}." if said else "Not there: the result was removed from the store. Run again to have it back."
    )
