"""A hard paste is told by its border, a smooth one is not, and the features are the differences that they claim to be."""

from typing import Any

import numpy as np
from PIL import Image

from benchmarks import seam
from pairwright import images


def scene(seed: int) -> np.ndarray:
    """A smooth photograph-like field, ``uint8 [64, 64, 3]``."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    grain = rng.normal(0, 3, (64, 64, 3))
    smooth = np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC))
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def disc(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:64, 0:64]
    centre = rng.uniform(26, 38, 2)
    return ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < rng.uniform(12, 20) ** 2).astype(np.float32)


def pasted(seed: int, feather: float = 0.0) -> np.ndarray:
    """Another scene inside the disc."""
    below, above = Image.fromarray(scene(seed)), Image.fromarray(scene(seed + 1000))
    return images.to_array(images.composite(below, above, disc(seed), feather))


def swelled(seed: int) -> np.ndarray:
    """Lighter inside the disc, with no step and no kink at its border."""
    inside = disc(seed)
    rows, columns = np.nonzero(inside)
    centre, radius = (rows.mean(), columns.mean()), np.sqrt(inside.sum() / np.pi)
    all_rows, all_columns = np.mgrid[0:64, 0:64]
    reach = ((all_rows - centre[0]) ** 2 + (all_columns - centre[1]) ** 2) / radius**2
    bump = 40 * np.clip(1 - reach, 0, 1) ** 2
    found: np.ndarray = np.clip(scene(seed) + bump[..., None], 0, 255).astype(np.uint8)
    return found


def faintly(seed: int, feather: float) -> np.ndarray:
    """The same scene a little lighter inside the disc, pasted with that border."""
    light = np.clip(scene(seed).astype(int) + 16, 0, 255).astype(np.uint8)
    return images.to_array(images.composite(Image.fromarray(scene(seed)), Image.fromarray(light), disc(seed), feather))


def test_crossings_are_read_outside_to_inside_in_both_directions():
    pixels = np.arange(36.0).reshape(6, 6, 1)
    mask = np.zeros((6, 6), dtype=bool)
    mask[:, 3:] = True
    lines = seam.crossings(pixels, mask)[:, :, 0]
    assert lines[0].tolist() == [1, 2, 3, 4]
    assert len(lines) == 6
    turned = seam.crossings(pixels, ~mask)[:, :, 0]
    assert turned[0].tolist() == [4, 3, 2, 1]
    assert len(seam.crossings(pixels.swapaxes(0, 1), mask.T)) == 6


def test_a_thin_region_and_an_empty_one_have_no_border():
    mask = np.zeros((64, 64), dtype=np.float32)
    assert seam.features(scene(0), mask) is None
    mask[:, 30] = 1
    assert seam.features(scene(0), mask) is None


def test_the_step_is_the_step_across_the_border():
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), dtype=np.float32)
    mask[:, 32:] = 1
    picture[:, 32:] = 51
    found = seam.features(picture, mask)
    assert found is not None
    luma_step, luma_ground = found[0], found[6]
    assert abs(luma_step - np.log(1e-3 + 0.2)) < 1e-6
    assert abs(luma_ground - np.log(1e-3)) < 1e-6
    assert abs(found[12] - luma_step) < 1e-6


def test_a_hard_paste_is_detected():
    numbers = range(60)
    found, pairs = seam.detectability(
        [scene(n) for n in numbers], [pasted(n) for n in numbers], [disc(n) for n in numbers], [str(n) for n in numbers]
    )
    assert pairs == 60
    assert found.value > 0.9
    assert found.low > 0.6


def test_an_edit_that_leaves_no_border_is_not():
    numbers = range(60)
    found, _ = seam.detectability(
        [scene(n) for n in numbers], [swelled(n) for n in numbers], [disc(n) for n in numbers], [str(n) for n in numbers]
    )
    assert found.low <= 0.5 or found.value < 0.6
    assert max(np.abs(swelled(n).astype(int) - scene(n)).max() for n in numbers) > 30


def test_a_soft_border_is_told_less_well_than_a_hard_one():
    numbers = range(60)
    faint = {feather: [faintly(n, feather) for n in numbers] for feather in (0.0, 3.0)}
    hard, soft = (
        seam.detectability([scene(n) for n in numbers], faint[feather], [disc(n) for n in numbers], [str(n) for n in numbers])[0]
        for feather in (0.0, 3.0)
    )
    assert hard.value > 0.9
    assert soft.value < hard.value - 0.1
