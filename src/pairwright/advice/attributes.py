"""What a prompt asks for, attribute by attribute, and sentences about what is missing: for critics without a language model.

A prompt is cut at commas and small words into phrases; a phrase is an object with, perhaps, a count and a colour. That serves
prompts such as ``a photo of three red roses`` and reads no relation, no verb and no style. Phrases about the picture itself
(``a close-up``, ``on a dark background``) are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pairwright.records import Failed

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey")
NUMBERS = ("one", "two", "three", "four", "five", "six")
"""Counts that a scorer may be asked about; 1 is the first."""
OBJECT_WORDS = 3
"""Longest name of an object: the last so many words of its phrase."""

_SPELLED = {"gray": "grey", "violet": "purple", "golden": "yellow"}
_CUT = re.compile(
    r"[,;.:!?()]|\b(?:and|or|with|without|on|in|at|of|near|by|from|to|over|under|above|below|behind|beside|beneath|between|inside|"
    r"next|against|around|while|that|which|is|are)\b"
)
_ARTICLES = frozenset({"a", "an", "the", "some", "its", "his", "her", "their", "one", "single"})
_CARRIERS = frozenset(
    {"photo", "photos", "photograph", "picture", "image", "painting", "drawing", "close-up", "closeup", "shot", "view", "front",
     "background", "foreground"}
)  # fmt: skip
_WORD = re.compile(r"[a-z0-9][a-z0-9'-]*")


@dataclass(frozen=True)
class Asked:
    """One thing that a prompt asks for."""

    object: str
    """Its name as the prompt has it, plural where there are several."""
    colour: str = ""
    count: int = 0
    """From 2 on; 0: the prompt names none."""

    def named(self, *, colour: str = "", count: int = 0) -> str:
        """The object in words: ``a rose``, ``a red rose``, ``three roses``."""
        words = f"{colour} {self.object}".strip()
        if count == 1:
            return f"one {singular(words)}"
        return f"{NUMBERS[count - 1]} {words}" if count else with_article(words)


@dataclass(frozen=True)
class Fault:
    """One thing that a picture lacks, and what seems to be there instead (``""``: nothing known)."""

    asked: Asked
    kind: str
    """``object``, ``count`` or ``colour``: what matters most first."""
    instead: str = ""

    def sentence(self) -> str:
        """The fault in words, as :func:`faults` reads them."""
        name, instead = self.asked.object, self.instead
        be = "are" if _plural(name) else "is"
        if self.kind == "object":
            return f"There {be} no {name}{f', it looks like {instead}' if instead else ''}."
        if self.kind == "count":
            return f"There are not {NUMBERS[self.asked.count - 1]} {name}{f', it looks like {instead}' if instead else ''}."
        return f"The {name} {be} not {self.asked.colour}{f', it looks {instead}' if instead else ''}."

    def instruction(self) -> str:
        """What to change."""
        name = self.asked.object
        if self.kind == "object":
            return f"turn {_definite(self.instead)} into {with_article(name)}" if self.instead else f"add {with_article(name)}"
        if self.kind == "count":
            return f"show {NUMBERS[self.asked.count - 1]} {name}"
        return f"make the {name} {self.asked.colour}"


KINDS = ("object", "count", "colour")
_OBJECT = re.compile(r"There (?:is|are) no (?P<object>[^,.]+)(?:, it looks like (?P<instead>[^,.]+))?\.")
_COUNT = re.compile(rf"There are not (?P<count>{'|'.join(NUMBERS)}) (?P<object>[^,.]+)(?:, it looks like (?P<instead>[^,.]+))?\.")
_COLOUR = re.compile(rf"The (?P<object>[^,.]+) (?:is|are) not (?P<colour>{'|'.join(COLOURS)})(?:, it looks (?P<instead>[^,.]+))?\.")


def asked(prompt: str) -> list[Asked]:
    """The objects of a prompt, in its order, each with its count and its last colour where the prompt names them."""
    found: list[Asked] = []
    colour, count = "", 0
    for phrase in _CUT.split(prompt.lower()):
        left: list[str] = []
        words = _WORD.findall(phrase)
        if not _CARRIERS.isdisjoint(words):
            colour, count = "", 0
            continue
        for word in words:
            known = _SPELLED.get(word, word)
            if known in COLOURS:
                colour = known
            elif word in NUMBERS[1:] or (word.isdigit() and 2 <= int(word) <= len(NUMBERS)):
                count = int(word) if word.isdigit() else NUMBERS.index(word) + 1
            elif word not in _ARTICLES:
                left.append(word)
        if left:  # else a colour waits for its object: "a red and white rose"
            found.append(Asked(" ".join(left[-OBJECT_WORDS:]), colour, count))
            colour, count = "", 0
    return list(dict.fromkeys(found))


def faults(critique: str) -> list[Fault]:
    """The faults that a critique names in this module's own sentences, in its order."""
    found: list[tuple[int, Fault]] = []
    for kind, pattern in zip(KINDS, (_OBJECT, _COUNT, _COLOUR), strict=True):
        for match in pattern.finditer(critique):
            said = match.groupdict()
            count = NUMBERS.index(said["count"]) + 1 if said.get("count") else 0
            found.append(
                (match.start(), Fault(Asked(said["object"], said.get("colour") or "", count), kind, said["instead"] or ""))
            )
    return [fault for _, fault in sorted(found, key=lambda each: each[0])]


def instruction(critique: str, most: int) -> str | Failed:
    """What to change, out of the first faults of a critique."""
    found = faults(critique)[:most]
    return ", ".join(each.instruction() for each in found) if found else Failed("no sentence of the critique names an attribute")


def with_article(words: str) -> str:
    """``a rose``, ``an orange``, ``roses``."""
    return words if _plural(words) else f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def singular(words: str) -> str:
    """The plain English singular of a plural: ``red roses`` -> ``red rose``."""
    for ending, instead in (
        ("ies", "y"),
        ("sses", "ss"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("xes", "x"),
        ("ss", "ss"),
        ("us", "us"),
        ("is", "is"),
        ("s", ""),
    ):
        if words.endswith(ending):
            return words.removesuffix(ending) + instead
    return words


def _plural(words: str) -> bool:
    return words.endswith("s") and not words.endswith(("ss", "us", "is"))


def _definite(words: str) -> str:
    first, _, rest = words.partition(" ")
    return f"the {rest if first in {'a', 'an'} and rest else words}"


def ordered(found: Sequence[tuple[Fault, float]]) -> list[Fault]:
    """What matters most first: by kind, then by how much is missing."""
    return [fault for fault, _ in sorted(found, key=lambda each: (KINDS.index(each[0].kind), -each[1]))]
