"""Degradations: what the record says is what was done, the seed decides it, and the background stays."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pairwright import plugins
from pairwright.perturbations import _degradations
from pairwright.perturbations.photometric import KINDS
from pairwright.records import Edited, Failed
from tests.miniatures import pictures
from tests.perturbations.requests import pixels, request


def only(kind, least=0.8, most=0.8):
    return plugins.load("perturbations", "photometric", kinds=[kind], least=least, most=most)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_the_region_and_leaves_the_background(kind):
    edit = request(1, 64, 64)
    (result,) = only(kind).edit([edit])
    changed = np.abs(pixels(result) - edit.picture.pixels).max(axis=2) > 0
    assert not changed[edit.mask == 0].any()
    assert changed[edit.mask == 1].mean() > 0.2
    assert result.how["kind"] == kind
    assert result.how["strength"] == 0.8
    json.dumps(result.how)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_mask_it_is_everywhere(kind):
    edit = replace(request(1, 64, 64), mask=None)
    (result,) = only(kind).edit([edit])
    corner = np.abs(pixels(result) - edit.picture.pixels)[:, :16].max(axis=2) > 0
    assert corner.mean() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_depends_on_its_request_alone(kind):
    edits = [request(number, 40 + number, 33) for number in range(3)]
    model = only(kind, 0.2, 1.0)
    together = model.edit(edits)
    for edit, result in zip(edits, together, strict=True):
        (alone,) = model.edit([edit])
        assert np.array_equal(pixels(alone), pixels(result))
        assert alone.how == result.how
    other = model.edit([replace(edits[0], seed=7)])[0]
    assert other.how["strength"] != together[0].how["strength"]


@pytest.mark.parametrize("kind", ["blur", "jpeg", "noise", "colour", "warp"])
def test_stronger_is_further_from_the_original(kind):
    edits = [replace(request(number, 64, 64), mask=None) for number in range(4)]

    def distance(strength):
        results = zip(edits, only(kind, strength, strength).edit(edits), strict=True)
        return np.mean([np.abs(pixels(result) - edit.picture.pixels).mean() for edit, result in results])

    means = [distance(strength) for strength in (0.0, 0.5, 1.0)]
    assert means[0] < means[1] < means[2]


def test_the_numbers_of_the_record_are_those_that_were_used():
    edit = replace(request(2, 128, 128), mask=None)
    (blurred,) = only("blur").edit([edit])
    assert blurred.how["sigma"] == pytest.approx((1 + 7 * 0.8) * 128 / 512)
    assert np.array_equal(pixels(blurred), np.asarray(edit.picture.image.filter(ImageFilter.GaussianBlur((1 + 7 * 0.8) / 4))))
    (saved,) = only("jpeg").edit([edit])
    stream = io.BytesIO()
    edit.picture.image.save(stream, "JPEG", quality=saved.how["quality"], subsampling="4:2:0")
    assert saved.how["quality"] == 11
    assert np.array_equal(pixels(saved), np.asarray(Image.open(stream)))
    grey = replace(edit, picture=pictures.encoded(np.full((256, 256, 3), 128, np.uint8)))
    (noisy,) = only("noise").edit([grey])
    assert (pixels(noisy) - 128).std() / 255 == pytest.approx(noisy.how["sigma"], rel=0.05)


def test_shuffled_tiles_are_the_same_tiles_in_another_order():
    edit = replace(request(0, 70, 66), mask=None)
    changed, how = _degradations.shuffle(edit.picture.image, 1.0, 5)
    side = how["tile"]

    def tiles(image):
        rows, columns = 66 // side, 70 // side
        cuts = [
            np.asarray(image)[y * side : (y + 1) * side, x * side : (x + 1) * side] for y in range(rows) for x in range(columns)
        ]
        return sorted(each.tobytes() for each in cuts)

    assert tiles(changed) == tiles(edit.picture.image)
    assert np.asarray(changed).tobytes() != edit.picture.image.tobytes()


def test_a_warp_moves_nothing_further_than_it_says():
    rows, columns = np.mgrid[:96, :96]
    ramp = np.stack([rows * 2, columns * 2, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    changed, how = _degradations.warp(Image.fromarray(ramp), 0.5, 3)
    moved = np.hypot(*((np.asarray(changed)[..., axis].astype(float) - ramp[..., axis]) / 2 for axis in (0, 1)))
    assert how["pixels"] == pytest.approx(18 * 96 / 512, abs=0.01)
    assert 0.6 * how["pixels"] < moved.max() <= how["pixels"] + 0.6


def test_every_kind_is_drawn_and_about_as_often():
    model = plugins.load("perturbations", "photometric")
    edits = [replace(request(0, 16, 16), seed=seed) for seed in range(600)]
    counts = dict.fromkeys(map(str, KINDS), 0)
    for result in model.edit(edits):
        counts[str(result.how["kind"])] += 1
        assert 0.3 <= float(result.how["strength"]) <= 1
    assert min(counts.values()) > 70


def test_the_smallest_pictures_and_bad_ones():
    model = plugins.load("perturbations", "photometric")
    for seed in range(24):
        (result,) = model.edit([replace(request(0, 3, 2), mask=None, seed=seed)])
        assert isinstance(result, Edited)
        assert result.image.size == (3, 2)
    (failed,) = model.edit([replace(request(0), picture=pictures.broken(), mask=None)])
    assert isinstance(failed, Failed)


def test_options_out_of_range():
    cases: list[dict[str, object]] = [{"kinds": []}, {"least": 0.8, "most": 0.2}]
    for options in cases:
        with pytest.raises(plugins.PluginError, match="at least one kind is needed"):
            plugins.load("perturbations", "photometric", **options)
    with pytest.raises(plugins.PluginError, match="kinds"):
        plugins.load("perturbations", "photometric", kinds=["sepia"])
