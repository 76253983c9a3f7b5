"""Repainting with PixArt-alpha: diffusers' own pipeline where all is repainted, and what is kept is put back at every step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import PixArtAlphaPipeline

from pairwright import plugins, weights
from pairwright.perturbations import _pipelines, inpaint_pixart
from pairwright.records import Edit, Edited, Failed
from tests.miniatures import pictures
from tests.miniatures.pixart import write_pixart
from tests.perturbations.requests import bad, pixels, request

pytest.importorskip("sentencepiece", reason="pip install 'pairwright[pixart]'")
# Of diffusers' DPM-Solver under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pixart(tmp_path_factory.mktemp("pixart"))


def built(folder, **changes):
    options = {"model": str(folder), "steps": 3, "dtype": "float32", "device": "cpu", **changes}
    return plugins.load("perturbations", "inpaint_pixart", **options)


@pytest.fixture(scope="module")
def model(folder):
    return built(folder)


def corner(number: int, side: int = 64) -> Edit:
    """Only the upper left quarter of a quarter is repainted."""
    mask = np.zeros((side, side), dtype=np.float32)
    mask[: side // 4, : side // 4] = 1
    return Edit(pictures.picture(number, side, side), "A Rose", seed=number + 3, mask=mask)


def own(model, edit: Edit):
    """The photograph's latents."""
    vae = model.pipe.vae
    with torch.no_grad():
        return vae.encode(edit.picture.tensor[None] * 2 - 1).latent_dist.mode() * vae.config.scaling_factor


@pytest.mark.parametrize(("guidance", "sampler"), [(4.5, "model"), (1.0, "model"), (4.5, "ddim")])
def test_where_all_is_repainted_it_is_the_pipeline_of_diffusers(folder, guidance, sampler):
    edit = Edit(pictures.picture(1, 32, 48), "A Red Rose ", seed=5, mask=np.ones((48, 32), dtype=np.float32))
    pipe = PixArtAlphaPipeline.from_pretrained(folder)
    pipe.scheduler = _pipelines.scheduler(pipe.scheduler, sampler)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn((4, 12, 8), generator=torch.Generator().manual_seed(edit.seed))
    expected = pipe(
        edit.caption,
        num_inference_steps=4,
        guidance_scale=guidance,
        height=48,
        width=32,
        latents=noise[None],
        clean_caption=False,
        use_resolution_binning=False,
        output_type="np",
    ).images[0]
    (result,) = built(folder, steps=4, guidance=guidance, sampler=sampler).edit([edit])
    assert np.abs(pixels(result) - (expected * 255).round()).max() <= 1


def test_the_models_of_1024_pixels_are_told_the_size(tmp_path):
    folder = write_pixart(tmp_path, sample_size=128)
    edit = Edit(pictures.picture(1, 32, 48), "a rose", seed=5, mask=np.ones((48, 32), dtype=np.float32))
    pipe = PixArtAlphaPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn((4, 12, 8), generator=torch.Generator().manual_seed(edit.seed))
    shared = {"num_inference_steps": 2, "height": 48, "width": 32, "clean_caption": False, "use_resolution_binning": False}
    expected = pipe("a rose", latents=noise[None], output_type="np", **shared).images[0]
    assert np.abs(pixels(built(folder, steps=2).edit([edit])[0]) - (expected * 255).round()).max() <= 1


def test_what_is_kept_is_put_back_at_every_step_noised_to_where_the_sampling_is(model, monkeypatch):
    edit = corner(2)
    seen, ends = [], []
    forward, decode = model.pipe.transformer.forward, model.pipe.vae.decode

    def watched(given, **more):
        seen.append((given[:1].clone(), int(more["timestep"][0])))
        return forward(given, **more)

    def ended(latents):
        ends.append(latents)
        return decode(latents)

    monkeypatch.setattr(model.pipe.transformer, "forward", watched)
    monkeypatch.setattr(model.pipe.vae, "decode", ended)
    model.edit([edit])
    noise = torch.randn((4, 16, 16), generator=torch.Generator().manual_seed(edit.seed))[None]
    train = model.pipe.scheduler.alphas_cumprod
    assert len(seen) == 3
    for place, (latents, timestep) in enumerate(seen):
        share = train[timestep]
        expected = share.sqrt() * own(model, edit) + (1 - share).sqrt() * noise if place else noise
        difference = (latents - expected).abs().mean(dim=(0, 1))
        assert difference[4:].max() < 1e-3
        assert difference[:4, 4:].max() < 1e-3
        assert place == 0 or difference[:4, :4].mean() > 0.02
    last = (ends[0] * model.pipe.vae.config.scaling_factor - own(model, edit)).abs().mean(dim=(0, 1))
    assert max(last[4:].max(), last[:4, 4:].max()) < 1e-5
    assert last[:4, :4].mean() > 0.05


def test_less_strength_starts_from_the_photograph_and_takes_fewer_steps(folder, monkeypatch):
    model = built(folder, steps=4, strength=0.5)
    seen = []
    forward = model.pipe.transformer.forward

    def watched(given, **more):
        seen.append(given[:1].clone())
        return forward(given, **more)

    monkeypatch.setattr(model.pipe.transformer, "forward", watched)
    edit = corner(1)
    (weak,) = model.edit([edit])
    assert len(seen) == 2
    noise = torch.randn((4, 16, 16), generator=torch.Generator().manual_seed(edit.seed))[None]
    first = model.pipe.scheduler.timesteps[2]
    share = model.pipe.scheduler.alphas_cumprod[int(first)]
    assert torch.allclose(seen[0], share.sqrt() * own(model, edit) + (1 - share).sqrt() * noise, atol=1e-3)
    assert not np.array_equal(pixels(weak), pixels(built(folder, steps=4).edit([edit])[0]))


def test_alone_is_as_in_a_batch_whatever_the_sizes(model):
    edits = [request(0), request(1, 40, 27), request(2), request(3, 40, 27)]
    for edit, result in zip(edits, model.edit(edits), strict=True):
        assert result.image.size == edit.picture.image.size
        assert np.abs(pixels(model.edit([edit])[0]) - pixels(result)).max() <= 1


def test_the_seed_and_the_caption_decide(model):
    first, other, told = model.edit([request(0), request(0, seed=7), request(0, caption="a blue house")])
    assert np.abs(pixels(first) - pixels(other)).mean() > 2
    assert not np.array_equal(pixels(first), pixels(told))
    torch.manual_seed(1)
    assert np.array_equal(pixels(model.edit([request(3)])[0]), pixels(model.edit([request(3)])[0]))


def test_what_cannot_be_repainted_says_why_and_costs_itself_only(model):
    good = request(0)
    cases = bad(good)
    results = model.edit([*(edit for edit, _ in cases), good])
    assert [type(result) for result in results] == [Failed] * 4 + [Edited]
    for result, (_, words) in zip(results, cases, strict=False):
        assert words in result.reason


def test_without_guidance_there_is_no_second_forward_and_captions_are_encoded_once(folder):
    model = built(folder, steps=2, guidance=1.0)
    sizes = []
    model.pipe.transformer.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    model.edit([request(0), request(1)])
    assert sizes == [2, 2]
    assert list(model.texts.known) == ["a red rose"]


def test_a_close_up_leaves_the_background_as_it_is(folder):
    edit = request(4, 64, 64)
    (result,) = built(folder, steps=2, crop=0.25).edit([edit])
    assert np.array_equal(pixels(result)[edit.mask == 0], edit.picture.pixels[edit.mask == 0])


def test_what_is_missing_is_named(tmp_path, folder, monkeypatch):
    with pytest.raises(weights.WeightsError, match=r"it has no model_index\.json"):
        built(tmp_path)
    with pytest.raises(plugins.PluginError, match="at least one step"):
        built(folder, strength=0.2)
    monkeypatch.setattr(inpaint_pixart, "_installed", lambda name: name != "sentencepiece")
    with pytest.raises(weights.WeightsError, match=r"needs sentencepiece: pip install 'pairwright\[pixart\]'"):
        built(folder)
