"""Pictures from files that anybody may have made: decoded safely and to the right colours, or refused with a reason.

Use it as ``images.read``. What Pillow alone gets wrong is dealt with here: ``convert("RGB")`` turns 16-bit greys white,
shows what alpha hid and drops profiles; orientation is ignored; a few kilobytes can ask for gigabytes; and a JPEG that
stops early but ends properly comes out half grey without a word.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError, features

from pairwright.errors import Explained

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Well-tested decoders. Formats that run programs (EPS), wrap others (ICNS) or are rare stay closed to untrusted files."""

MAX_PIXELS = 128_000_000
"""The largest cameras in use give 102 and 108 megapixels; decoding so many takes 384 MB for each copy that is held. A bomb
of 20,000 x 20,000 (400 megapixels from some 50 kB) does not pass."""

_BYTES_PER_PIXEL = 8
"""Uncompressed, 16 bits, four channels: no file within the limit of pixels has a reason to be larger."""

_NEAR_SRGB = 2
"""Profiles that move no colour by more than this (of 255) are sRGB under one of its many names; converting only adds noise."""

_WIDE_GREY = ("I;16", "I;16L", "I;16B", "I;16N")
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_PROBE = bytes([0x5A, 0x93, 0x6C, 0x35]) * 8


class ImageError(Explained, ValueError):
    """A file that gives no picture; the message says why, and is fit for the funnel."""


@dataclass(frozen=True)
class Developed:
    """A picture out of an untrusted file."""

    image: Image.Image
    """RGB, 8 bits, sRGB, upright, opaque, without metadata."""
    as_is: bool
    """Whether a plain decode of the file gives just these pixels."""


def read(source: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in an untrusted file: RGB, 8 bits, sRGB, upright.

    The first frame of an animation and the first page of a TIFF stand for the whole. Alpha is composited on white.
    Embedded profiles are applied (a profile that is itself broken is ignored, as browsers do); CMYK without one is
    converted by the plain formula. Not detectable: flipped bits in a JPEG that leave its code valid.

    Args:
        source: the file's content, or where it is.
        max_pixels: limit of width x height, checked in the header before anything is decoded; Pillow's own limit
            (179 million) stays above it.

    Raises:
        ImageError: too large, truncated, damaged, of an unknown format, or of a depth whose white is not defined.
    """
    return develop(file_bytes(source, max_pixels=max_pixels) if isinstance(source, Path) else source, max_pixels=max_pixels).image


def file_bytes(path: Path, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """The content of a file that should hold a picture.

    Raises:
        ImageError: it cannot be read, or is larger than any picture within the limit needs to be.
    """
    limit = max_pixels * _BYTES_PER_PIXEL
    try:
        size = path.stat().st_size
        if size > limit:
            raise ImageError(f"the file has {size:,} bytes, more than the limit of {limit:,}")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or error}") from error


def develop(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Developed:
    """Like :func:`read`, and says whether the file may stay as it is."""
    if not data:
        raise ImageError("the file is empty")
    opened = _open(data, max_pixels)
    try:
        with pillow_errors():
            opened.load()
            orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)  # after load: PNG may keep it behind the pixels
        if opened.format in {"JPEG", "MPO"}:
            _refuse_early_end(data, opened)
        upright = orientation not in range(2, 9)
        developed = _flatten(opened)
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise ImageError(f"damaged or truncated {opened.format}: {_said(error)}") from error
    developed.image.info = {}
    if upright:
        return developed
    developed.image.getexif()[ExifTags.Base.Orientation] = orientation
    turned = ImageOps.exif_transpose(developed.image)
    turned.info = {}
    return Developed(turned, as_is=False)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    formats = [name for name in FORMATS if name != "AVIF" or "avif" in features.get_supported()]
    try:
        with pillow_errors():
            opened = Image.open(io.BytesIO(data), formats=formats)
            _refuse_too_large(opened.size, max_pixels)
            if opened.format == "PNG":  # the only one with checksums, which Pillow verifies when asked
                opened.verify()
                opened = Image.open(io.BytesIO(data), formats=formats)
            return opened
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"more pixels than the limit of {max_pixels:,}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"not recognised as one of {', '.join(formats)}, or damaged at its very start") from error
    except Exception as error:
        raise ImageError(f"damaged header: {_said(error)}") from error


class _Strict:
    """Pillow's warnings as errors for as long as any thread is inside.

    Filters are global to the process: whoever comes first sets them and whoever leaves last restores them, so that threads
    decode side by side and none restores what another still needs. Naming the module leaves all other warnings as they are.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("error", module=r"PIL\.")
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)


_STRICT = _Strict()


def pillow_errors() -> AbstractContextManager[None]:
    """Within it, Pillow's warnings are errors, but for the one about size (ours is checked)."""
    return _STRICT


def _refuse_too_large(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise ImageError(f"{size[0]:,} x {size[1]:,} pixels are more than the limit of {max_pixels:,}")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _flatten(opened: Image.Image) -> Developed:
    """8 bits, then sRGB, then white behind what is transparent."""
    plain = opened.mode == "RGB" and opened.format in {"JPEG", "MPO", "PNG"}
    profile = opened.info.get("icc_profile")
    shallow, alpha = _eight_bits(opened)
    colours = _srgb(shallow, profile) if isinstance(profile, bytes) else None
    image = shallow.convert("RGB") if colours is None else colours
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
    return Developed(image, as_is=plain and colours is None and alpha is None)


def _eight_bits(opened: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture as L, RGB or CMYK, and its alpha (L) where it has one."""
    if opened.mode in _WIDE_GREY:
        return _narrow(opened)
    if opened.mode in {"I", "F", "LAB"}:
        raise ImageError(f"pixels of mode {opened.mode} ({opened.format}) have no defined white")
    if opened.has_transparency_data:
        full = opened.convert("RGBA")
        return full.convert("RGB"), full.getchannel("A")
    if opened.mode == "1":
        return opened.convert("L"), None
    return (opened if opened.mode in {"L", "RGB", "CMYK"} else opened.convert("RGB")), None


def _narrow(opened: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    tags = getattr(opened, "tag_v2", {})
    top = 4095 if 12 in tags.get(258, ()) else 65535  # BitsPerSample
    table = (np.minimum(np.arange(65536), top) * 255 + top // 2) // top
    if tags.get(262) == 0:  # PhotometricInterpretation: white is zero
        table = 255 - table
    values = np.asarray(opened)
    transparent = opened.info.get("transparency")
    alpha = None if transparent is None else Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return Image.fromarray(table.astype(np.uint8)[values]), alpha


def _srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture in sRGB; None where the profile says nothing new or nothing usable."""
    transform = _transform(profile, image.mode)
    return None if transform is None else ImageCms.applyTransform(image, transform)


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    if not features.check("littlecms2"):
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        return None
    if mode == "CMYK":
        return transform
    steps = np.linspace(0, 255, 9 if mode == "RGB" else 256).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    colours = Image.fromarray(cube)
    moved = np.asarray(ImageCms.applyTransform(colours, transform), dtype=int) - np.asarray(colours.convert("RGB"), dtype=int)
    return None if np.abs(moved).max() <= _NEAR_SRGB else transform


def _refuse_early_end(data: bytes, opened: Image.Image) -> None:
    """Refuse a JPEG whose compressed data stop before the picture does, although an end marker follows.

    libjpeg fills the rest with mid-grey (baseline) or leaves it blurred (progressive), and Pillow drops its warning. But
    then, and only then, further data would have been used: put some in, and see whether the picture changes.
    """
    end = _end_of_scans(data)
    corner = np.asarray(opened.crop((opened.width - 1, opened.height - 1, opened.width, opened.height)))
    if end is None or not ("progressive" in opened.info or np.abs(corner.astype(int) - 128).max() <= 1):
        return  # no second decode where the last pixel has a colour of its own
    longer = Image.open(io.BytesIO(data[:end] + _PROBE + data[end:]), formats=["JPEG"])
    if not np.array_equal(np.asarray(longer), np.asarray(opened)):
        raise ImageError(f"truncated {opened.format}: the compressed data end before the picture does")


def _end_of_scans(data: bytes) -> int | None:
    """Where the end marker is, found by walking the segments: embedded thumbnails have end markers of their own."""
    position = 2
    while (marker := _MARKER.search(data, position)) is not None:
        start = marker.start()
        if data[start + 1] == 0xD9:
            return start
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return None
