"""OneIG's style score: its formula on two encoders in the published layout, CSD against a plain rendering."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

from pairwright import plugins, weights
from pairwright.records import Picture, Prompt
from pairwright.rewards import stylization
from tests.miniatures import open_clip, pictures, plain_clip
from tests.miniatures.clip import JOINT, write_style_encoder

SIZE = open_clip.SIDE * open_clip.PATCH
PROMPTS = [Prompt("a cat", category="watercolor"), Prompt("a dog", category="Pixel Art"), Prompt("a cow", category="line_art")]


def shown() -> list[Picture]:
    return [pictures.picture(number, width=40 + 8 * number, height=40) for number in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("stylization")
    write_style_encoder(root / "se")
    return open_clip.write_csd(root / "csd", style_encoder_width=JOINT)


def load(folder: Path, **options: object) -> Any:
    given = {"model": str(folder), "backbone": str(folder.parent / "se"), "dtype": "float32", "device": "cpu"}
    return plugins.load("rewards", "stylization", **{**given, **options})


@pytest.fixture(scope="module")
def reward(folder):
    return load(folder)


def csd(picture: Picture) -> np.ndarray:
    """The unit style vector, in float64 from the authors' description."""
    state = {
        name.replace("backbone.", "visual."): value.numpy().astype(np.float64) for name, value in open_clip.csd_state().items()
    }
    short = min(picture.image.size)
    resized = picture.image.resize((SIZE * picture.image.width // short, SIZE * picture.image.height // short), 3)
    left = round((resized.width - SIZE) / 2)
    pixels = plain_clip.normalised(np.asarray(resized)[:, left : left + SIZE] / 255)
    heads = open_clip.CSD_WIDTH // 64
    vector = plain_clip.see(pixels, state, heads, plain_clip.quick_gelu) @ state["last_layer_style"]
    return vector / np.sqrt(vector @ vector)


def style_encoder(folder: Path, picture: Picture) -> np.ndarray:
    network = CLIPVisionModelWithProjection.from_pretrained(folder.parent / "se").eval()
    side = network.config.image_size
    processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    with torch.no_grad():
        vector = network(processor(images=picture.image, return_tensors="pt")["pixel_values"]).image_embeds[0].double()
    result: np.ndarray = (vector / vector.norm()).numpy()
    return result


def test_it_is_the_published_formula(folder, reward):
    references = [torch.load(folder / f"{name}_embed.pt", weights_only=True) for name in ("CSD", "SE")]
    expected = []
    for picture, style in zip(shown(), ("watercolor", "pixel_art", "line_art"), strict=True):
        nearest = [
            max(0.0, float((kept[style].double().numpy() @ vector).max()))
            for kept, vector in zip(references, (csd(picture), style_encoder(folder, picture)), strict=True)
        ]
        expected.append(sum(nearest) / 2)
    assert [score for (score,) in reward.score(shown(), PROMPTS)] == pytest.approx(expected, abs=1e-5)
    assert np.ptp(expected) > 0.01
    assert reward.columns[0].name == "stylization"


def test_a_negative_cosine_counts_as_none():
    against = {"clay": torch.tensor([[-1.0, 0.0]])}
    along = {"clay": torch.tensor([[0.6, 0.8], [0.0, 1.0]])}

    def encode(images: Any) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0]] * len(images))

    reward = stylization.Stylization((encode, encode), (against, along), style="Clay")
    assert reward.score(shown()[:1], PROMPTS[:1]) == [pytest.approx((0.3,), abs=1e-6)]


def test_a_prompt_of_no_known_style_is_unscored_and_costs_itself_only(reward):
    prompts = [Prompt("a cat", category="steampunk"), PROMPTS[1], Prompt("a cow")]
    rows = reward.score(shown(), prompts)
    assert rows[0].reason == "no references of the prompt's category 'steampunk'"
    assert rows[2].reason == "no references of the prompt's category ''"
    assert rows[1] == pytest.approx(reward.score(shown(), PROMPTS)[1], abs=1e-6)
    assert "decoded" in reward.score([pictures.broken()], PROMPTS[:1])[0].reason


def test_alone_is_as_in_a_batch(folder, reward):
    together = reward.score(shown(), PROMPTS)
    for picture, prompt, row in zip(shown(), PROMPTS, together, strict=True):
        assert reward.score([picture], [prompt])[0] == pytest.approx(row, abs=1e-6)
    assert load(folder, style="pixel art").score(shown(), [Prompt("")] * 3)[1] == pytest.approx(together[1], abs=1e-6)


def test_an_unknown_style_lists_the_styles(folder):
    with pytest.raises(plugins.PluginError, match=r"no references of the style 'line-art'\. Did you mean 'line_art'\?"):
        load(folder, style="line-art")


def test_what_is_missing_is_named_with_its_source(tmp_path, folder):
    with pytest.raises(
        weights.WeightsError, match=r"must hold checkpoint\.pth, CSD_embed\.pt and SE_embed\.pt: .*learn2phoenix/CSD"
    ):
        load(folder, model=str(tmp_path))
    open_clip.write_csd(tmp_path, style_encoder_width=JOINT)
    torch.save({"clay": torch.ones(1, JOINT)}, tmp_path / "SE_embed.pt")
    with pytest.raises(weights.WeightsError, match=r"of different styles: \['clay', 'line_art', 'pixel_art', 'watercolor'\]"):
        load(folder, model=str(tmp_path))


def test_a_checkpoint_that_would_execute_something_is_refused_with_a_way_out(tmp_path, folder):
    open_clip.write_csd(tmp_path, style_encoder_width=JOINT)
    state = {f"module.{key}": value for key, value in open_clip.csd_state().items()}
    torch.save({"model_state_dict": state, "args": argparse.Namespace(lr=1)}, tmp_path / "checkpoint.pth")
    with pytest.raises(weights.WeightsError, match=r"save the tensors of its model_state_dict as checkpoint\.safetensors"):
        load(folder, model=str(tmp_path))
