"""SD-1.5 inpainting at full size on an accelerator, random weights: images per second and share of the limit.

Our own perturbation is timed, from pictures to pictures: text and picture encoded, denoised with guidance, decoded. **Not run by
the authors yet.**
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from benchmarks import provenance
from benchmarks.training import networks
from pairwright import catalogue, hardware, images
from pairwright.perturbations import inpaint
from pairwright.records import Edit, Edited, Picture
from pairwright.wording import number

BATCHES = (1, 4, 8, 16)
STEPS = (50, 20)
REPEATS = 3
MODEL = "stable-diffusion-v1-5/stable-diffusion-inpainting"


@dataclass(frozen=True)
class Measured:
    """One way to repaint."""

    steps: int
    batch: int
    compiled: bool
    seconds: float
    """Of a batch, median."""
    flop: float
    """Of a picture, from the catalogue's counts."""

    @property
    def rate(self) -> float:
        """Pictures per second."""
        return self.batch / self.seconds


def measure(
    device: str, size: networks.Size = networks.REAL, steps: Sequence[int] = STEPS, batches: Sequence[int] = BATCHES,
    repeats: int = REPEATS, compiling: Sequence[bool] = (False, True),
) -> list[Measured]:  # fmt: skip
    """Every number of steps at every batch size, compiled and not."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        model = networks.write(Path(folder), replace(size, unet={**size.unet, "in_channels": 9}))
        for compiled in compiling:
            painter = inpaint.load(model=str(model), device=device, batch_size=max(batches))
            if compiled:
                painter.pipeline.pipe.unet.compile()
            for batch in batches:
                edits = [_edit(each, size.pixels) for each in range(batch)]
                found += [_timed(replace(painter, steps=count), edits, repeats, compiled=compiled) for count in steps]
    return found


def _timed(painter: inpaint.Inpaint, edits: Sequence[Edit], repeats: int, *, compiled: bool) -> Measured:
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        made = painter.edit(edits)  # its pictures are on the CPU: nothing is left to wait for
        seconds.append(time.perf_counter() - began)
        assert all(isinstance(each, Edited) for each in made), made
    costs = catalogue.KNOWN[MODEL].flop
    flop = 2 * painter.steps * costs["unet"] + costs["encode"] + costs["decode"]
    return Measured(painter.steps, len(edits), compiled, median(seconds[1:]), flop)  # the first one compiles


def _edit(place: int, side: int) -> Edit:
    coarse = np.random.default_rng(place).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    mask = np.zeros((side, side), np.float32)
    mask[side // 4 : -side // 4, side // 4 : -side // 4] = 1
    return Edit(Picture(f"{place:016x}", images.encode(image)), f"a photo of a red rose, take {place}", place, mask)


def main(device: str, results: Path) -> None:
    """Measure, print, write ``results/curation-accelerator.md`` and ``.json``."""
    limit = hardware.throughput(device, "bfloat16", 3.0)
    found = measure(device)
    rows = [
        [f"{each.steps} steps{', compiled' if each.compiled else ''}", str(each.batch), number(each.rate),
         f"{each.rate * each.flop / limit:.0%}"]
        for each in found
    ]  # fmt: skip
    said = provenance.provenance()
    text = (
        f"# Repainting on {hardware.describe(torch.device(device)).label}\n\nSD-1.5 inpainting with random weights, 512 pixels, "
        f"guidance, bfloat16. Limit: {limit / 1e12:.0f} TFLOP/s, measured with a large product of matrices.\n\n"
        + provenance.table(["way", "batch", "pictures/s", "of the limit"], rows)
        + f"\n{provenance.footnote(said)}"
    )
    print(text)
    print(provenance.write("curation-accelerator", {"measured": [vars(each) for each in found], "provenance": said}, text, results))
