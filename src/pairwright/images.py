"""The one convention for pictures in memory, and the way to and from files.

A picture is a PIL image, RGB, 8 bits; its tensor is ``float32 [3, h, w]`` (a batch: ``[b, 3, h, w]``), 0..1, RGB. Whatever a
network wants besides (-1..1, ImageNet's mean) it makes for itself. :func:`read` is for files that anybody may have made,
:func:`decode` for those that this project wrote or has admitted through :func:`trusted`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from pairwright import seeds
from pairwright.records import Picture
from pairwright.untrusted import MAX_PIXELS, ImageError, develop, file_bytes, pillow_errors, read

if TYPE_CHECKING:
    import torch

__all__ = [
    "DECODING",
    "MAX_PIXELS",
    "ImageError",
    "at_most",
    "batch",
    "composite",
    "content_id",
    "crop",
    "decode",
    "encode",
    "file_bytes",
    "fitted",
    "from_tensor",
    "read",
    "suffix",
    "to_array",
    "to_tensor",
    "trusted",
    "undecodable",
]

DECODING = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow and :func:`decode` raise for a picture that is not one. SyntaxError is Pillow's for a broken PNG."""

CROP_SCALES = (0.5, 0.9)
"""Side of the second and further views, as a share of the short side: smaller ones lose the subject, larger ones are the first."""

_PNG_LEVEL = 1
"""zlib's fastest that compresses: photographs get 8 % smaller at level 6 and take three times as long."""


def content_id(data: bytes) -> str:
    """16 hexadecimal digits that stand for a file's content."""
    return hashlib.sha256(data).hexdigest()[:16]


def trusted(data: bytes, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """What :attr:`Picture.data` may hold for an untrusted file: bytes that :func:`decode` turns into what :func:`read` gives.

    The file itself where it is a plain RGB JPEG or PNG (a 12-megapixel photograph is five times as large as a PNG), else
    the safely decoded picture as PNG.

    Raises:
        ImageError: as :func:`read`.
    """
    developed = develop(data, max_pixels=max_pixels)
    return data if developed.as_is else encode(developed.image)


def suffix(data: bytes) -> str:
    """What the name of a trusted file ends in: those are JPEG or PNG."""
    return ".jpg" if data.startswith(b"\xff\xd8") else ".png"


def decode(data: bytes) -> Image.Image:
    """The picture in a trusted file, RGB, without metadata."""
    with pillow_errors():
        opened = Image.open(io.BytesIO(data))
    image = opened.convert("RGB")
    image.info = {}
    return image


def undecodable(error: BaseException) -> str:
    """One of :data:`DECODING` as a reason."""
    # Only our own messages: Pillow's hold memory addresses, and a reason must be the same in every run.
    return f"cannot be decoded: {str(error) if isinstance(error, ImageError) else type(error).__name__}"


def encode(image: Image.Image) -> bytes:
    """PNG: lossless, so that the two sides of a pair never differ by a codec; no metadata, so that equal pixels are equal bytes.

    Raises:
        ValueError: the picture is not RGB.
    """
    _require_rgb(image)
    stream = io.BytesIO()
    bare = image.copy()
    bare.info = {}  # Pillow writes profile and transparent colour from there without being asked
    bare.save(stream, "PNG", compress_level=_PNG_LEVEL)
    return stream.getvalue()


def to_array(image: Image.Image) -> np.ndarray:
    """``uint8 [h, w, 3]``, RGB, read-only."""
    _require_rgb(image)
    pixels = np.asarray(image)
    pixels.flags.writeable = False
    return pixels


def to_tensor(image: Image.Image) -> torch.Tensor:
    """``float32 [3, h, w]`` in 0..1, RGB."""
    import torch

    _require_rgb(image)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32).div_(255).contiguous()


def batch(pictures: Sequence[Picture | Image.Image]) -> torch.Tensor:
    """``float32 [b, 3, h, w]`` in 0..1, RGB.

    Raises:
        ValueError: there are none, or they differ in size.
    """
    import torch

    found = [each.image if isinstance(each, Picture) else each for each in pictures]
    sizes = sorted({image.size for image in found})
    if len(sizes) != 1:
        raise ValueError(f"a batch needs pictures of one size, got {sizes or 'no pictures'}")
    return torch.stack([to_tensor(image) for image in found])


def from_tensor(tensor: torch.Tensor) -> Image.Image:
    """``[3, h, w]`` of any float type on any device -> picture; values are clamped to 0..1 and rounded to 8 bits.

    Raises:
        ValueError: another shape, or NaN (a model that has diverged must not look like a black picture).
    """
    import torch

    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"expected a tensor [3, h, w], got {list(tensor.shape)}")
    values = tensor.detach().to("cpu", torch.float32)
    if bool(values.isnan().any()):
        raise ValueError("the picture has NaN in it")
    return Image.fromarray(values.clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


def fitted(picture: Picture, resolution: int) -> Picture:
    """The centre of a picture, under an id of its own; a picture that fits stays as it is, bytes and all."""
    if picture.image.size == (resolution, resolution):
        return picture
    data = encode(crop(picture.image, resolution, 0, picture.id))
    return replace(picture, id=content_id(f"{picture.id}/{resolution}".encode()), data=data)


def crop(image: Image.Image, resolution: int, view: int, key: str) -> Image.Image:
    """One square view of a picture: ``resolution x resolution`` (Lanczos).

    View 0 is the centre: short side to ``resolution``, then cropped. Further views are squares of 0.5 to 0.9 of the short
    side at a place of their own, decided by ``key`` and ``view`` alone. Smaller pictures are enlarged.

    Args:
        image: RGB.
        resolution: side in pixels.
        view: from 0.
        key: the picture's id.

    Raises:
        ValueError: ``resolution`` or ``view`` out of range.
    """
    if resolution < 1 or view < 0:
        raise ValueError(f"resolution must be at least 1 and view at least 0, got {resolution} and {view}")
    width, height = image.size
    side, across, down = float(min(width, height)), 0.5, 0.5
    if view:
        low, high = CROP_SCALES
        scale = low + (high - low) * seeds.uniform(0, "crop-scale", key, view)
        side = max(1.0, float(round(side * scale)))
        across = seeds.uniform(0, "crop-left", key, view)
        down = seeds.uniform(0, "crop-top", key, view)
    left, top = round((width - side) * across), round((height - side) * down)
    # One resampling of just this box: a panorama is not enlarged first to be thrown away.
    return image.resize((resolution, resolution), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))


def at_most(image: Image.Image, side: int) -> Image.Image:
    """The picture with its longer side reduced to ``side`` pixels (Lanczos); a smaller one as it is."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    return image.resize(size, Image.Resampling.LANCZOS)


def composite(original: Image.Image, edited: Image.Image, mask: np.ndarray, feather: float = 0.0) -> Image.Image:
    """The edited region on the untouched background. Where the mask is 0, the original's pixels stay as they are, exactly.

    Args:
        original: RGB.
        edited: RGB, same size.
        mask: ``float32 [h, w]`` in 0..1; 1 takes the edited picture.
        feather: standard deviation in pixels of a soft border. It lies inside the region (the background stays untouched),
            so what is thinner than about twice this stays mostly as it was. 0: the mask as it is.

    Raises:
        ValueError: sizes differ.
    """
    if original.size != edited.size or mask.shape != (original.height, original.width):
        raise ValueError(f"sizes differ: original {original.size}, edited {edited.size}, mask {mask.shape[::-1]}")
    weight = np.clip(mask, 0, 1).astype(np.float32)
    if feather > 0:
        weight = weight * _inner_ramp(weight > 0, feather)
    below, above = (to_array(each).astype(np.float32) for each in (original, edited))
    return Image.fromarray(np.rint(below + weight[..., None] * (above - below)).astype(np.uint8))


def _inner_ramp(region: np.ndarray, feather: float) -> np.ndarray:
    # A blurred step is 0.5 on the border: stretched so that it starts from 0 there and reaches 1 two deviations inside.
    blurred = Image.fromarray(region.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(feather))
    ramp = np.asarray(blurred, dtype=np.float32) / 255 * 2 - 1
    return np.clip(ramp, 0, 1)


def _require_rgb(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB picture, got mode {image.mode}")
