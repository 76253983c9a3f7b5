"""The text cleaning of open_clip's tokenizer, which HPSv2 was trained and published with: ``cleaned``.

There it is ``ftfy.fix_text``, ``html.unescape`` twice, white space to single blanks, lower case. ftfy is not needed here:
all of its steps but one are tables of characters that are written down below, after its documentation (ftfy 6.3). The one
that is missing is the repair of mojibake ("donâ€™t" for "don't"): such a text is scored as it stands, and its score
differs from the published code's. A test compares both where ftfy is installed.
"""

from __future__ import annotations

import html
import html.entities
import re
import unicodedata

_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_TERMINAL = re.compile(r"\x1b\[[\d;]*[a-zA-Z]")
_SURROGATE = re.compile("[\ud800-\udfff]")

_QUOTES = {**dict.fromkeys((0x02BC, *range(0x2018, 0x201C)), "'"), **dict.fromkeys(range(0x201C, 0x2020), '"')}
_LIGATURES = {
    **{ord(single): unicodedata.normalize("NFKC", single) for single in "ĲĳŉǄǅǆǇǈǉǊǋǌǱǲǳﬀﬁﬂﬃﬄﬆ"},
    ord("ﬅ"): "\u017ft",  # long s and t; NFKC would go on to a plain s
}
_WIDTHS = {code: unicodedata.normalize("NFKC", chr(code)) for code in (0x3000, *range(0xFF01, 0xFFF0))}
_CONTROLS = dict.fromkeys(
    (*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)), ""
)
_CHARACTERS = {**_WIDTHS, **_LIGATURES, **_QUOTES}


def cleaned(text: str) -> str:
    """A prompt as open_clip's tokenizer sees it: no entities, plain quotes, single blanks, lower case."""
    plain = html.unescape(html.unescape(_fixed(text)))
    return re.sub(r"\s+", " ", plain).strip().lower()


def _fixed(text: str) -> str:
    """``ftfy.fix_text`` without its repair of mojibake.

    From the first line on that has a ``<`` in it, entities may be meant as such and stay.
    """
    lines, entities = [], True
    for line in re.split(r"(?<=\n)", text):
        entities = entities and "<" not in line
        lines.append(_settled(line, entities=entities))
    return "".join(lines)


def _settled(text: str, *, entities: bool) -> str:
    before = None
    while text != before:
        before = text
        if entities:
            text = _ENTITY.sub(_character, text)
        text = text.translate(_CHARACTERS)
        if _SURROGATE.search(text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = unicodedata.normalize("NFC", _TERMINAL.sub("", text).translate(_CONTROLS))
    return text


def _character(match: re.Match[str]) -> str:
    entity = match.group()
    known = html.entities.html5.get(entity[1:])
    if known is None and entity.isupper():
        # "&EACUTE;" is meant as "&Eacute;", unless HTML knows it as something else.
        small = html.entities.html5.get(entity[1:].lower())
        known = small.upper() if small and html.unescape(entity) == entity else None
    if known is None and entity.startswith("&#"):
        number = html.unescape(entity)
        known = None if ";" in number else number
    return entity if known is None else known
