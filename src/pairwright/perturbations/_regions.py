"""What every repainter does around its own network: masks, sizes, batches, and a closer look at a small region.

Requests of one size share a forward. Which ones do is decided by their order alone, so that the same requests in the same
order give the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pairwright import images
from pairwright.records import Edit, Edited, Failed, Picture

THRESHOLD = 0.5
DECODING = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow and ``images.decode`` raise for a picture that is not one. SyntaxError is Pillow's for a broken PNG."""

Paint = Callable[[Tensor, Tensor, Sequence[Edit]], Tensor]
"""Pictures ``float32 [b, 3, h, w]`` in 0..1, masks ``[b, 1, h, w]``, 0 or 1 (1 is repainted), and their requests -> pictures
``[b, 3, h, w]`` in 0..1. Without masks (text to image) the second is all ones."""


@dataclass(frozen=True)
class Canvas:
    """A request as a network takes it."""

    image: Tensor
    """``float32 [3, h, w]`` in 0..1, padded to a multiple of the factor."""
    mask: Tensor
    """``float32 [1, h, w]``, 0 or 1, padded alike."""
    height: int
    """Of the original."""
    width: int


def repainted(
    edits: Sequence[Edit],
    paint: Paint,
    *,
    factor: int,
    batch_size: int,
    masked: bool = True,
    alike: Callable[[Edit], Hashable] = lambda _: None,
) -> list[Edited | Failed]:
    """One changed picture per request, in order, of the size of the original.

    Args:
        edits: the requests.
        paint: the network; see :data:`Paint`.
        factor: sides that are no multiple of it are padded with their edge and cut again.
        batch_size: pictures per call of ``paint``, of one size.
        masked: whether a request needs a mask.
        alike: what requests must have in common besides their size to share a forward.
    """
    results: list[Edited | Failed] = [Failed("not reached")] * len(edits)
    groups: dict[Hashable, list[tuple[int, Canvas]]] = {}
    for place, each in enumerate(edits):
        canvas = _canvas(each, factor, masked=masked)
        if isinstance(canvas, Failed):
            results[place] = canvas
        else:
            groups.setdefault((canvas.image.shape[1:], alike(each)), []).append((place, canvas))
    for members in groups.values():
        for start in range(0, len(members), batch_size):
            some = members[start : start + batch_size]
            pixels, masks = (torch.stack([getattr(canvas, name) for _, canvas in some]) for name in ("image", "mask"))
            outputs = paint(pixels, masks, [edits[place] for place, _ in some])
            for (place, canvas), output in zip(some, outputs, strict=True):
                results[place] = _result(output, canvas)
    return results


def refused(edit: Edit, *, masked: bool = True) -> Failed | None:
    """Why a request cannot be met whatever the network: no picture, or a mask that is missing, empty or of another size."""
    if masked and edit.mask is None:
        return Failed("repainting needs a mask")
    try:
        width, height = edit.picture.image.size
    except DECODING as error:
        # Only our own messages: Pillow's hold memory addresses, and a reason must be the same in every run.
        said = str(error) if isinstance(error, images.ImageError) else type(error).__name__
        return Failed(f"cannot be decoded: {said}")
    if edit.mask is None:
        return None
    if edit.mask.shape != (height, width):
        return Failed(f"the mask is {edit.mask.shape[1]} x {edit.mask.shape[0]}, the picture {width} x {height}")
    return None if (edit.mask >= THRESHOLD).any() else Failed("the mask is empty")


def _canvas(edit: Edit, factor: int, *, masked: bool) -> Canvas | Failed:
    problem = refused(edit, masked=masked)
    if problem is not None:
        return problem
    pixels = edit.picture.tensor
    height, width = pixels.shape[1:]
    region = edit.mask >= THRESHOLD if edit.mask is not None and masked else np.ones((height, width), dtype=bool)
    mask = torch.from_numpy(region.astype(np.float32))
    return Canvas(_padded(pixels, factor), _padded(mask[None], factor), height, width)


def _padded(channels: Tensor, factor: int) -> Tensor:
    # The mask is padded with its own edge as well: where it reaches the border, the object must not show beyond it.
    height, width = channels.shape[1:]
    return functional.pad(channels, (0, -width % factor, 0, -height % factor), mode="replicate")


def _result(output: Tensor, canvas: Canvas) -> Edited | Failed:
    kept = output[:, : canvas.height, : canvas.width].float()
    if not bool(kept.isfinite().all()):
        return Failed("the model's output is not finite; a dtype with a larger range (bfloat16, float32) may help")
    return Edited(images.from_tensor(kept))


def close_up(
    edits: Sequence[Edit], margin: float, repaint: Callable[[Sequence[Edit]], Sequence[Edited | Failed]]
) -> list[Edited | Failed]:
    """Repaint the surroundings of each mask at the picture's full resolution, and paste the region back.

    A small object gets the whole canvas of the network instead of a few latents. The surroundings are a square: the mask's
    bounding box, its longer side grown by ``margin`` of itself at each end, moved into the picture, at most the picture's
    short side. What lies outside the mask is the original's, exactly.

    Args:
        edits: the requests.
        margin: 0: the bounding box itself.
        repaint: what is done to the squares.
    """
    results: list[Edited | Failed] = [refused(each) or Failed("not reached") for each in edits]
    places = [place for place, each in enumerate(edits) if refused(each) is None]
    boxes = [_surroundings(edits[place].mask, margin) for place in places]
    squares = [_enlarged(edits[place], box) for place, box in zip(places, boxes, strict=True)]
    for place, box, result in zip(places, boxes, repaint(squares), strict=True):
        results[place] = result if isinstance(result, Failed) else _pasted(edits[place], result, box)
    return results


Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, as Pillow has it."""


def _surroundings(mask: np.ndarray | None, margin: float) -> Box:
    assert mask is not None
    height, width = mask.shape
    rows, columns = (np.flatnonzero((mask >= THRESHOLD).any(axis=axis)) for axis in (1, 0))
    spans = [(int(each[0]), int(each[-1]) + 1) for each in (columns, rows)]
    side = max(stop - start for start, stop in spans)
    side = min(round(side * (1 + 2 * margin)), max(height, width))
    ends = []
    for (start, stop), length in zip(spans, (width, height), strict=True):
        size = min(side, length)
        first = min(max(0, (start + stop - size) // 2), length - size)
        ends.append((first, first + size))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def _enlarged(edit: Edit, box: Box) -> Edit:
    """The request for one box, at the picture's own size along its longer side."""
    assert edit.mask is not None
    scale = max(edit.picture.image.size) / max(box[2] - box[0], box[3] - box[1])
    size = (round((box[2] - box[0]) * scale), round((box[3] - box[1]) * scale))
    image = edit.picture.image.resize(size, Image.Resampling.LANCZOS, box=box)
    region = Image.fromarray((edit.mask >= THRESHOLD).astype(np.uint8) * 255).crop(box)
    mask = np.asarray(region.resize(size, Image.Resampling.NEAREST), dtype=np.float32) / 255
    return replace(edit, picture=Picture(edit.picture.id, images.encode(image), edit.picture.caption), mask=mask)


def _pasted(edit: Edit, result: Edited, box: Box) -> Edited:
    assert edit.mask is not None
    size = (box[2] - box[0], box[3] - box[1])
    whole = edit.picture.image.copy()
    whole.paste(result.image.resize(size, Image.Resampling.LANCZOS), box[:2])
    return replace(result, image=images.composite(edit.picture.image, whole, (edit.mask >= THRESHOLD).astype(np.float32)))
