"""The same picture in another file is found: by its pixels, and where asked for by its looks."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from pydantic import ValidationError

from pairwright import duplicates
from pairwright.duplicates import Seen
from pairwright.options import Curate


def photograph(seed: int, side: int = 96) -> Image.Image:
    """Smooth, with a colour of its own everywhere."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def test_equal_pixels_are_one_picture_and_a_changed_pixel_makes_another():
    seen = Seen()
    image = photograph(1)
    assert seen.twin(image, "a.png") == ""
    assert seen.twin(image.copy(), "b.webp") == "same pixels as a.png"
    changed = image.copy()
    changed.putpixel((3, 3), (0, 0, 0))
    assert seen.twin(changed, "c.png") == ""
    assert seen.twin(image.resize((48, 192)), "d.png") == ""


def test_the_hash_reads_from_left_to_right_whether_it_grows_brighter():
    ramp = Image.fromarray(np.tile(np.arange(0, 252, 28, dtype=np.uint8), (8, 1))).convert("RGB")
    assert duplicates.dhash(ramp) == 2**64 - 1
    assert duplicates.dhash(ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == 0
    half = Image.fromarray(np.tile(np.array([0, 50, 100, 150, 200, 150, 100, 50, 0], dtype=np.uint8), (8, 1))).convert("RGB")
    assert duplicates.dhash(half) == int("11110000" * 8, 2)


@pytest.mark.parametrize("seed", range(8))
def test_copies_of_other_size_quality_and_light_are_near_and_others_are_not(seed: int):
    seen = Seen(near=6)
    assert seen.twin(photograph(seed), "first") == ""
    for number, copy in enumerate(
        (
            photograph(seed).resize((61, 61), Image.Resampling.LANCZOS),
            recompressed(photograph(seed), 40),
            ImageEnhance.Brightness(photograph(seed)).enhance(0.9),
        )
    ):
        assert seen.twin(copy, str(number)).startswith("nearly the same as first: ")
    assert seen.twin(photograph(seed + 100), "other") == ""


def test_what_is_found_is_what_comparing_with_everybody_finds():
    """The bands are a shortcut and no approximation."""
    random = np.random.default_rng(0)
    base = [int(each) for each in random.integers(0, 2**63, 20)]
    codes = [each ^ sum(1 << int(bit) for bit in random.choice(64, random.integers(0, 9), replace=False)) for each in base * 6]
    for near in (0, 3, 6):
        seen, known = Seen(near), list[int]()
        found, expected = list[bool](), list[bool]()
        for number, code in enumerate(codes):
            image = Image.new("RGB", (1, 1), (number % 256, number // 256, 0))
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(duplicates, "dhash", lambda _, code=code: code)
                found.append(bool(seen.twin(image, str(number))))
            expected.append(any((code ^ other).bit_count() <= near for other in known))
            if not expected[-1]:
                known.append(code)
        assert found == expected
        assert any(found)
        assert not all(found)


def test_a_distance_beyond_the_hash_is_refused():
    with pytest.raises(ValueError, match="near must be 0 to 16 of 64 bits, got 17"):
        Seen(near=17)
    with pytest.raises(ValidationError, match="less than or equal to 16"):
        Curate.model_validate({"source": {"name": "imagefolder", "path": "x"}, "near_duplicates": 17})
