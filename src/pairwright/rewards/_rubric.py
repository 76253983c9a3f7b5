"""What a vision model behind a server is asked, and how its words are read.

A rubric is a file in ``rubrics/`` (or your own): TOML with ``system``, ``question`` (``{prompt}`` stands for the prompt as a JSON
string) and, for scores, ``column``, ``lowest`` and ``highest``; for edits, ``{instruction}`` besides. A prompt goes to the model as
data: quoted, on one line, and cut at :data:`PROMPT` characters.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pairwright import servers
from pairwright.errors import Explained
from pairwright.records import Unscored

FOLDER = Path(__file__).parent / "rubrics"
PROMPT = 2000
"""Characters of a prompt that are passed on: prompts have 77 tokens, and what is longer is not one."""
SHOWN = 80
_NUMBER = r"[\"'*\s]*[:=][\"'*\s]*(-?\d+(?:\.\d+)?)\b"
_PLACES = re.compile(r"\{prompt\}|\{instruction\}")
_WORDS = ("first", "second", "neither")


class RubricError(Explained, ValueError):
    """A rubric that is not there or not whole; the message names it."""


class Rubric(BaseModel):
    """What is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str = Field(min_length=1)
    question: str = Field(min_length=1)
    column: str = Field("openai", pattern=r"^[a-z][a-z0-9_]*$")
    lowest: int = 1
    highest: int = 10

    def text(self, prompt: str, instruction: str = "") -> str:
        """The question about one prompt, and about an instruction where it asks about one."""
        values = {"{prompt}": prompt, "{instruction}": instruction}
        # In one pass: braces in a prompt are its own words.
        return _PLACES.sub(lambda found: json.dumps(values[found[0]][:PROMPT], ensure_ascii=False), self.question.strip())


def load(name: str, *needed: str) -> Rubric:
    """A rubric that ships, by its name, or your own file. ``needed`` is what its question must hold besides the prompt.

    Raises:
        RubricError: there is none, or something in it is missing or wrong.
    """
    path = Path(name).expanduser() if name.endswith(".toml") else FOLDER / f"{name}.toml"
    known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.toml")))
    try:
        rubric = Rubric.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError:
        raise RubricError(f"there is no rubric {name!r}. There are: {known}; or give a .toml file of your own") from None
    except (ValueError, ValidationError) as error:
        said = error.errors()[0] if isinstance(error, ValidationError) else None
        raise RubricError(
            f"rubric {path}: {said['loc'][0] if said and said['loc'] else ''} {said['msg'] if said else error}"
        ) from error
    for each in ("{prompt}", *needed):
        if each not in rubric.question:
            raise RubricError(f"rubric {path}: question must hold {each}")
    if rubric.lowest >= rubric.highest:
        raise RubricError(f"rubric {path}: lowest ({rubric.lowest}) must be below highest ({rubric.highest})")
    return rubric


def schema(name: str, values: Iterable[int | str]) -> dict[str, Any]:
    """The JSON schema of an answer: a reason, and one of these values under ``name``."""
    allowed = list(values)
    kind = "integer" if isinstance(allowed[0], int) else "string"
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, name: {"type": kind, "enum": allowed}},
        "required": ["reason", name],
        "additionalProperties": False,
    }


def score(text: str, lowest: int, highest: int) -> float | Unscored:
    """The score in an answer. Two different ones are none: nobody can say which was meant."""
    objects = [each["score"] for each in servers.objects(text) if "score" in each]
    found = {_number(each) for each in objects} or {float(each) for each in re.findall(r"\bscore\b" + _NUMBER, text, re.IGNORECASE)}
    value = _single(found)
    if value is None:
        return Unscored(f"{'several scores' if found - {None} else 'no score'} in the answer: {_shown(text)}")
    return value if lowest <= value <= highest else Unscored(f"score {value:g} is outside {lowest} to {highest}")


def better(text: str) -> str | Unscored:
    """``first``, ``second`` or ``neither``."""
    found = {str(each["better"]).strip().lower() for each in servers.objects(text) if "better" in each}
    if not found:
        found = {
            each.lower() for each in re.findall(r"\bbetter\b[\"'*\s]*[:=][\"'*\s]*(first|second|neither)\b", text, re.IGNORECASE)
        }
    value = _single(found)
    return value if value in _WORDS else Unscored(f"no choice in the answer: {_shown(text)}")


def _single(found: set[Any]) -> Any:
    return next(iter(found)) if len(found) == 1 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= SHOWN else f"{line[:SHOWN]}...")
