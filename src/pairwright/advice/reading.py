"""How a critic's and an instructor's words are read. What cannot be read is a reason, and no answer outgrows its limit.

Lengths are limited in words and characters, not in tokens: which tokenizer counts is the editor's affair. :data:`WORDS` leaves room
for a prompt beside the instruction in CLIP's 77 tokens, and editors read what is longer in pieces.
"""

from __future__ import annotations

import re
import unicodedata

from pairwright import servers
from pairwright.records import Failed

CRITIQUE_LETTERS = 1000
"""A longer critique is cut at the end of a sentence."""
WORDS = 25
"""An instruction with more of them is none: cut, it could say the opposite."""
LETTERS = 200
SHOWN = 80
SCHEMA = {
    "type": "object",
    "properties": {"instruction": {"type": "string"}},
    "required": ["instruction"],
    "additionalProperties": False,
}
"""Of an instructor's answer, for servers that have structured output."""

NOTHING = "nothing to change"
_NOTHING = re.compile(r"(nothing|none|no changes?( (is |are )?(needed|required|necessary))?|n/a)[.!]*", re.IGNORECASE)
_REFUSED = re.compile(r"(i'?m sorry|i am sorry|sorry,|i can(no|')t\b|i am unable|i'?m unable|as an ai\b)", re.IGNORECASE)
_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.IGNORECASE | re.DOTALL)
_NAMED = re.compile(r"\binstruction\b[\"'*\s]*[:=]\s*(.+)", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def critique(answer: str) -> str | Failed:
    """What a critic said, on one line and within :data:`CRITIQUE_LETTERS`; :data:`NOTHING` where it found no fault."""
    text = _plain(_THOUGHTS.sub(" ", answer))
    if not text:
        return Failed("the critique is empty")
    if _REFUSED.match(text):
        return Failed(f"the critic refused: {shown(text)}")
    if _NOTHING.fullmatch(text):
        return NOTHING
    return text if len(text) <= CRITIQUE_LETTERS else _sentences(text, CRITIQUE_LETTERS)


def instruction(answer: str) -> str | Failed:
    """The instruction in an answer: of a JSON object, after the word ``instruction``, or else the answer itself.

    Two different ones are none: nobody can say which was meant.
    """
    answer = _THOUGHTS.sub(" ", answer).strip()
    said = {_plain(each["instruction"]) for each in servers.objects(answer) if isinstance(each.get("instruction"), str)}
    if not said and "{" not in answer:
        said = {_plain(each) for each in _NAMED.findall(answer)} or {_plain(answer)}
    if len(said) != 1:
        return Failed(f"{'several instructions' if said else 'no instruction'} in the answer: {shown(answer)}")
    return _fitting(said.pop())


def shown(text: str) -> str:
    """The beginning of a text, as a reason shows it."""
    line = _plain(text)
    return repr(line if len(line) <= SHOWN else f"{line[:SHOWN]}...")


def _fitting(text: str) -> str | Failed:
    if not text or _NOTHING.fullmatch(text):
        return Failed(NOTHING)
    if _REFUSED.match(text):
        return Failed(f"the instructor refused: {shown(text)}")
    first = _SENTENCE.split(text)[0]
    text = text if _short(text) else first
    if not _short(text):
        return Failed(f"the instruction is longer than {WORDS} words or {LETTERS} characters: {shown(text)}")
    return text.rstrip(".! ")


def _short(text: str) -> bool:
    return len(text.split()) <= WORDS and len(text) <= LETTERS


def _plain(text: str) -> str:
    """On one line, without what cannot be seen and without the quotes, fences and bullets that models write around it."""
    line = " ".join("".join(each if unicodedata.category(each)[0] != "C" else " " for each in text).split())
    line = line.strip("`*_#- ")
    return line[1:-1].strip() if len(line) > 1 and line[0] == line[-1] and line[0] in "\"'" else line


def _sentences(text: str, most: int) -> str:
    kept = ""
    for each in _SENTENCE.split(text):
        if len(kept) + len(each) + 1 > most:
            break
        kept = f"{kept} {each}".strip()
    return kept or text[:most]
