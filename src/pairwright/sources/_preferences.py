"""The forms in which tables hold preferences, recognised by their columns."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pairwright.records import Rejected
from pairwright.sources._errors import SourceError
from pairwright.sources._records import Record, cell

PROMPTS = ("prompt", "caption", "text")
KEPT = ("license", "author", "source", "confidence", "ranking_id", "user_id")
"""Columns that go into a pair's lineage as they are."""


@dataclass(frozen=True)
class Form:
    """Which columns hold the two pictures, and which numbers say who won."""

    first: str
    second: str
    numbers: tuple[str, str] | None = None
    """The larger one wins, equal ones are a tie; None: the first column is the winner's."""
    called: str = ""
    """What those numbers are in the lineage: ``score`` gives ``winner_score`` and ``loser_score``."""
    named: bool = False
    """The columns name the winner themselves; numbers may be absent and must agree."""
    about: tuple[tuple[str, str, str], ...] = ()
    """What else is known of each side: its name in the lineage, the first one's column, the second one's."""

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns without which it is not this form."""
        return (self.first, self.second, *(() if self.named or self.numbers is None else self.numbers))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read of it, where it is there."""
        return (
            *dict.fromkeys([
                *PROMPTS, self.first, self.second, *(self.numbers or ()), *(each for row in self.about for each in row[1:]),
                *KEPT, "mask", "lineage", "has_label",
            ]),
        )  # fmt: skip

    def record(self, name: str, row: Mapping[str, Any]) -> Record | Rejected:
        """The preference in a row; a row without one is rejected with the reason."""
        numbers = self._numbers(row)
        if row.get("has_label") is False or (numbers is None and self.numbers is not None and not self.named):
            return Rejected(name, "label", "nobody has said which picture is better")
        first_wins = True
        if numbers is not None:
            if numbers[0] == numbers[1]:
                return Rejected(name, "tie", "both pictures were found equally good")
            first_wins = numbers[0] > numbers[1]
            if self.named and not first_wins:
                assert self.numbers is not None
                return Rejected(name, "label", f"{self.numbers[0]} is below {self.numbers[1]}, so the winner is in doubt")
        sides = (self.first, self.second) if first_wins else (self.second, self.first)
        mask = cell(row.get("mask"))
        return Record(
            name,
            text(row, PROMPTS),
            cell(row[sides[0]]),
            cell(row[sides[1]]),
            dict(self._lineage(row, numbers, first_wins=first_wins)),
            mask if isinstance(mask, bytes) else None,
        )

    def _numbers(self, row: Mapping[str, Any]) -> tuple[float, float] | None:
        if self.numbers is None:
            return None
        first, second = (number(row.get(name)) for name in self.numbers)
        return None if first is None or second is None else (first, second)

    def _lineage(
        self, row: Mapping[str, Any], numbers: tuple[float, float] | None, *, first_wins: bool
    ) -> Iterator[tuple[str, object]]:
        yield from told(row.get("lineage")).items()
        yield from ((name, row[name]) for name in KEPT if row.get(name) not in (None, ""))
        for name, *columns in self.about:
            values = [row.get(column) for column in (columns if first_wins else columns[::-1])]
            yield from ((f"{side}_{name}", value) for side, value in zip(("winner", "loser"), values, strict=True) if value)
        if numbers and self.called:
            yield f"winner_{self.called}", max(numbers)
            yield f"loser_{self.called}", min(numbers)
            if self.called == "score":
                yield "gap", max(numbers) - min(numbers)


PICKAPIC = Form(
    "jpg_0", "jpg_1", ("label_0", "label_1"), about=(("model", "model_0", "model_1"), ("uid", "image_0_uid", "image_1_uid"))
)
FORMS = (
    PICKAPIC,
    Form("winner", "loser", named=True),
    Form("chosen", "rejected", named=True),
    Form("image1", "image2", ("votes_image1", "votes_image2"), "votes"),
    Form("img_win", "img_lose", ("win_score", "lose_score"), "score", named=True),
    Form("win_image_path", "lose_image_path", named=True),
    Form("real_image_path", "fake_image_path", named=True),
)
"""Pick-a-Pic, pairwright's own, TRL's, votes, scores, and the first paper's two tables."""


def find(columns: Collection[str]) -> Form | None:
    """The form of a table whose columns of pictures are there."""
    return next((form for form in FORMS if {form.first, form.second} <= set(columns)), None)


def form(columns: Collection[str], where: str) -> Form:
    """The form of a table.

    Raises:
        SourceError: it is none, or a column of it is missing; the message names it and those that are there.
    """
    found = find(columns)
    if found is None:
        forms = ", ".join(f"{each.first}/{each.second}" for each in FORMS)
        raise SourceError(f"{where} has no two columns of pictures of a pair ({forms}); it has: {', '.join(columns) or 'none'}")
    require(columns, found.needed, where)
    if not set(PROMPTS) & set(columns):
        raise SourceError(f"{where} has no column of prompts ({', '.join(PROMPTS)}); it has: {', '.join(columns)}")
    return found


def require(columns: Collection[str], needed: Collection[str], where: str) -> None:
    """Raises :class:`SourceError` that names the columns that are missing and those that are there."""
    missing = [name for name in needed if name not in columns]
    if missing:
        said = f"column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}"
        raise SourceError(f"{where} lacks the {said}; it has: {', '.join(columns) or 'none'}")


def text(row: Mapping[str, Any], names: Collection[str]) -> str:
    """The first of these columns that holds text, stripped; ``""`` where none does."""
    found = (row.get(name) for name in names)
    return next((value.strip() for value in found if isinstance(value, str) and value.strip()), "")


def number(value: Any) -> float | None:
    """A finite number, also where a table holds it as text; None where there is none."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if abs(found) < float("inf") else None


def told(value: Any) -> dict[str, object]:
    """The lineage that an earlier export of ours wrote, or nothing."""
    try:
        found = json.loads(value) if isinstance(value, str) else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
