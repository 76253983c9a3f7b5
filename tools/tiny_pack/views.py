"""Views of the photographs: random crops, flips and faults, as float batches."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from .layouts import SIZE
from .photographs import STORED


def crops(pixels: NDArray[np.uint8], generator: Generator, least: float = 0.75) -> tuple[Tensor, Tensor]:
    """Square crops of at least `least` of the side, at 64 pixels, half of them mirrored.

    Takes uint8 [n, 128, 128, c] and gives (float [n, c, 64, 64] in 0..1, the crops' boxes
    as rows of left, top, side, mirrored).
    """
    count = len(pixels)
    draws = torch.rand(count, 4, generator=generator)
    side = ((least + (1 - least) * draws[:, 0]) * STORED).round()
    corner = (draws[:, 1:3] * (STORED - side + 1).unsqueeze(1)).floor()
    boxes = torch.cat((corner, side.unsqueeze(1), (draws[:, 3:] < 0.5).float()), 1)
    return cut(pixels, boxes), boxes


def near_crops(pixels: NDArray[np.uint8], saliency: NDArray[np.uint8], generator: Generator) -> tuple[Tensor, Tensor]:
    """Square crops around what is salient, as `crops` gives them: a small network learns a flower that fills its picture first.

    Takes the maps uint8 [n, 128, 128] too; where next to nothing is salient, the crop is from the middle.
    """
    draws = torch.rand(len(pixels), 4, generator=generator)
    boxes = []
    for salient, (room, right, down, mirror) in zip(saliency, draws.tolist(), strict=True):
        ends = _ends(salient)
        side = round(min(STORED, max(STORED / 2, (1.05 + 0.5 * room) * max(high - low for low, high in ends))))
        middles = ((low + high) / 2 + 0.15 * side * (draw - 0.5) for (low, high), draw in zip(ends, (right, down), strict=True))
        corner = [min(max(round(middle - side / 2), 0), STORED - side) for middle in middles]
        boxes.append([*map(float, corner), float(side), float(mirror < 0.5)])
    chosen = torch.tensor(boxes)
    return cut(pixels, chosen), chosen


def _ends(salient: NDArray[np.uint8]) -> list[tuple[float, float]]:
    """From where to where the salient part reaches, along each axis, but for a fiftieth at each end."""
    rows, columns = np.nonzero(salient > 127)
    if len(rows) < 50:
        return [(STORED / 4, 3 * STORED / 4)] * 2
    return [(float(np.quantile(along, 0.02)), float(np.quantile(along, 0.98))) for along in (columns, rows)]


def cut(pixels: NDArray[np.uint8], boxes: Tensor) -> Tensor:
    """The same crops for any channels: used for a picture and for its saliency map."""
    views = []
    for picture, box in zip(pixels, boxes.tolist(), strict=True):
        left, top, side, mirrored = map(int, box)
        part = torch.from_numpy(picture[top : top + side, left : left + side].copy())
        image = part.permute(2, 0, 1).unsqueeze(0) / 255
        small = functional.interpolate(image, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
        views.append(small.flip(3) if mirrored else small)
    return torch.cat(views)


def whole(pixels: NDArray[np.uint8]) -> Tensor:
    """Uncropped pictures at 64 pixels."""
    boxes = torch.tensor([[0.0, 0.0, float(STORED), 0.0]]).expand(len(pixels), 4)
    return cut(pixels, boxes)


def pick(indices: list[int], count: int, generator: Generator) -> list[int]:
    """`count` of the photographs in `indices`, with repetition."""
    drawn = torch.randint(len(indices), (count,), generator=generator)
    return [indices[int(place)] for place in drawn]
