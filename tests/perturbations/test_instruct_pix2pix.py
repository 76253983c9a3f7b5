"""InstructPix2Pix: the instruction alone, guided by text and by picture, each request from its own seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline

from pairwright import plugins, weights
from pairwright.records import Edit, Edited, Failed
from tests.miniatures import pictures
from tests.miniatures.editors import write_pix2pix
from tests.miniatures.sd15 import write_sd15
from tests.perturbations.requests import pixels

# diffusers' Euler schedulers hand a tensor to np.array, which NumPy 2 deprecates for tensors; nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

LONG = " ".join(f"{chr(97 + number % 26)}{number}" for number in range(110))


def asked(number: int, instruction: str | None = "make it blue", width: int = 32, height: int = 32) -> Edit:
    return Edit(pictures.picture(number, width, height), "a red rose", seed=100 + number, instruction=instruction)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pix2pix(tmp_path_factory.mktemp("pix2pix"))


def loaded(folder, **options):
    settings = {"steps": 3, "dtype": "float32", "device": "cpu", "batch_size": 4} | options
    return plugins.load("perturbations", "instruct_pix2pix", model=str(folder), **settings)


@pytest.fixture(scope="module")
def model(folder):
    return loaded(folder)


def test_it_is_the_pipeline_of_diffusers(folder, model):
    edit = asked(1)
    pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    expected = pipe(
        prompt=edit.instruction,
        image=edit.picture.image,
        num_inference_steps=3,
        guidance_scale=7.5,
        image_guidance_scale=1.5,
        generator=[torch.Generator().manual_seed(edit.seed)],
    ).images[0]
    assert np.abs(pixels(model.edit([edit])[0]) - np.asarray(expected).astype(int)).max() <= 1
    assert np.asarray(expected).std() > 1


def test_alone_is_as_in_a_batch_whatever_the_sizes_and_texts(model):
    edits = [asked(0), asked(1, LONG), asked(2, "x", 40, 27), asked(3), asked(4, LONG)]
    for edit, result in zip(edits, model.edit(edits), strict=True):
        assert result.image.size == edit.picture.image.size
        assert np.abs(pixels(model.edit([edit])[0]) - pixels(result)).max() <= 1


def test_seed_instruction_and_picture_decide_and_the_caption_does_not(model):
    edit = asked(0)
    same, seed, text, picture, caption = model.edit(
        [
            edit,
            replace(edit, seed=7),
            replace(edit, instruction="add a horse"),
            replace(edit, picture=asked(5).picture),
            replace(edit, caption="two horses"),
        ]
    )
    for other in (seed, text, picture):
        assert np.abs(pixels(same) - pixels(other)).mean() > 0.2
    assert np.abs(pixels(same) - pixels(caption)).max() <= 1


def test_the_hundredth_word_of_an_instruction_changes_the_picture(model):
    words = LONG.split()
    words[99] = "zzz"
    one, other = model.edit([asked(0, LONG), asked(0, " ".join(words))])
    assert np.abs(pixels(one) - pixels(other)).max() > 0


def test_guidance_takes_three_forwards_and_none_takes_one(folder):
    for guidance, batch in ((7.5, 6), (1.0, 2)):
        model = loaded(folder, guidance=guidance)
        seen: list[tuple[int, ...]] = []
        model.pipeline.pipe.unet.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(tuple(args[0].shape)))
        model.edit([asked(0), asked(1)])
        assert seen == [(batch, 8, 8, 8)] * 3


def test_the_pictures_guidance_counts(folder, model):
    (more,) = loaded(folder, image_guidance=4.0).edit([asked(0)])
    assert np.abs(pixels(more) - pixels(model.edit([asked(0)])[0])).mean() > 0.2


def test_what_cannot_be_edited_says_why_and_costs_itself_only(model):
    results = model.edit([asked(0, None), replace(asked(1), picture=pictures.broken()), asked(2)])
    assert [type(each) for each in results] == [Failed, Failed, Edited]
    assert results[0].reason == "there is no instruction"


def test_too_little_guidance_by_the_picture_is_refused(folder):
    with pytest.raises(plugins.PluginError, match=r"image_guidance=0\.5: it must be at least 1"):
        loaded(folder, image_guidance=0.5)


def test_another_kind_of_model_is_refused(tmp_path):
    with pytest.raises(weights.WeightsError, match="its UNet reads 4 channels"):
        loaded(write_sd15(tmp_path))
