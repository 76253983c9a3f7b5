"""Editing with a ControlNet: prompt and instruction, the original held on to, each request from its own seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetImg2ImgPipeline, StableDiffusionXLControlNetImg2ImgPipeline
from safetensors.torch import load_file, save_file

from pairwright import plugins, weights
from pairwright.records import Edit, Edited, Failed
from tests.miniatures import pictures
from tests.miniatures.editors import write_controlnet
from tests.miniatures.sd15 import write_sd15
from tests.miniatures.sdxl import write_sdxl
from tests.perturbations.requests import pixels

# diffusers' Euler schedulers hand a tensor to np.array, which NumPy 2 deprecates for tensors; nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

LONG = " ".join(f"{chr(97 + number % 26)}{number}" for number in range(110))


def asked(number: int, instruction: str | None = "make it blue", width: int = 32, height: int = 32) -> Edit:
    return Edit(pictures.picture(number, width, height), "a red rose", seed=100 + number, instruction=instruction)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("controlnet")
    write_sd15(place / "sd15")
    write_sdxl(place / "sdxl")
    write_controlnet(place / "control")
    write_controlnet(place / "control-xl", xl=True)
    return place


def loaded(folders, *, xl=False, **options):
    names = ("sdxl", "control-xl") if xl else ("sd15", "control")
    model, controlnet = (str(folders / name) for name in names)
    settings = {"steps": 4, "sampler": "ddim", "dtype": "float32", "device": "cpu", "batch_size": 4} | options
    return plugins.load("perturbations", "controlnet", **({"model": model, "controlnet": controlnet} | settings))


@pytest.fixture(scope="module", params=[False, True], ids=["sd15", "sdxl"])
def model(request, folders):
    return loaded(folders, xl=request.param)


@pytest.mark.parametrize(
    ("xl", "kind"), [(False, StableDiffusionControlNetImg2ImgPipeline), (True, StableDiffusionXLControlNetImg2ImgPipeline)]
)
def test_it_is_the_pipeline_of_diffusers(folders, xl, kind):
    edit = asked(1)
    control = ControlNetModel.from_pretrained(folders / ("control-xl" if xl else "control"))
    absent = {"add_watermarker": False} if xl else {}
    pipe = kind.from_pretrained(folders / ("sdxl" if xl else "sd15"), controlnet=control, **absent)
    pipe.set_progress_bar_config(disable=True)
    expected = pipe(
        prompt="a red rose, make it blue",
        image=edit.picture.image,
        control_image=edit.picture.image,
        height=32,
        width=32,
        strength=0.8,
        num_inference_steps=4,
        guidance_scale=7.5,
        controlnet_conditioning_scale=0.8,
        generator=[torch.Generator().manual_seed(edit.seed)],
    ).images[0]
    (found,) = loaded(folders, xl=xl, sampler="model").edit([edit])
    assert np.abs(pixels(found) - np.asarray(expected).astype(int)).max() <= 1
    assert pixels(found).std() > 1


def test_alone_is_as_in_a_batch_whatever_the_sizes_and_texts(model):
    edits = [asked(0), asked(1, LONG), asked(2, "x", 40, 27), asked(3), asked(4, LONG)]
    together = model.edit(edits)
    for edit, result in zip(edits, together, strict=True):
        assert result.image.size == edit.picture.image.size
        assert np.abs(pixels(model.edit([edit])[0]) - pixels(result)).max() <= 1
    backwards = model.edit(edits[::-1])[::-1]
    assert all(np.abs(pixels(a) - pixels(b)).max() <= 1 for a, b in zip(together, backwards, strict=True))


def test_seed_instruction_and_picture_decide(model):
    edit = asked(0)
    same, seed, text, picture = model.edit(
        [edit, replace(edit, seed=7), replace(edit, instruction="add a horse"), replace(edit, picture=asked(5).picture)]
    )
    torch.manual_seed(1)  # the global stream has no say
    assert np.array_equal(pixels(model.edit([edit])[0]), pixels(model.edit([edit])[0]))
    for other in (seed, text, picture):
        assert np.abs(pixels(same) - pixels(other)).mean() > 0.2


def test_the_hundredth_word_of_an_instruction_changes_the_picture(model):
    words = LONG.split()
    words[99] = "zzz"
    one, other = model.edit([asked(0, LONG), asked(0, " ".join(words))])
    assert np.abs(pixels(one) - pixels(other)).max() > 0


def test_the_prompt_may_be_left_out(folders):
    alone = loaded(folders, with_prompt=False)
    edit = asked(0)
    first, second = alone.edit([edit, replace(edit, caption="two horses")])
    assert np.abs(pixels(first) - pixels(second)).max() <= 1
    told = replace(edit, caption="", instruction="a red rose, make it blue")
    with_prompt = loaded(folders)
    assert np.abs(pixels(with_prompt.edit([edit])[0]) - pixels(alone.edit([told])[0])).max() <= 1
    assert np.abs(pixels(with_prompt.edit([edit])[0]) - pixels(first)).mean() > 0.1


def test_at_strength_0_the_picture_is_as_the_autoencoder_gives_it(folders):
    model = loaded(folders, strength=0.0)
    edits = [asked(0), asked(1, width=36, height=28)]
    vae = model.pipeline.pipe.vae
    for edit, result in zip(edits, model.edit(edits), strict=True):
        height, width = edit.picture.pixels.shape[:2]
        padded = torch.nn.functional.pad(edit.picture.tensor, (0, -width % 8, 0, -height % 8), mode="replicate")
        with torch.no_grad():
            expected = vae.decode(vae.encode(2 * padded[None] - 1).latent_dist.mean).sample[0] / 2 + 0.5
        assert np.abs(pixels(result) - (expected.clamp(0, 1)[:, :height, :width] * 255).permute(1, 2, 0).numpy()).max() <= 1


def test_strength_and_conditioning_scale_count(folders):
    edit = asked(2)
    strong, weak, plain = (
        pixels(loaded(folders, **options).edit([edit])[0])
        for options in ({"strength": 1.0}, {"strength": 0.25}, {"strength": 1.0, "conditioning_scale": 0})
    )
    assert np.abs(strong - weak).mean() > 1
    assert np.abs(strong - plain).mean() > 0.2


def test_only_the_steps_that_its_strength_asks_for_are_run(folders):
    model = loaded(folders, steps=5, strength=0.4, guidance=1.0)
    seen = []
    hook = model.pipeline.pipe.controlnet.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    model.edit([asked(0), asked(1)])
    hook.remove()
    assert seen == [(2, 4, 8, 8)] * 2


def test_what_cannot_be_edited_says_why_and_costs_itself_only(model):
    broken = replace(asked(0), picture=pictures.broken())
    results = model.edit([asked(0, None), asked(1, "  \n"), broken, asked(2)])
    assert [type(each) for each in results] == [Failed, Failed, Failed, Edited]
    assert [each.reason for each in results[:2]] == ["there is no instruction"] * 2
    assert "decoded" in results[2].reason


def test_options_out_of_range(folders):
    with pytest.raises(ValueError, match="at least one step"):
        loaded(folders, steps=3, strength=0.2)
    for option, value in (("strength", 1.5), ("strength", -0.1), ("conditioning_scale", -1)):
        with pytest.raises(plugins.PluginError, match=f"option '{option}'"):
            loaded(folders, **{option: value})


def test_a_controlnet_of_another_family_is_refused(folders):
    with pytest.raises(weights.WeightsError, match=r"is not a ControlNet for .*: its cross_attention_dim is 72, the model's 32"):
        loaded(folders, controlnet=str(folders / "control-xl"))


def test_a_controlnet_for_another_autoencoder_is_refused(folders, tmp_path):
    write_controlnet(tmp_path, hint=(8, 16, 16, 16))
    with pytest.raises(weights.WeightsError, match=r"makes pictures smaller by 8, the autoencoder of .* by 4"):
        loaded(folders, controlnet=str(tmp_path))


def test_an_inpainting_model_is_refused(folders, tmp_path):
    with pytest.raises(weights.WeightsError, match="its UNet reads 9 channels"):
        loaded(folders, model=str(write_sd15(tmp_path, inpaint=True)))


def test_weights_that_do_not_fit_are_named(folders, tmp_path):
    path = write_controlnet(tmp_path) / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    state["foreign"] = state.pop("controlnet_mid_block.bias")
    save_file(state, path, {"format": "pt"})
    with pytest.raises(weights.WeightsError, match=r"1 missing keys: controlnet_mid_block\.bias\. 1 unexpected keys: foreign"):
        loaded(folders, controlnet=str(tmp_path))


def test_a_checkpoint_that_is_a_pickle_of_tensors_will_do(folders, tmp_path):
    write_controlnet(tmp_path, older=True)
    assert not list(tmp_path.glob("*.safetensors"))
    assert np.array_equal(
        pixels(loaded(folders, controlnet=str(tmp_path)).edit([asked(0)])[0]), pixels(loaded(folders).edit([asked(0)])[0])
    )
