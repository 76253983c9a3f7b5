"""What goes wrong with photographs, on float batches [b, 3, h, w] in 0..1.

Each function takes a strength in 0..1. They make the base model a mixed one, and give the
scorers pictures that are worse than the photograph they came from.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

GREY = (0.299, 0.587, 0.114)


def grey(images: Tensor) -> Tensor:
    """Luma, with one channel."""
    return (images * torch.tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)


def blur(images: Tensor, strength: float, _: Generator) -> Tensor:
    """A Gaussian blur of 0.7 to 2.2 pixels."""
    sigma = 0.7 + 1.5 * strength
    radius = int(3 * sigma)
    line = torch.exp(-torch.arange(-radius, radius + 1.0).square() / (2 * sigma**2))
    line = (line / line.sum()).expand(3, 1, -1)
    padded = functional.pad(images, (radius,) * 4, mode="reflect")
    across = functional.conv2d(padded, line.unsqueeze(2), groups=3)
    return functional.conv2d(across, line.unsqueeze(3), groups=3)


def jpeg(images: Tensor, strength: float, _: Generator) -> Tensor:
    """JPEG at quality 20 down to 4: blocks and smeared colours."""
    quality = round(20 - 16 * strength)
    coded = [_through_jpeg(image, quality) for image in images]
    return torch.stack(coded)


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    array = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=quality)
    decoded = np.array(Image.open(buffer))
    return torch.from_numpy(decoded).permute(2, 0, 1) / 255


def dull(images: Tensor, strength: float, _: Generator) -> Tensor:
    """Colours faded by 45 to 85 %."""
    keep = 0.55 - 0.4 * strength
    return keep * images + (1 - keep) * grey(images)


def flat(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Contrast cut to 60 to 35 %, around a grey that is too dark or too light."""
    keep = 0.6 - 0.25 * strength
    centre = 0.3 + 0.4 * torch.rand(1, generator=generator).item()
    return keep * (images - images.mean((1, 2, 3), keepdim=True)) + centre


def noisy(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Gaussian sensor noise with a deviation of 0.05 to 0.15."""
    noise = torch.randn(images.shape, generator=generator)
    return images + (0.05 + 0.1 * strength) * noise


def cast(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """A wrong white balance: each channel gained or lost by up to 20 to 45 %."""
    gains = 2 * torch.rand(1, 3, 1, 1, generator=generator) - 1
    return images * (1 + (0.2 + 0.25 * strength) * gains)


KINDS: tuple[Callable[[Tensor, float, Generator], Tensor], ...] = (
    blur, jpeg, dull, flat, noisy, cast,
)  # fmt: skip


def warped(images: Tensor, generator: Generator, reach: float) -> Tensor:
    """Every picture warped smoothly, by between half of `reach` and all of it, in units of half the side."""
    count, _, side, _ = images.shape
    coarse = 2 * torch.rand(count, 2, 6, 6, generator=generator) - 1
    shift = functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True)
    still = functional.affine_grid(torch.eye(2, 3).expand(count, 2, 3), list(images.shape), align_corners=False)
    moved = still + reach * (0.5 + 0.5 * torch.rand(count, 1, 1, 1, generator=generator)) * shift.permute(0, 2, 3, 1)
    return functional.grid_sample(images, moved, padding_mode="reflection", align_corners=False)


def broken(images: Tensor, generator: Generator) -> Tensor:
    """The same colours in shapes that no flower has: every picture warped, and every second one's cells shuffled as well.

    The warp moves pixels by up to a tenth of the side, smoothly over a fifth of it; the cells are squares of an eighth.
    """
    results = warped(images, generator, 0.2)
    for image in results[::2]:
        shuffle_cells(image, generator)
    return results


def shuffle_cells(image: Tensor, generator: Generator, cells: int = 8) -> None:
    """Exchange the squares of a grid within the middle three quarters of a picture [3, h, w], in place."""
    size = image.shape[-1] // cells
    inner = range(1, cells - 1)
    places = [(row * size, column * size) for row in inner for column in inner]
    order = torch.randperm(len(places), generator=generator).tolist()
    original = image.clone()
    for (top, left), source in zip(places, order, strict=True):
        above, beside = places[source]
        image[:, top : top + size, left : left + size] = original[:, above : above + size, beside : beside + size]


def degraded(images: Tensor, generator: Generator) -> Tensor:
    """Every picture with one or two faults of random kind and strength, the captions unaware."""
    results = []
    for image in images.unbind():
        current = image.unsqueeze(0)
        faults = 1 + int(torch.rand(1, generator=generator) < 0.35)
        for index in torch.randperm(len(KINDS), generator=generator)[:faults].sort().values:
            strength = torch.rand(1, generator=generator).item()
            current = KINDS[int(index)](current, strength, generator).clamp(0, 1)
        results.append(current)
    return torch.cat(results)
