"""Files that anybody may have made: the right colours, or a reason."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from pairwright import images, untrusted
from pairwright.images import ImageError, read


def scene(width: int = 160, height: int = 120) -> Image.Image:
    """Smooth colours that change everywhere, so that nothing is grey by chance."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colour_type: int, raw: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand, for depths that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def profile_with_red_and_green_swapped() -> bytes:
    """An ICC v2 matrix profile: sRGB's primaries, gamma 2.2, the first channel green and the second red."""
    red, green, blue, white = (0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141), (0.9642, 1.0, 0.8249)

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"swapped\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 80
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": xyz(white)}
    tags |= {b"rXYZ": xyz(green), b"gXYZ": xyz(red), b"bXYZ": xyz(blue), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        padded = data + b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += padded
    size = 132 + len(table) + len(body)
    header = struct.pack(">I", size) + b"\0\0\0\0\x02\x10\0\0mntrRGB XYZ " + b"\0" * 12 + b"acsp" + b"\0" * 28
    header += struct.pack(">3i", *(round(value * 65536) for value in white)) + b"\0" * 48
    return header + struct.pack(">I", len(tags)) + table + body


def colour(image: Image.Image) -> tuple[int, ...]:
    assert image.mode == "RGB"
    return tuple(int(value) for value in np.asarray(image)[image.height // 2, image.width // 2])


# --- what must come out right ---


def test_a_plain_jpeg_comes_out_as_pillow_decodes_it():
    data = save(scene(), "JPEG", quality=90)
    assert np.array_equal(np.asarray(read(data)), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_red_in_cmyk_comes_out_red(kind: str):
    red, green, blue = colour(read(save(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), kind)))
    assert red > 250
    assert max(green, blue) < 5


def test_black_ink_in_cmyk_comes_out_dark():
    assert max(colour(read(save(Image.new("CMYK", (32, 32), (0, 0, 0, 204)), "JPEG", quality=95)))) == pytest.approx(51, abs=2)


@pytest.mark.skipif(not features.check("littlecms2"), reason="this Pillow has no littlecms")
def test_an_embedded_profile_is_applied():
    data = save(Image.new("RGB", (8, 8), (255, 0, 0)), "PNG", icc_profile=profile_with_red_and_green_swapped())
    red, green, blue = colour(read(data))
    assert green > 250
    assert max(red, blue) < 5


@pytest.mark.skipif(not features.check("littlecms2"), reason="this Pillow has no littlecms")
def test_a_profile_that_is_srgb_changes_no_pixel_and_the_file_stays():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = save(scene(), "PNG", icc_profile=profile)
    assert np.array_equal(np.asarray(read(data)), np.asarray(scene()))
    assert images.trusted(data) == data


def test_a_broken_profile_is_ignored():
    assert colour(read(save(Image.new("RGB", (8, 8), (200, 100, 50)), "PNG", icc_profile=b"no profile"))) == (200, 100, 50)


STORED = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
UPRIGHT = {
    1: STORED,
    2: STORED[:, ::-1],
    3: STORED[::-1, ::-1],
    4: STORED[::-1],
    5: STORED.transpose(1, 0, 2),
    6: np.rot90(STORED, -1),
    7: STORED[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(STORED, 1),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_orientation_in_exif_is_applied_once(orientation: int, kind: str):
    exif = Image.Exif()
    exif[274] = orientation
    data = save(Image.fromarray(STORED), kind, exif=exif, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    assert np.array_equal(np.asarray(read(data)), UPRIGHT[orientation])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_cut_off(kind: str):
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert np.asarray(read(save(Image.fromarray(values), kind)))[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_sixteen_bit_grey_with_a_transparent_value_is_white_there():
    raw = b"\0" + struct.pack(">2H", 1000, 32768)
    data = png(2, 1, 16, 0, raw, (b"tRNS", struct.pack(">H", 1000)))
    assert np.asarray(read(data))[0].tolist() == [[255] * 3, [128] * 3]


def test_sixteen_bit_colour_is_scaled():
    raw = b"\0" + struct.pack(">6H", 32768, 0, 65535, 257 * 10, 257 * 20, 257 * 30)
    assert np.asarray(read(png(2, 1, 16, 2, raw)))[0].tolist() == [[128, 0, 255], [10, 20, 30]]


def test_sixteen_bit_grey_tiff_where_zero_is_white_is_inverted():
    values = np.array([[0, 32767, 65535]], dtype=np.uint16)
    data = bytearray(save(Image.fromarray(values), "TIFF"))
    tag = data.index(struct.pack("<HHIH", 262, 3, 1, 1))
    data[tag + 8] = 0
    assert np.asarray(read(bytes(data)))[0].tolist() == [[255] * 3, [128] * 3, [0] * 3]


def test_twelve_bit_grey_is_scaled_by_its_own_range():
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8 + 2 + 12 * 9 + 4, 277: 1, 278: 1, 279: 3}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + b"\x80\x0f\xff"  # 0x800 and 0xfff
    assert np.asarray(read(data))[0].tolist() == [[128] * 3, [255] * 3]


def test_float_pixels_are_refused_because_their_white_is_unknown():
    with pytest.raises(ImageError, match="no defined white"):
        read(save(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_lies_on_white_and_hidden_colours_stay_hidden(kind: str):
    pixels = np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [0, 0, 255, 51]]], dtype=np.uint8)
    data = save(Image.fromarray(pixels), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    assert np.asarray(read(data))[0].tolist() == [[255, 255, 255], [255, 0, 0], [204, 204, 255]]


def test_grey_with_alpha_lies_on_white():
    pixels = np.array([[[0, 0], [0, 255], [0, 51]]], dtype=np.uint8)
    assert np.asarray(read(save(Image.fromarray(pixels, "LA"), "PNG")))[0].tolist() == [[255] * 3, [0] * 3, [204] * 3]


def test_palettes_are_resolved_and_their_transparent_entry_is_white():
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 250, 0, 0])
    assert np.asarray(read(save(image, "PNG")))[0].tolist() == [[10, 20, 30], [250, 0, 0]]
    assert np.asarray(read(save(image, "PNG", transparency=1)))[0].tolist() == [[10, 20, 30], [255, 255, 255]]
    assert np.asarray(read(save(image, "PNG", transparency=b"\xff\x33")))[0].tolist() == [[10, 20, 30], [254, 204, 204]]


def test_one_bit_pictures_are_black_and_white():
    assert np.asarray(read(save(Image.fromarray(np.array([[True, False]])), "PNG")))[0].tolist() == [[255] * 3, [0] * 3]


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_of_an_animation_the_first_frame_is_taken(kind: str, options: dict[str, object]):
    frames = [Image.new("RGB", (8, 8), each) for each in [(255, 0, 0), (0, 0, 255)]]
    assert colour(read(save(frames[0], kind, save_all=True, append_images=frames[1:], **options))) == (255, 0, 0)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read():
    assert colour(read(save(Image.new("RGB", (32, 32), (200, 30, 30)), "AVIF", quality=95))) == pytest.approx((200, 30, 30), abs=6)


def test_nothing_of_the_metadata_stays_in_the_picture():
    exif = Image.Exif()
    exif[271] = "Maker"
    assert read(save(scene(), "JPEG", exif=exif, comment=b"secret")).info == {}


def test_a_path_is_read_like_its_content(tmp_path: Path):
    path = tmp_path / "no_suffix"
    path.write_bytes(save(scene(), "PNG"))
    assert np.array_equal(np.asarray(read(path)), np.asarray(scene()))


# --- what must be refused ---


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("ending", [b"", b"\xff\xd9"])
def test_a_truncated_jpeg_is_refused_even_where_an_end_marker_follows(share: float, ending: bytes, progressive: bool):
    data = save(scene(), "JPEG", quality=90, progressive=progressive)
    with pytest.raises(ImageError, match=r"truncated|damaged|not recognised"):
        read(data[: int(len(data) * share)] + ending)


@pytest.mark.parametrize("missing", [1, 2, 10, 200])
def test_a_jpeg_that_lacks_its_last_bytes_is_refused(missing: int):
    with pytest.raises(ImageError, match="truncated"):
        read(save(scene(), "JPEG", quality=90)[:-missing])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_is_really_mid_grey_is_not_taken_for_a_truncated_one(mode: str, progressive: bool):
    grey = Image.new(mode, (64, 48), 128 if mode == "L" else (128, 128, 128))
    assert colour(read(save(grey, "JPEG", progressive=progressive) + b"trailing bytes of a camera")) == (128, 128, 128)


def test_an_end_marker_within_a_comment_or_thumbnail_does_not_hide_a_truncation():
    data = save(scene(), "JPEG", quality=90, comment=b"thumbnail \xff\xd8 \xff\xda \xff\xd9")
    assert np.array_equal(np.asarray(read(data)), np.asarray(Image.open(io.BytesIO(data))))
    with pytest.raises(ImageError, match="the compressed data end before the picture does"):
        read(data[: len(data) // 2] + b"\xff\xd9")


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_other_truncated_files_are_refused(kind: str, share: float):
    data = save(scene(), kind)
    with pytest.raises(ImageError):
        read(data[: int(len(data) * share)])


def test_every_flipped_bit_in_the_pixels_of_a_png_is_found():
    data = save(scene(32, 24), "PNG")
    start = data.index(b"IDAT")
    for place in range(start, len(data) - 12, 97):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        with pytest.raises(ImageError):
            read(bytes(flipped))


BOMB = """
import resource, sys, time
from pathlib import Path
from pairwright import images
images.read(Path(sys.argv[2]))
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
try:
    images.read(Path(sys.argv[1]))
except images.ImageError as error:
    print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error, sep="|")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux only")
def test_a_bomb_of_20000_by_20000_pixels_is_refused_fast_and_without_memory(tmp_path: Path):
    rows = zlib.compressobj()
    raw = bytes(2501 * 1000)
    idat = b"".join(rows.compress(raw) for _ in range(20)) + rows.flush()
    whole = png(20_000, 20_000, 1, 0, b"")
    (tmp_path / "bomb.png").write_bytes(whole.replace(whole[33:-12], _chunk(b"IDAT", idat)))
    (tmp_path / "small.png").write_bytes(save(scene(), "PNG"))
    command = [sys.executable, "-c", BOMB, str(tmp_path / "bomb.png"), str(tmp_path / "small.png")]
    seconds, kilobytes, reason = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("|")
    assert float(seconds) < 0.5
    assert int(kilobytes) < 5_000
    assert "limit of 128,000,000" in reason


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_a_picture_above_the_limit_is_refused_with_its_size_and_the_limit():
    with pytest.raises(ImageError, match=r"160 x 120 pixels are more than the limit of 19,199"):
        read(save(scene(), "JPEG"), max_pixels=19_199)
    assert read(save(scene(), "JPEG"), max_pixels=19_200).size == (160, 120)


def test_a_header_of_150_megapixels_is_refused_before_decoding():
    start = time.perf_counter()
    with pytest.raises(ImageError, match=r"15,000 x 10,000"):
        read(png(15_000, 10_000, 8, 2, b""))
    assert time.perf_counter() - start < 0.5


def test_a_file_larger_than_any_picture_needs_to_be_is_not_read(tmp_path: Path):
    path = tmp_path / "large.jpg"
    path.write_bytes(b"\0" * 801)
    with pytest.raises(ImageError, match="801 bytes, more than the limit of 800"):
        read(path, max_pixels=100)


@pytest.mark.parametrize("data", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.7", b"a text", b"\xff\xd8", b"<svg></svg>"])
def test_what_is_no_picture_is_refused_with_the_formats_that_are(data: bytes):
    with pytest.raises(ImageError, match="not recognised as one of JPEG, PNG, WEBP"):
        read(data)


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "JPEG2000", "PCX"])
def test_decoders_that_are_not_on_the_list_stay_closed(kind: str):
    with pytest.raises(ImageError, match="not recognised"):
        read(save(scene(), kind))


def test_an_empty_file_and_a_missing_one_say_so(tmp_path: Path):
    with pytest.raises(ImageError, match="the file is empty"):
        read(b"")
    with pytest.raises(ImageError, match="No such file"):
        read(tmp_path / "gone.jpg")


def _samples() -> dict[str, bytes]:
    plain = {kind: save(scene(24, 16), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")}
    return plain | {
        "progressive": save(scene(24, 16), "JPEG", progressive=True),
        "deflated": save(scene(24, 16), "TIFF", compression="tiff_adobe_deflate"),
    }


SAMPLES = _samples()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    st.floats(0, 1),
)
def test_whatever_is_done_to_a_file_gives_a_picture_or_a_reason(kind: str, changes: list[tuple[float, int]], kept: float):
    data = bytearray(SAMPLES[kind])
    for place, value in changes:
        data[int(place * len(data))] = value
    reason = ""
    try:
        image = read(bytes(data[: max(1, round(kept * len(data)))]), max_pixels=1_000_000)
    except ImageError as error:
        reason = str(error) or "no reason"
    else:
        assert image.mode == "RGB"
    assert reason != "no reason"
    assert "0x" not in reason  # no memory addresses: a reason is the same in every run


def test_threads_read_side_by_side_and_leave_the_filters_of_warnings_as_they_were():
    before = list(warnings.filters)
    both = threading.Barrier(2, timeout=20)

    def inside(_: int) -> bool:
        with untrusted.pillow_errors():
            both.wait()  # none of them waits for the other to leave
            strict = warnings.filters != before
            both.wait()
        return strict

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(inside, range(2))) == [True, True]
    assert list(warnings.filters) == before
