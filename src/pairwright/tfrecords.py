"""TFRecord files and the ``tf.Example`` messages in them, read without TensorFlow.

A record is 8 bytes of length, 4 bytes of checksum of those, the content, and 4 bytes of checksum of the content, all little-endian;
the checksums are CRC32C, rotated, plus a constant. A ``tf.Example`` is a protobuf message: a map from names to lists of bytes,
of float32, or of int64. Files are somebody else's: every length is checked before it is believed, and a flipped bit is an error
that says where.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pairwright.errors import Explained

MOST_BYTES = 2**26
"""Of one record; larger ones are damage: no example with two heat maps comes near."""
Values = list[bytes] | list[float] | list[int]

_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
"""Protobuf's wire types."""
_HEAD, _TAIL = 12, 4
_VARINT_BYTES = 10


class TFRecordError(Explained, ValueError):
    """A file that is damaged or no TFRecord; the message names it and the place."""


def records(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every record with the byte at which it begins.

    Raises:
        TFRecordError: the file cannot be read, is cut, or a checksum does not fit.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while (start := file.tell()) < size:
                yield start, _record(file, path, size)
    except OSError as error:
        raise TFRecordError(f"{path} cannot be read: {error.strerror or error}") from error


def record(path: Path, start: int) -> bytes:
    """The record that begins at a byte which :func:`records` gave.

    Raises:
        TFRecordError: as :func:`records`.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            return _record(file, path, path.stat().st_size)
    except OSError as error:
        raise TFRecordError(f"{path} cannot be read: {error.strerror or error}") from error


def _record(file: BinaryIO, path: Path, size: int) -> bytes:
    start = file.tell()
    where = f"{path}, byte {start:,}"
    head = file.read(_HEAD)
    if len(head) < _HEAD or checksum(head[:8]) != int.from_bytes(head[8:], "little"):
        raise TFRecordError(f"{where}: no record begins here; the file is damaged or no TFRecord. Fetch it again")
    length = int.from_bytes(head[:8], "little")
    if length > min(MOST_BYTES, size - start - _HEAD - _TAIL):
        raise TFRecordError(f"{where}: a record of {length:,} bytes is longer than the file or than {MOST_BYTES:,}; it is cut")
    data, tail = file.read(length), file.read(_TAIL)
    if checksum(data) != int.from_bytes(tail, "little"):
        raise TFRecordError(f"{where}: the record's checksum does not fit; the file is damaged. Fetch it again")
    return data


def _table() -> tuple[int, ...]:
    rows = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)  # noqa: PLW2901 - eight steps of one division
        rows.append(value)
    return tuple(rows)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum, as of iSCSI (RFC 3720, B.4)."""
    table, value = _TABLE, 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def checksum(data: bytes) -> int:
    """As TFRecord stores it: rotated right by 15 bits, plus a constant."""
    value = crc32c(data)
    return ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF


def example(data: bytes) -> dict[str, Values]:
    """The lists of a ``tf.Example`` by name.

    Raises:
        TFRecordError: it is none.
    """
    found: dict[str, Values] = {}
    for features in _messages(data, 1):
        for entry in _messages(features, 1):
            (name, *_), (value, *_) = [*_messages(entry, 1), b""], [*_messages(entry, 2), b""]
            try:
                found[name.decode()] = _values(value)
            except UnicodeDecodeError as error:
                raise TFRecordError("a tf.Example with a name that is no text") from error
    return found


def _values(feature: bytes) -> Values:
    for number, kind, value in _fields(feature):
        if kind == _BYTES and isinstance(value, bytes):
            if number == 1:
                return list(_messages(value, 1))
            if number == 2:
                return _floats(value)
            if number == 3:
                return _integers(value)
    return []


def _floats(data: bytes) -> list[float]:
    found: list[float] = []
    for number, kind, value in _fields(data):
        if number == 1 and kind in {_BYTES, _FOUR} and isinstance(value, bytes):
            if len(value) % 4:
                raise TFRecordError("a tf.Example with a list of floats that is cut")
            found += struct.unpack(f"<{len(value) // 4}f", value)
    return found


def _integers(data: bytes) -> list[int]:
    found: list[int] = []
    for number, kind, value in _fields(data):
        if number != 1:
            continue
        if kind == _VARINT and isinstance(value, int):
            found.append(_signed(value))
        elif kind == _BYTES and isinstance(value, bytes):
            place = 0
            while place < len(value):
                each, place = _varint(value, place)
                found.append(_signed(each))
    return found


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _messages(data: bytes, wanted: int) -> Iterator[bytes]:
    """The content of every field of this number that holds bytes or a message."""
    for number, kind, value in _fields(data):
        if number == wanted and kind == _BYTES and isinstance(value, bytes):
            yield value


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes | int]]:
    """Number, wire type and content of every field."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield tag >> 3, kind, value
            continue
        if kind == _BYTES:
            length, place = _varint(data, place)
        elif kind in {_EIGHT, _FOUR}:
            length = 8 if kind == _EIGHT else 4
        else:
            raise TFRecordError(f"no tf.Example: there is no wire type {kind}")
        if length > len(data) - place:
            raise TFRecordError("no tf.Example: a field is longer than what is left")
        yield tag >> 3, kind, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(_VARINT_BYTES):
        if place + count >= len(data):
            break
        byte = data[place + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value & 2**64 - 1, place + count + 1
    raise TFRecordError("no tf.Example: a number is cut or has more than 64 bits")
