"""What an audit finds, in words and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["problem", "note", "ok"]
_WIDTH = 100


@dataclass(frozen=True)
class Finding:
    """The answer of one check."""

    check: str
    """``sides``, ``gap``, ``duplicates``, ``overlap``, or a cue's name."""
    level: Level
    said: str
    """One or two sentences."""
    advice: str = ""
    """What to do."""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What it rests on, as plain JSON values."""
    examples: tuple[str, ...] = ()
    """A few pairs or texts."""


@dataclass(frozen=True)
class Audit:
    """All that was found about a set of pairs."""

    name: str
    pairs: int
    prompts: int
    """Different captions."""
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> int:
        """How many findings are problems."""
        return sum(each.level == "problem" for each in self.findings)

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "name": self.name,
            "pairs": self.pairs,
            "prompts": self.prompts,
            "problems": self.problems,
            "findings": [asdict(each) for each in self.findings],
        }

    def text(self) -> str:
        """As lines for a terminal."""
        count = f"{self.problems or 'no'} problem{'' if self.problems == 1 else 's'}"
        lines = [f"{self.name}: {self.pairs:,} pairs, {self.prompts:,} different captions; {count}", ""]
        for level in ("problem", "note", "ok"):
            for each in self.findings:
                if each.level == level:
                    lines += _lines(each)
        return "\n".join(lines)


def _lines(finding: Finding) -> list[str]:
    kept = finding.said.replace(" %", "\N{NO-BREAK SPACE}%")
    mark = {"problem": "PROBLEM", "note": "note", "ok": "ok"}[finding.level]
    said = textwrap.wrap(f"{finding.check}: {kept}", _WIDTH, initial_indent=f"{mark:<9}", subsequent_indent=" " * 9)
    if finding.level == "ok":
        return said
    shown = [f"e.g. {each}" for each in finding.examples]
    more = [finding.advice] if finding.advice else []
    for text in [*shown, *more]:
        said += textwrap.wrap(text, _WIDTH, initial_indent=" " * 9, subsequent_indent=" " * 9)
    return said
