"""LLaMA's tokenizer out of its published ``tokenizer.model``, without the library that wrote it.

The file is a serialized protocol buffer of SentencePiece (Kudo and Richardson 2018, arXiv 1808.06226): pieces with scores.
Texts are cut by byte pair encoding: beginning with single characters, the two neighbours whose union is the piece of the
highest score become one, the first of them where several are, until none is left. A character that is no piece is
written as the bytes of its UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pairwright.weights import WeightsError

SPACE = "\u2581"
"""Stands for a blank in a piece; one more is put before every text."""
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_BPE = 2
_VARINT, _EIGHT_BYTES, _COUNTED, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of a tokenizer."""

    pieces: Mapping[str, tuple[int, float]]
    """What a text is made of: number and score."""
    control: Mapping[str, int]
    """``<s>``, ``</s>`` and the like, which no text spells."""
    letters: Mapping[int, int]
    """Of the 256 bytes, for what is not in ``pieces``."""
    size: int

    def encode(self, text: str) -> list[int]:
        """The numbers of a text, nothing before and nothing after it."""
        parts = list(SPACE + text.replace(" ", SPACE)) if text else []
        while True:
            joined = [one + two for one, two in pairwise(parts)]
            unions = [(self.pieces[each][1], -place) for place, each in enumerate(joined) if each in self.pieces]
            if not unions:
                return [number for part in parts for number in self._numbers(part)]
            place = -max(unions)[1]
            parts[place : place + 2] = [joined[place]]

    def _numbers(self, part: str) -> list[int]:
        return [self.pieces[part][0]] if part in self.pieces else [self.letters[byte] for byte in part.encode()]


def read(path: Path) -> Vocabulary:
    """The vocabulary in a ``tokenizer.model``.

    Raises:
        WeightsError: there is none, it cannot be read, or it is of another kind than LLaMA's.
    """
    if not path.is_file():
        raise WeightsError(f"{path.parent} has no {path.name}")
    try:
        fields = list(_fields(path.read_bytes()))
        entries = [_piece(value) for name, value in fields if name == 1 and isinstance(value, bytes)]
        trainer, normalizer = ({k: v for each in _all(fields, name) for k, v in _fields(each)} for name in (2, 3))
    except (ValueError, IndexError, struct.error) as error:
        raise WeightsError(f"{path} cannot be read as a tokenizer of SentencePiece: {error}") from error
    vocabulary = _vocabulary(entries)
    # Character maps, blanks that are dropped and a unigram model would all cut texts in another way.
    plain = trainer.get(3) == _BPE and not normalizer.get(2) and normalizer.get(3, 1) and normalizer.get(4, 1) == 0
    if not plain or len(vocabulary.letters) != 256:
        raise WeightsError(f"{path} is not LLaMA's tokenizer: byte pairs, texts as they are, and a piece for every byte")
    return vocabulary


def _vocabulary(entries: list[tuple[str, float, int]]) -> Vocabulary:
    numbered = list(enumerate(entries))
    return Vocabulary(
        pieces={piece: (number, score) for number, (piece, score, kind) in numbered if kind in {_NORMAL, _USER}},
        control={piece: number for number, (piece, _, kind) in numbered if kind in {_CONTROL, _UNKNOWN}},
        letters={int(piece[3:-1], 16): number for number, (piece, _, kind) in numbered if kind == _BYTE},
        size=len(entries),
    )


def _all(fields: list[tuple[int, int | bytes]], wanted: int) -> list[bytes]:
    return [value for name, value in fields if name == wanted and isinstance(value, bytes)]


def _piece(message: bytes) -> tuple[str, float, int]:
    fields = dict(_fields(message))
    piece, score, kind = fields.get(1, b""), fields.get(2, b"\0\0\0\0"), fields.get(3, _NORMAL)
    if not isinstance(piece, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
        raise ValueError("a piece is not one")  # noqa: TRY004 - the file is wrong, not the caller
    return piece.decode(), struct.unpack("<f", score)[0], kind


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field of a serialized message, in order."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield tag >> 3, value
            continue
        if kind == _COUNTED:
            length, place = _varint(message, place)
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"no field begins at byte {place}")
        if place + length > len(message):
            raise ValueError("it ends too early")
        yield tag >> 3, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
