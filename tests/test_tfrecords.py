"""TFRecords without TensorFlow: known checksums, records made by hand, and damage that is refused wherever it is."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pairwright import tfrecords
from pairwright.tfrecords import TFRecordError
from tests.miniatures import richhf


def test_the_checksum_is_castagnolis() -> None:
    """Test vectors of RFC 3720, B.4, and the one that every list of checksums has."""
    assert tfrecords.crc32c(b"123456789") == 0xE3069283
    assert tfrecords.crc32c(bytes(32)) == 0x8A9136AA
    assert tfrecords.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert tfrecords.crc32c(bytes(range(32))) == 0x46DD794E


def test_records_come_back_with_their_places(tmp_path: Path) -> None:
    content = [b"", b"one", bytes(range(256)) * 3]
    path = richhf.write(tmp_path / "a.tfrecord", content)
    found = list(tfrecords.records(path))
    assert [data for _, data in found] == content
    assert [start for start, _ in found] == [0, 16, 35]
    assert [tfrecords.record(path, start) for start, _ in found] == content
    assert path.read_bytes()[8:12].hex() == "29039807", "of a length of 0, as TensorFlow writes it"


@pytest.mark.parametrize("packed", [True, False])
def test_an_example_holds_bytes_floats_and_integers(packed: bool) -> None:
    values: dict[str, Any] = {"name": "gräss", "map": b"\x00\xff", "score": 0.625, "counts": [0, 1, 300, -1, 2**62]}
    assert tfrecords.example(richhf.example(values, packed=packed)) == {
        "name": ["gräss".encode()],
        "map": [b"\x00\xff"],
        "score": [0.625],
        "counts": [0, 1, 300, -1, 2**62],
    }
    assert tfrecords.example(b"") == {}


def test_fields_that_nobody_knows_are_passed_over() -> None:
    unknown = richhf.varint(9 * 8) + richhf.varint(77) + richhf.varint(10 * 8 + 1) + bytes(8) + richhf.varint(11 * 8 + 5) + bytes(4)
    assert tfrecords.example(unknown + richhf.example({"a": "b"}) + unknown) == {"a": [b"b"]}


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = richhf.write(tmp_path / "a.tfrecord", [b"first", b"second record"])
    whole = path.read_bytes()
    for bit in range(len(whole) * 8):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        with pytest.raises(TFRecordError, match=r"a\.tfrecord, byte (0|21): .*(Fetch it again|it is cut)"):
            list(tfrecords.records(path))


def test_a_cut_file_is_noticed_wherever_it_ends(tmp_path: Path) -> None:
    path = richhf.write(tmp_path / "a.tfrecord", [b"first", b"second record"])
    whole = path.read_bytes()
    for end in {*range(1, len(whole))} - {21}:
        path.write_bytes(whole[:end])
        with pytest.raises(TFRecordError):
            list(tfrecords.records(path))


def test_a_length_is_not_believed(tmp_path: Path) -> None:
    length = (2**62).to_bytes(8, "little")
    (tmp_path / "a").write_bytes(length + richhf.masked(length) + b"little")
    with pytest.raises(TFRecordError, match="longer than the file"):
        list(tfrecords.records(tmp_path / "a"))


def test_what_is_no_example_is_an_error_and_never_another() -> None:
    good = richhf.row("uid", "1 0")
    draw = random.Random(0)
    refused = 0
    for _ in range(300):
        broken = bytearray(good)
        for _ in range(draw.randint(1, 8)):
            broken[draw.randrange(min(len(broken), 200))] = draw.randrange(256)
        try:
            tfrecords.example(bytes(broken[: draw.randint(1, len(broken))]))
        except TFRecordError:
            refused += 1
    assert refused > 200
    for wrong in (b"\x0b", b"\x0a\xff", b"\xff" * 11, b"\x0a"):
        with pytest.raises(TFRecordError):
            tfrecords.example(wrong)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TFRecordError, match="cannot be read: No such file"):
        list(tfrecords.records(tmp_path / "none"))
