"""Text to image: the caption and the seed decide, the photograph gives its size and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from pairwright import plugins, weights
from pairwright.records import Edited, Failed
from tests.miniatures import pictures
from tests.miniatures.sd15 import write_sd15
from tests.perturbations.requests import pixels, request


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sd15(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def model(folder):
    return plugins.load("perturbations", "text2image", model=str(folder), steps=3, dtype="float32", device="cpu", batch_size=4)


def test_it_is_the_pipeline_of_diffusers(folder, model):
    edit = replace(request(1), mask=None)
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    expected = pipe(
        prompt=edit.caption,
        height=32,
        width=32,
        num_inference_steps=3,
        guidance_scale=7.5,
        generator=[torch.Generator().manual_seed(edit.seed)],
    ).images[0]
    assert np.abs(pixels(model.edit([edit])[0]) - np.asarray(expected).astype(int)).max() <= 1


def test_the_photograph_and_its_mask_have_no_say(model):
    one = replace(request(0), seed=5)
    first, second, third = model.edit([one, replace(request(7), seed=5, mask=None), replace(one, seed=6)])
    assert np.abs(pixels(first) - pixels(second)).max() <= 1
    assert np.abs(pixels(first) - pixels(third)).mean() > 2


def test_alone_is_as_in_a_batch_whatever_the_sizes(model):
    edits = [request(0), request(1, 40, 27), request(2), request(3, 40, 27)]
    for edit, result in zip(edits, model.edit(edits), strict=True):
        assert result.image.size == edit.picture.image.size
        assert np.abs(pixels(model.edit([edit])[0]) - pixels(result)).max() <= 1


def test_a_broken_picture_costs_itself_only(model):
    results = model.edit([replace(request(0), picture=pictures.broken(), mask=None), request(1)])
    assert [type(each) for each in results] == [Failed, Edited]


def test_steps_may_be_cached(folder, model):
    cached = plugins.load("perturbations", "text2image", model=str(folder), steps=3, cache_every=3, dtype="float32", device="cpu")
    assert np.abs(pixels(cached.edit([request(0)])[0]) - pixels(model.edit([request(0)])[0])).mean() > 0


def test_an_inpainting_model_is_refused(tmp_path):
    with pytest.raises(weights.WeightsError, match="its UNet reads 9 channels"):
        plugins.load("perturbations", "text2image", model=str(write_sd15(tmp_path, inpaint=True)), device="cpu")
