"""LLaMA's tokenizer: the file byte by byte, the merging by hand."""

from __future__ import annotations

import pytest

from pairwright.rewards import _sentencepiece
from pairwright.weights import WeightsError
from tests.miniatures import deqa

BYTES = [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
PIECES = [("ab", -2.0), ("bc", -1.0), ("abc", -3.0), ("aa", -4.0), ("\u2581", -5.0), *((letter, -9.0) for letter in "abc")]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    entries = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), *BYTES, *((piece, score, 1) for piece, score in PIECES)]
    return _sentencepiece.read(deqa.write_tokenizer(tmp_path_factory.mktemp("words"), entries=entries) / "tokenizer.model")


def named(vocabulary: _sentencepiece.Vocabulary, text: str) -> list[str]:
    names = {number: piece for piece, (number, _) in vocabulary.pieces.items()}
    names |= {number: f"{byte:02x}" for byte, number in vocabulary.letters.items()}
    return [names[number] for number in vocabulary.encode(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a", ["\u2581", "a"]),
        ("abc", ["\u2581", "abc"]),  # bc first, whose score is higher, then a with it
        ("abb", ["\u2581", "ab", "b"]),
        ("aaa", ["\u2581", "aa", "a"]),  # of equals the first
        ("ab  c", ["\u2581", "ab", "\u2581", "\u2581", "c"]),
        ("a\nb", ["\u2581", "a", "0a", "b"]),
        ("é<s>", ["\u2581", "c3", "a9", "3c", "73", "3e"]),  # control tokens are not spelled
    ],
)
def test_the_union_of_the_highest_score_comes_first_and_the_rest_is_bytes(vocabulary, text, expected):
    assert named(vocabulary, text) == expected


def test_numbers_are_places_in_the_file_and_scores_are_its_floats(vocabulary):
    assert vocabulary.size == 258 + len(PIECES)
    assert vocabulary.control == {"<unk>": 0, "<s>": 1}
    assert vocabulary.letters[255] == 257
    assert vocabulary.pieces["abc"] == (260, -3.0)


def test_other_tokenizers_and_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"has no tokenizer\.model"):
        _sentencepiece.read(tmp_path / "tokenizer.model")
    for changes in ({"kind": 1}, {"blanks": 1}, {"entries": BYTES[1:]}):
        path = deqa.write_tokenizer(tmp_path, **changes) / "tokenizer.model"
        with pytest.raises(WeightsError, match="is not LLaMA's tokenizer"):
            _sentencepiece.read(path)
    for content in (path.read_bytes()[:-3], b"\x0b\x00", b"\x0a", b"\x0a\x02\x0a\xff", b"\xff" * 4):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="cannot be read as a tokenizer"):
            _sentencepiece.read(path)
