"""The study's pages and static files. Files are a fixed list: no path is ever joined."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

STATIC = {"rater.js": "text/javascript", "research.js": "text/javascript", "style.css": "text/css", "icon.svg": "image/svg+xml"}


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("pairwright.study", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, **values: Any) -> str:
    """A page as HTML; everything that is put into it is escaped."""
    return _environment().get_template(name).render(**values)


@cache
def asset(name: str) -> bytes:
    """A static file: one of :data:`STATIC`."""
    return files("pairwright.study").joinpath("pages", name).read_bytes()
