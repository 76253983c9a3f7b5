"""Repainting: each sample from its own seed, any size, and failures that are values."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from safetensors.torch import load_file, save_file

from pairwright import plugins, weights
from pairwright.perturbations import _pipelines, inpaint
from pairwright.records import Edit, Edited, Failed
from tests.miniatures import pictures
from tests.miniatures.sd15 import write_sd15
from tests.perturbations.requests import bad, pixels, request

# diffusers' DPM-Solver hands a tensor to np.array, which NumPy 2 deprecates for tensors; nothing of ours.
DPMSOLVER = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_sd15(tmp_path_factory.mktemp("inpaint"), inpaint=True)


@pytest.fixture(scope="module")
def model(folder):
    return plugins.load("perturbations", "inpaint", model=str(folder), steps=3, dtype="float32", device="cpu", batch_size=4)


def test_alone_is_as_in_a_batch(model):
    edits = [request(number, caption=f"flower {number}") for number in range(6)]
    together = model.edit(edits)
    for edit, result in zip(edits, together, strict=True):
        assert np.abs(pixels(model.edit([edit])[0]) - pixels(result)).max() <= 1
    backwards = model.edit(edits[::-1])[::-1]
    assert all(np.abs(pixels(a) - pixels(b)).max() <= 1 for a, b in zip(together, backwards, strict=True))


def test_the_seed_decides_and_nothing_else_does(model):
    first, again, other = model.edit([request(0), request(0), request(0, seed=7)])
    assert np.abs(pixels(first) - pixels(again)).max() <= 1
    assert np.abs(pixels(first) - pixels(other)).mean() > 2
    torch.manual_seed(1)  # the global stream has no say
    assert np.array_equal(pixels(model.edit([request(3)])[0]), pixels(model.edit([request(3)])[0]))


def test_it_is_the_pipeline_of_diffusers(folder, model):
    edit = request(1)
    assert edit.mask is not None
    pipe = StableDiffusionInpaintPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    expected = pipe(
        prompt=edit.caption,
        image=edit.picture.image,
        mask_image=edit.mask[None],
        height=32,
        width=32,
        strength=1.0,
        num_inference_steps=3,
        guidance_scale=7.5,
        generator=[torch.Generator().manual_seed(edit.seed)],
    ).images[0]
    assert np.abs(pixels(model.edit([edit])[0]) - np.asarray(expected).astype(int)).max() <= 1


def test_at_full_strength_what_is_hidden_has_no_say(model):
    edit = request(2)
    hidden = edit.picture.pixels.copy()
    hidden[8:24, 8:24] = 255 - hidden[8:24, 8:24]
    other = Edit(pictures.encoded(hidden), edit.caption, seed=edit.seed, mask=edit.mask)
    first, second = model.edit([edit, other])
    assert np.abs(pixels(first) - pixels(second)).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(36, 28), (33, 47), (5, 9)])
def test_any_size_comes_back_as_it_was(model, width, height):
    (result,) = model.edit([request(0, width, height)])
    assert pixels(result).shape == (height, width, 3)
    assert pixels(result).std() > 1


def test_sizes_may_be_mixed_and_order_is_kept(model):
    edits = [request(0), request(1, 40, 24), request(2), request(3, 40, 24)]
    for edit, result in zip(edits, model.edit(edits), strict=True):
        assert (result.image.width, result.image.height) == edit.picture.image.size
        assert np.abs(pixels(model.edit([edit])[0]) - pixels(result)).max() <= 1


def test_what_cannot_be_repainted_says_why_and_costs_itself_only(model):
    good = request(0)
    cases = bad(good)
    results = model.edit([*(edit for edit, _ in cases), good])
    assert [type(result) for result in results] == [Failed] * 4 + [Edited]
    for result, (_, words) in zip(results, cases, strict=False):
        assert words in result.reason
    assert "0x" not in results[3].reason


def test_a_close_up_gives_a_small_region_the_whole_canvas(folder, model):
    """The region is repainted from its enlarged surroundings; around it not a pixel changes."""
    close = plugins.load("perturbations", "inpaint", model=str(folder), steps=3, crop=0.5, dtype="float32", device="cpu")
    seen = []
    close.pipeline.pipe.unet.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    mask = np.zeros((64, 64), dtype=np.float32)
    mask[10:18, 40:52] = 1
    edit = Edit(pictures.picture(3, 64, 64), "a red rose", seed=9, mask=mask)
    (result,) = close.edit([edit])
    assert np.array_equal(pixels(result)[mask == 0], edit.picture.pixels[mask == 0])
    assert np.abs(pixels(result)[mask == 1] - edit.picture.pixels[mask == 1]).mean() > 2
    assert seen[0] == (2, 9, 16, 16), "24 pixels around it are repainted at 64"
    results = close.edit([edit, *(each for each, _ in bad(request(0)))])
    assert [type(each) for each in results] == [Edited] + [Failed] * 4
    assert np.array_equal(pixels(results[0]), pixels(result))


def test_step_caching_runs_the_depths_in_every_other_step_and_nothing_stays_behind(folder, model):
    unet = model.pipeline.pipe.unet
    deep, shallow = [], []
    hooks = [
        unet.mid_block.resnets[0].register_forward_hook(lambda *_: deep.append(1)),
        unet.up_blocks[-1].resnets[-1].register_forward_hook(lambda *_: shallow.append(1)),
    ]
    edits = [request(number) for number in range(3)]
    exact = model.edit(edits)
    assert (len(deep), len(shallow)) == (3, 3)
    cached = replace(model, cache_every=2)
    found = cached.edit(edits)
    assert (len(deep), len(shallow)) == (5, 6), "steps 1 and 3 of 3 are whole"
    for edit, one, other in zip(edits, exact, found, strict=True):
        assert 0 < np.abs(pixels(one) - pixels(other)).mean() < 20
        assert np.abs(pixels(cached.edit([edit])[0]) - pixels(other)).max() <= 1
    assert all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(exact, model.edit(edits), strict=True))
    for hook in hooks:
        hook.remove()


def test_a_diverged_model_is_a_failure(folder):
    model = plugins.load("perturbations", "inpaint", model=str(folder), steps=1, dtype="float32", device="cpu")
    with torch.no_grad():
        model.pipeline.pipe.unet.conv_out.bias.fill_(float("nan"))
    (result,) = model.edit([request(0)])
    assert isinstance(result, Failed)
    assert "not finite" in result.reason


@pytest.mark.filterwarnings(DPMSOLVER)
@pytest.mark.parametrize(
    ("sampler", "name"), [("model", "DDIMScheduler"), ("ddim", "DDIMScheduler"), ("dpmsolver++", "DPMSolverMultistepScheduler")]
)
def test_samplers(folder, model, sampler, name):
    chosen = plugins.load("perturbations", "inpaint", model=str(folder), steps=3, sampler=sampler, dtype="float32", device="cpu")
    assert type(chosen.pipeline.pipe.scheduler).__name__ == name
    difference = np.abs(pixels(chosen.edit([request(0)])[0]) - pixels(model.edit([request(0)])[0])).mean()
    assert (difference < 0.1) == (name == "DDIMScheduler")


def test_ddim_on_another_models_schedule_does_not_clip_the_latents(tmp_path):
    base = plugins.load("perturbations", "inpaint", model=str(write_sd15(tmp_path)), sampler="ddim", dtype="float32", device="cpu")
    config = base.pipeline.pipe.scheduler.config
    assert config.clip_sample is False
    assert (config.beta_start, config.steps_offset) == (0.00085, 1)


def test_texts_are_those_of_the_pipeline_and_cut_at_its_length(model):
    pipe = model.pipeline.pipe
    expected, empty = pipe.encode_prompt("a red rose", torch.device("cpu"), 1, True, negative_prompt="")
    torch.testing.assert_close(model.pipeline.embed(["a red rose", ""]), torch.cat([expected, empty]))
    long = "rose " * 40
    assert torch.equal(*model.pipeline.embed([long, long + "and a horse"]))


def test_texts_are_forgotten_in_the_end(model, monkeypatch):
    monkeypatch.setattr(_pipelines, "REMEMBERED", 2)
    assert model.pipeline.embed(["a", "b"]).shape[0] == 2
    assert model.pipeline.embed(["c", "a"]).shape[0] == 2
    assert list(model.pipeline.texts.known) == ["c", "a"]


def test_without_guidance_there_is_no_second_forward(folder):
    model = plugins.load("perturbations", "inpaint", model=str(folder), steps=2, guidance=1.0, dtype="float32", device="cpu")
    sizes = []
    model.pipeline.pipe.unet.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape)))
    model.edit([request(0), request(1)])
    assert sizes == [(2, 9, 8, 8)] * 2


def test_a_base_of_four_channels_puts_its_background_back(tmp_path):
    base = plugins.load("perturbations", "inpaint", model=str(write_sd15(tmp_path)), steps=3, dtype="float32", device="cpu")
    edits = [request(number) for number in range(3)]
    for edit, result in zip(edits, base.edit(edits), strict=True):
        assert np.abs(pixels(base.edit([edit])[0]) - pixels(result)).max() <= 1


def test_options_out_of_range(folder):
    for options in ({"steps": 0}, {"strength": 0.0}, {"strength": 1.5}, {"steps": 3, "strength": 0.2}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="at least one step"):
            inpaint.load(model=str(folder), device="cpu", **options)


def test_a_folder_that_is_no_pipeline(tmp_path, folder):
    with pytest.raises(weights.WeightsError, match="cannot be loaded as UNet2DConditionModel"):
        plugins.load("perturbations", "inpaint", model=str(tmp_path), device="cpu")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "scheduler")
    with pytest.raises(weights.WeightsError, match="not a pipeline in the layout of StableDiffusionInpaintPipeline"):
        plugins.load("perturbations", "inpaint", model=str(tmp_path), device="cpu")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_do_not_fit_are_named(tmp_path, folder, part):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (path,) = (tmp_path / part).glob("*.safetensors")
    state = load_file(path)
    first = sorted(state)[0]
    save_file({**state, "foreign": torch.zeros(1)}, path, {"format": "pt"})
    with pytest.raises(weights.WeightsError, match="1 unexpected keys: foreign"):
        plugins.load("perturbations", "inpaint", model=str(tmp_path), device="cpu")
    save_file({name: value for name, value in state.items() if name != first}, path, {"format": "pt"})
    with pytest.raises(weights.WeightsError, match=f"1 missing keys: {re.escape(first)}"):
        plugins.load("perturbations", "inpaint", model=str(tmp_path), device="cpu")


def test_a_text_encoder_under_its_older_names(tmp_path, folder, model):
    """Published files say ``text_model.encoder...`` and hold position ids; transformers 5 writes neither."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "text_encoder" / "model.safetensors"
    older = {f"text_model.{name}": value for name, value in load_file(path).items()}
    save_file({**older, "text_model.embeddings.position_ids": torch.arange(77)[None]}, path, {"format": "pt"})
    other = plugins.load("perturbations", "inpaint", model=str(tmp_path), dtype="float32", device="cpu")
    torch.testing.assert_close(other.pipeline.embed(["a rose"]), model.pipeline.embed(["a rose"]))
