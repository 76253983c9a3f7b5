"""The cleaning of open_clip's tokenizer, case by case."""
# ruff: noqa: RUF001 - characters that look like others are what is cleaned

from __future__ import annotations

import random

import pytest

from pairwright.rewards import _text

CASES = {
    "A Red  ROSE\n on\tgrass ": "a red rose on grass",
    "salt &amp; pepper": "salt & pepper",
    "&amp;amp;amp;lt;": "<",
    "P&EACUTE;REZ": "pérez",
    "&copy of a": "© of a",
    "&bogus; &#xD800; &#39;": "&bogus; \ufffd '",
    # From the first line with a "<" on, only the two plain rounds of unescaping are left, and quotes in entities stay curled.
    "a <b> &rsquo; &amp;amp;amp;": "a <b> ’ &amp;",
    "&amp;amp;amp;\n<\n&amp;amp;amp;": "& < &amp;",
    "it’s “HERE”, ‛so‟": 'it\'s "here", \'so"',
    "ﬁve ﬂoﬃces, Ĳ": "five floffices, ij",
    "ＦＵＬＬ　ｗｉｄｔｈ": "full width",
    "cafe\u0301": "café",
    "\x1b[31mred\x1b[0m": "red",
    "a\x00b\ufeffc": "abc",
    "\ud83c\udf39 \ud83c": "🌹 \ufffd",
    "": "",
}


@pytest.mark.parametrize(("raw", "clean"), CASES.items())
def test_a_text_is_cleaned(raw, clean):
    assert _text.cleaned(raw) == clean


def test_what_is_clean_stays():
    for clean in CASES.values():
        if "&" not in clean and "’" not in clean:
            assert _text.cleaned(clean) == clean


def test_it_is_what_ftfy_makes_of_text_without_mojibake():
    ftfy = pytest.importorskip("ftfy", reason="ftfy is not installed")
    import html
    import re

    draw = random.Random(0)
    parts = [*CASES, "a rose", "don", "t", "<", "&", ";", " ", "\n", "é", "漢字", "ﾀ", "—", "\u2028", "\u200b", "🌹", "ŉ", "&nbsp;"]
    compared = 0
    for _ in range(2000):
        text = "".join(draw.choice(parts) for _ in range(draw.randint(1, 6)))
        if ftfy.fix_text(text) != ftfy.fix_text(text, fix_encoding=False):
            continue
        published = re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip().lower()
        assert _text.cleaned(text) == published
        compared += 1
    assert compared > 1500
