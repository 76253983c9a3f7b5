"""Repainting with Stable Diffusion 3.5: with and without T5, the background kept, latents decoded with their shift."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3InpaintPipeline

from pairwright import plugins, weights
from pairwright.perturbations import _pipelines
from pairwright.records import Edit, Edited, Failed
from tests.miniatures import pictures
from tests.miniatures.sd35 import write_sd35
from tests.perturbations.requests import bad, pixels, request


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sd35(tmp_path_factory.mktemp("sd35"))


@pytest.fixture(scope="module")
def model(folder):
    return plugins.load("perturbations", "inpaint_sd35", model=str(folder), steps=3, dtype="float32", device="cpu")


def test_it_is_the_pipeline_of_diffusers_but_for_the_shift(folder, model):
    edit = request(1)
    assert edit.mask is not None
    pipe = StableDiffusion3InpaintPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    shared = {
        "prompt": edit.caption,
        "image": edit.picture.image,
        "mask_image": torch.from_numpy(edit.mask)[None, None],
        "height": 32,
        "width": 32,
        "strength": 1.0,
        "num_inference_steps": 3,
        "guidance_scale": 7.0,
        "generator": [torch.Generator().manual_seed(edit.seed)],
    }
    latents = pipe(**shared, output_type="latent").images
    with torch.no_grad():
        decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor).sample
    expected = ((decoded[0] / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(pixels(model.edit([edit])[0]) - expected).max() <= 1


def test_alone_is_as_in_a_batch_whatever_the_sizes(model):
    edits = [request(0), request(1, 40, 27), request(2), request(3, 40, 27)]
    for edit, result in zip(edits, model.edit(edits), strict=True):
        assert result.image.size == edit.picture.image.size
        assert np.abs(pixels(model.edit([edit])[0]) - pixels(result)).max() <= 1


def test_the_seed_decides(model):
    first, other = model.edit([request(0), request(0, seed=7)])
    assert np.abs(pixels(first) - pixels(other)).mean() > 2
    torch.manual_seed(1)
    assert np.array_equal(pixels(model.edit([request(3)])[0]), pixels(model.edit([request(3)])[0]))


def test_outside_the_mask_the_latents_are_the_photographs_own_at_the_end(model, monkeypatch):
    mask = np.zeros((64, 64), dtype=np.float32)
    mask[:16, :16] = 1
    edit = Edit(pictures.picture(2, 64, 64), "a rose", seed=3, mask=mask)
    ends = []
    decode = model.pipe.vae.decode

    def watched(latents):
        ends.append(latents)
        return decode(latents)

    monkeypatch.setattr(model.pipe.vae, "decode", watched)
    model.edit([edit])
    with torch.no_grad():
        posterior = model.pipe.vae.encode(edit.picture.tensor[None] * 2 - 1).latent_dist
    own = posterior.sample(generator=_pipelines.generators([edit.seed])[0])
    difference = (ends[0] - own).abs().mean(dim=(0, 1))
    assert difference[4:].max() < 1e-5
    assert difference[:4, 4:].max() < 1e-5
    assert difference[:4, :4].min() > 0.1


def test_what_cannot_be_repainted_says_why_and_costs_itself_only(model):
    good = request(0)
    cases = bad(good)
    results = model.edit([*(edit for edit, _ in cases), good])
    assert [type(result) for result in results] == [Failed] * 4 + [Edited]
    for result, (_, words) in zip(results, cases, strict=False):
        assert words in result.reason


def test_t5_may_be_left_out_and_captions_are_encoded_once(tmp_path, monkeypatch):
    model = plugins.load(
        "perturbations", "inpaint_sd35", model=str(write_sd35(tmp_path, t5=False)), steps=2, dtype="float32", device="cpu"
    )
    assert isinstance(model.edit([request(0), request(1)])[0], Edited)
    assert list(model.texts.known) == ["a red rose", ""]
    monkeypatch.setattr(_pipelines, "REMEMBERED", 1)
    model.texts(["x", "y"])
    assert list(model.texts.known) == ["y"]


def test_without_guidance_there_is_no_second_forward(folder):
    model = plugins.load("perturbations", "inpaint_sd35", model=str(folder), steps=2, guidance=1.0, dtype="float32", device="cpu")
    sizes = []
    model.pipe.transformer.register_forward_pre_hook(
        lambda _, __, given: sizes.append(len(given["hidden_states"])), with_kwargs=True
    )
    model.edit([request(0), request(1)])
    assert sizes == [2, 2]


def test_a_close_up_leaves_the_background_as_it_is(folder):
    close = plugins.load("perturbations", "inpaint_sd35", model=str(folder), steps=2, crop=0.25, dtype="float32", device="cpu")
    edit = request(4, 64, 64)
    (result,) = close.edit([edit])
    assert np.array_equal(pixels(result)[edit.mask == 0], edit.picture.pixels[edit.mask == 0])


def test_a_folder_that_is_no_pipeline_and_options_out_of_range(tmp_path, folder):
    with pytest.raises(weights.WeightsError, match=r"it has no model_index\.json"):
        plugins.load("perturbations", "inpaint_sd35", model=str(tmp_path), device="cpu")
    with pytest.raises(plugins.PluginError, match="at least one step"):
        plugins.load("perturbations", "inpaint_sd35", model=str(folder), steps=3, strength=0.2, device="cpu")
