"""The one convention for pictures in memory."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from pairwright import images
from pairwright.records import Picture

PIXELS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda shape: (*shape, 3)))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@given(PIXELS)
def test_a_picture_survives_the_way_to_a_tensor_and_back(pixels: np.ndarray):
    image = Image.fromarray(pixels)
    tensor = images.to_tensor(image)
    assert tensor.dtype == torch.float32
    assert tensor.shape == (3, *pixels.shape[:2])
    assert torch.equal((tensor * 255).round().to(torch.uint8).permute(1, 2, 0), torch.from_numpy(pixels.copy()))
    assert np.array_equal(images.to_array(images.from_tensor(tensor)), pixels)


@given(PIXELS)
def test_a_picture_survives_the_way_to_a_file_and_back(pixels: np.ndarray):
    assert np.array_equal(images.to_array(images.decode(images.encode(Image.fromarray(pixels)))), pixels)


def test_channels_are_in_the_order_red_green_blue():
    tensor = images.to_tensor(Image.new("RGB", (1, 1), (255, 51, 0)))
    assert tensor.flatten().tolist() == pytest.approx([1.0, 0.2, 0.0])


def test_values_are_rounded_and_clamped_and_half_precision_will_do():
    tensor = torch.tensor([-0.5, 0.4996 / 255, 0.6 / 255, 1.5]).to(torch.float64).expand(3, 1, 4)
    assert images.to_array(images.from_tensor(tensor))[0, :, 0].tolist() == [0, 0, 1, 255]
    assert images.to_array(images.from_tensor(torch.full((3, 1, 1), 0.5, dtype=torch.bfloat16))).max() == 128


def test_a_picture_with_nan_is_an_error_and_not_black():
    with pytest.raises(ValueError, match="NaN"):
        images.from_tensor(torch.full((3, 2, 2), torch.nan))


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (4, 4, 3), (1, 4, 4)])
def test_a_tensor_of_another_shape_is_an_error(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="expected a tensor"):
        images.from_tensor(torch.zeros(shape))


def test_a_batch_holds_its_pictures_in_order_and_one_is_a_batch_too():
    first, second = noise(5, 4), noise(5, 4, seed=1)
    together = images.batch([first, Picture("id", images.encode(second))])
    assert together.shape == (2, 3, 4, 5)
    assert torch.equal(together[1], images.to_tensor(second))
    assert torch.equal(images.batch([first])[0], together[0])


@pytest.mark.parametrize("sizes", [[], [(4, 4), (4, 5)]])
def test_a_batch_of_nothing_or_of_several_sizes_is_an_error(sizes: list[tuple[int, int]]):
    with pytest.raises(ValueError, match="one size"):
        images.batch([noise(*size) for size in sizes])


def test_arrays_are_read_only_and_tensors_are_not_shared():
    image = noise(4, 4)
    with pytest.raises(ValueError, match="read-only"):
        images.to_array(image)[0, 0, 0] = 1
    before = images.to_array(image).copy()
    images.to_tensor(image).zero_()
    assert np.array_equal(images.to_array(image), before)


def test_pictures_that_are_not_rgb_are_refused():
    for function in (images.encode, images.to_array, images.to_tensor):
        with pytest.raises(ValueError, match="expected an RGB picture, got mode L"):
            function(Image.new("L", (4, 4)))


def test_equal_pixels_are_equal_bytes_whatever_the_metadata():
    image = noise(8, 8)
    bare = images.encode(image)
    image.info = {"icc_profile": b"x", "dpi": (72, 72), "transparency": (1, 2, 3), "comment": b"x"}
    assert images.encode(image) == bare


def test_a_content_id_is_the_head_of_sha256():
    assert images.content_id(b"abc") == "ba7816bf8f01cfea"


def _with_orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[274] = value
    return save(noise(6, 4), "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("data", "stays"),
    [
        pytest.param(save(noise(6, 4), "JPEG"), True, id="plain JPEG"),
        pytest.param(save(noise(6, 4), "PNG"), True, id="plain PNG"),
        pytest.param(_with_orientation(1), True, id="upright JPEG"),
        pytest.param(_with_orientation(6), False, id="turned JPEG"),
        pytest.param(save(noise(6, 4).convert("CMYK"), "JPEG"), False, id="CMYK"),
        pytest.param(save(noise(6, 4).convert("L"), "JPEG"), False, id="grey JPEG"),
        pytest.param(save(noise(6, 4).convert("P"), "PNG"), False, id="palette"),
        pytest.param(save(noise(6, 4), "PNG", transparency=(1, 2, 3)), False, id="PNG with a transparent colour"),
        pytest.param(save(noise(6, 4).convert("RGBA"), "PNG"), False, id="alpha"),
        pytest.param(save(noise(6, 4), "WEBP"), False, id="WebP"),
    ],
)
def test_only_plain_files_stay_and_all_decode_to_what_was_read(data: bytes, stays: bool):
    admitted = images.trusted(data)
    assert (admitted == data) is stays
    assert np.array_equal(np.asarray(images.decode(admitted)), np.asarray(images.read(data)))


# --- views ---


def test_the_first_view_is_the_centre():
    image = Image.new("RGB", (300, 100), "red")
    image.paste(Image.new("RGB", (100, 100), "blue"), (100, 0))
    view = images.to_array(images.crop(image, 50, 0, "any"))
    assert view.shape == (50, 50, 3)
    assert view[:, 3:-3].reshape(-1, 3).tolist() == [[0, 0, 255]] * (50 * 44)


@pytest.mark.parametrize("size", [(120, 60), (60, 120)])
def test_the_first_view_equals_resizing_the_whole_and_cropping(size: tuple[int, int]):
    smooth = noise(9, 9).resize(size, Image.Resampling.BICUBIC)
    whole = smooth.resize((size[0] // 2, size[1] // 2), Image.Resampling.LANCZOS)
    left, top = (whole.width - 30) // 2, (whole.height - 30) // 2
    expected = np.asarray(whole.crop((left, top, left + 30, top + 30)), dtype=int)
    assert np.abs(np.asarray(images.crop(smooth, 30, 0, "x"), dtype=int) - expected).max() <= 2


def test_a_square_picture_of_the_right_size_is_its_own_first_view():
    image = noise(16, 16)
    assert np.array_equal(np.asarray(images.crop(image, 16, 0, "x")), np.asarray(image))


def _ramp(width: int, height: int) -> Image.Image:
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, np.zeros_like(across)], -1).round().astype(np.uint8))


def test_further_views_show_half_to_nine_tenths_of_the_short_side_somewhere_inside():
    image = _ramp(256, 256)
    shares, places = [], []
    for number in range(100):
        view = np.asarray(images.crop(image, 64, 1 + number % 3, f"picture-{number}"), dtype=float)
        shares.append((view[32, -1, 0] - view[32, 0, 0]) / 255)
        places.append(view[32, 32, 0] / 255)
    assert min(shares) > 0.47
    assert max(shares) < 0.92
    assert np.mean(shares) == pytest.approx(0.7 * 63 / 64, abs=0.03)
    assert np.mean(places) == pytest.approx(0.5, abs=0.05)
    assert np.std(places) > 0.05


def test_a_view_depends_on_the_key_and_the_number_alone():
    image = _ramp(120, 80)

    def view(number: int, key: str) -> bytes:
        return images.crop(image, 32, number, key).tobytes()

    assert view(1, "a") == view(1, "a")
    assert len({view(0, "a"), view(1, "a"), view(2, "a"), view(1, "b")}) == 4
    assert view(0, "a") == view(0, "b")


def test_a_panorama_of_one_row_is_cropped_without_being_enlarged_as_a_whole():
    assert images.crop(Image.new("RGB", (1_000_000, 1), "red"), 64, 0, "x").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(("resolution", "view"), [(0, 0), (8, -1)])
def test_impossible_views_are_errors(resolution: int, view: int):
    with pytest.raises(ValueError, match="at least"):
        images.crop(noise(8, 8), resolution, view, "x")


# --- compositing ---


@settings(deadline=None)
@given(arrays(np.float32, (12, 10), elements=st.sampled_from([0.0, 0.25, 1.0])), st.floats(0, 5))
def test_where_the_mask_is_zero_the_original_stays_exactly(mask: np.ndarray, feather: float):
    original, edited = noise(10, 12), noise(10, 12, seed=1)
    result = np.asarray(images.composite(original, edited, mask, feather))
    assert np.array_equal(result[mask == 0], np.asarray(original)[mask == 0])


def test_without_feather_the_mask_is_the_share_of_the_edited_picture():
    black, white = Image.new("RGB", (3, 1)), Image.new("RGB", (3, 1), "white")
    mask = np.array([[0, 0.4, 1]], dtype=np.float32)
    assert np.asarray(images.composite(black, white, mask, 0.0))[0, :, 0].tolist() == [0, 102, 255]


def test_feather_rises_from_the_border_inwards_without_a_step():
    black, white = Image.new("RGB", (60, 20)), Image.new("RGB", (60, 20), "white")
    mask = np.zeros((20, 60), dtype=np.float32)
    mask[:, 30:] = 1
    row = np.asarray(images.composite(black, white, mask, 4.0))[10, :, 0].astype(int)
    assert row[:30].max() == 0
    assert row[30] < 40
    assert (np.diff(row[29:]) >= 0).all()
    assert np.diff(row).max() < 55  # 255 * 2 * the density of a normal distribution of deviation 4 at 0 is 51
    assert row[30 + 12 :].min() >= 253


def test_an_edit_that_reaches_the_pictures_edge_is_not_faded_there():
    black, white = Image.new("RGB", (20, 20)), Image.new("RGB", (20, 20), "white")
    assert np.asarray(images.composite(black, white, np.ones((20, 20), dtype=np.float32), 3.0)).min() == 255


@pytest.mark.parametrize(("edited", "mask"), [((8, 9), (8, 8)), ((8, 8), (9, 8))])
def test_sizes_that_differ_are_an_error(edited: tuple[int, int], mask: tuple[int, int]):
    with pytest.raises(ValueError, match="sizes differ"):
        images.composite(noise(8, 8), noise(*edited), np.zeros(mask, dtype=np.float32), 0.0)


def test_images_are_imported_without_torch():
    code = "import pairwright.images, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
