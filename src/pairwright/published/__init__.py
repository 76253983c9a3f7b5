"""Numbers that papers print, as data files with their sources, to be shown beside what is measured here and never among it.

A file (``<name>.toml`` in this folder, or one of your own) says paper, table, setting and source once, and a table per row::

    paper = "arXiv 2605.19839"
    what = "Figure 8"
    setting = "SD-1.5, both stages, prompts of Pick-a-Pic v2"
    source = "the authors' notebook ..."
    baseline = "base"          # gains are counted from this row

    [rows.512]
    pickscore = 21.04

What of a table is not at hand is left out, and ``missing`` says so: nothing here is guessed.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from pairwright.errors import Explained
from pairwright.options import Options
from pairwright.suggestions import explain, hint

_FOLDER = Path(__file__).parent


class PublishedError(Explained, ValueError):
    """A file of published numbers that cannot be read; the message names file and field."""


class Published(Options):
    """One table or figure of a paper."""

    paper: str
    """Where it was published."""
    what: str
    """Which table or figure."""
    setting: str
    """What was measured, on what."""
    source: str = ""
    """Where these numbers were read."""
    missing: str = ""
    """What the paper shows and is not here."""
    baseline: str | None = None
    """The row that gains are counted from."""
    rows: dict[str, dict[str, float]] = Field(default_factory=dict)
    """By row: values by column of scores, in the paper's units."""

    @property
    def metrics(self) -> list[str]:
        """The columns that at least one row has, in order."""
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))

    @property
    def heading(self) -> str:
        """What a reader must know before these numbers."""
        return f"Published, not measured here: {self.paper}, {self.what} ({self.setting})"


def shipped() -> dict[str, Path]:
    """The files that come with the package, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def find(name: str) -> Published:
    """The numbers of that name: shipped, or a file.

    Raises:
        PublishedError: there is none, or it is not of the form above.
    """
    known = shipped()
    path = known.get(name, Path(name))
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise PublishedError(f"published = {name!r}: neither a file nor among those that ship." + hint(name, known)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PublishedError(f"{path}: not valid TOML: {error}") from error
    try:
        found = Published.model_validate(said)
    except ValidationError as error:
        raise PublishedError("\n".join(explain(each, Published, str(path)) for each in error.errors())) from error
    if found.baseline is not None and found.baseline not in found.rows:
        raise PublishedError(f"{path}: baseline: there is no row {found.baseline!r}." + hint(found.baseline, found.rows))
    return found
