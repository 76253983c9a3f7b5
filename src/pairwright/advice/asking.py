"""What a vision model is asked as a critic and as an instructor.

A template is a file in ``templates/`` (or your own): TOML with ``system`` and ``question``, in which ``{prompt}`` stands for the
prompt as a JSON string. An instructor's has ``{critique}`` besides, ``alone`` for the one-step question without a critique, and
``maps``, the sentence about heat maps. Prompts and critiques go to the model as data: quoted, on one line, and cut.

The second paper's own templates are not public; these are ours. A template's name is its version and part of every pair.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pairwright.errors import Explained
from pairwright.records import Critique

FOLDER = Path(__file__).parent / "templates"
PROMPT = 2000
"""Characters of a prompt that are passed on: prompts have 77 tokens, and what is longer is not one."""
CRITIQUE = 1000
"""Characters of a critique that are passed on."""


class TemplateError(Explained, ValueError):
    """A template that is not there or not whole; the message names it."""


class Template(BaseModel):
    """What is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """As it stands in a pair's lineage: the shipped file's name, or your own file's with a digest of its content."""
    system: str = Field(min_length=1)
    question: str = Field(min_length=1)
    alone: str = ""
    maps: str = ""

    def of_critic(self, prompt: str) -> str:
        """The question about one prompt."""
        return self.question.strip().replace("{prompt}", quoted(prompt, PROMPT))

    def of_instructor(self, prompt: str, critique: Critique | None) -> str:
        """The question about one prompt and what a critic said; without a critique the one-step question."""
        told = self.maps.strip().replace("{names}", ", ".join(critique.maps)) + "\n" if critique and critique.maps else ""
        values = {"maps": told, "prompt": quoted(prompt, PROMPT), "critique": quoted(critique.text if critique else "", CRITIQUE)}
        text = self.question if critique else self.alone
        # In one pass: braces in a prompt or a critique are its own words.
        for name in values:
            text = text.replace(f"{{{name}}}", f"\x00{name}\x00")
        for name, value in values.items():
            text = text.replace(f"\x00{name}\x00", value)
        return text.strip()


def quoted(text: str, most: int) -> str:
    """A text as a JSON string on one line, cut at so many characters."""
    return json.dumps(text[:most], ensure_ascii=False)


def critic(name: str) -> Template:
    """A critic's template that ships, by its name, or your own ``.toml`` file.

    Raises:
        TemplateError: there is none, or something in it is missing or wrong.
    """
    return _load(name, ("question", "{prompt}"))


def instructor(name: str) -> Template:
    """An instructor's template, as :func:`critic`.

    Raises:
        TemplateError: as :func:`critic`.
    """
    return _load(name, ("question", "{prompt}"), ("question", "{critique}"), ("alone", "{prompt}"), ("maps", "{names}"))


def _load(name: str, *needed: tuple[str, str]) -> Template:
    own = name.endswith(".toml")
    path = Path(name).expanduser() if own else FOLDER / f"{name}.toml"
    try:
        content = path.read_bytes()
        called = f"{path.stem}@{hashlib.sha256(content).hexdigest()[:12]}" if own else name
        template = Template.model_validate({**tomllib.loads(content.decode()), "name": called})
    except OSError:
        known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.toml")))
        raise TemplateError(f"there is no template {name!r}. There are: {known}; or give a .toml file of your own") from None
    except ValidationError as error:
        said = error.errors()[0]
        raise TemplateError(f"template {path}: {said['loc'][0] if said['loc'] else ''} {said['msg']}") from error
    except ValueError as error:
        raise TemplateError(f"template {path}: {error}") from error
    for field, words in needed:
        if words not in getattr(template, field):
            raise TemplateError(f"template {path}: {field} must hold {words}")
    return template
