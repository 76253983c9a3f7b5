"""RichHF-18K's TFRecord files, written by hand in the true format: framing with checksums, and protobuf's wire format."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def varint(value: int) -> bytes:
    """Seven bits at a time, the low ones first."""
    value %= 2**64
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    """A field that holds bytes or a message."""
    return varint(number * 8 + 2) + varint(len(content)) + content


def feature(value: bytes | str | float | Sequence[int], *, packed: bool = True) -> bytes:
    """One ``tf.train.Feature``: a list of bytes, of floats or of integers."""
    if isinstance(value, bytes | str):
        return field(1, field(1, value.encode() if isinstance(value, str) else value))
    if isinstance(value, float):
        number = struct.pack("<f", value)
        return field(2, field(1, number) if packed else varint(1 * 8 + 5) + number)
    each = [varint(number) for number in value]
    return field(3, field(1, b"".join(each)) if packed else b"".join(varint(8) + one for one in each))


def example(values: Mapping[str, bytes | str | float | Sequence[int]], *, packed: bool = True) -> bytes:
    """One ``tf.train.Example``."""
    entries = (field(1, name.encode()) + field(2, feature(value, packed=packed)) for name, value in values.items())
    return field(1, b"".join(field(1, entry) for entry in entries))


def masked(data: bytes) -> bytes:
    """The checksum as stored, by long division: bit for bit, with no table."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder // 2 ^ (0x82F63B78 * (remainder % 2))
    value = remainder ^ 0xFFFFFFFF
    return struct.pack("<I", ((value // 2**15 + value * 2**17 % 2**32) + 0xA282EAD8) % 2**32)


def framed(data: bytes) -> bytes:
    """One record."""
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def write(path: Path, examples: Sequence[bytes]) -> Path:
    """A file of records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(framed(each) for each in examples))
    return path


def heat(top: float = 0.0, bottom: float = 0.0, left: float = 0.0, right: float = 0.0, side: int = 48) -> bytes:
    """A map, hot (255) in a rectangle given in shares of the side: rows ``top..bottom``, columns ``left..right``; as PNG."""
    grey = np.zeros((side, side), dtype=np.uint8)
    grey[round(top * side) : round(bottom * side), round(left * side) : round(right * side)] = 255
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG")
    return stream.getvalue()


def row(uid: str, label: str, artifact: bytes = b"", misalignment: bytes = b"", **changes: bytes | str | float) -> bytes:
    """One record of RichHF-18K."""
    values: dict[str, bytes | str | float | Sequence[int]] = {
        "aesthetics_score": 0.75,
        "artifact_map": artifact or heat(),
        "artifact_score": 0.5,
        "filename": f"train/{uid}.png",
        "misalignment_map": misalignment or heat(),
        "misalignment_score": 0.25,
        "overall_score": 0.625,
        "prompt_misalignment_label": label,
    }
    return example(values | changes)
