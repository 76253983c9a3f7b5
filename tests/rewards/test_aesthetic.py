"""LAION's two predictors: the published heads on CLIP's unit vector, and never one for the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import CLIPModel

from pairwright import plugins, resolve, weights
from pairwright.options import Plugin
from pairwright.records import Picture, Prompt
from pairwright.rewards import _aesthetic, aesthetic, aesthetic_sac
from tests.miniatures import pictures
from tests.miniatures.clip import JOINT, MEAN, SIZE, STD, aesthetic_sac_state, aesthetic_state, write_clip, write_head

HEADS = {"aesthetic": aesthetic_state, "aesthetic_sac": aesthetic_sac_state}
FILES = {"aesthetic": aesthetic.HEAD.file, "aesthetic_sac": aesthetic_sac.HEAD.file}
NAMES = sorted(HEADS)


def shown() -> list[Picture]:
    """Pictures that nobody has seen yet; the second has an odd remainder to crop."""
    return [pictures.picture(number, width, height) for number, (width, height) in enumerate([(40, 32), (32, 37), (90, 50)])]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a CLIP as OpenAI has it, and both heads."""
    folder = tmp_path_factory.mktemp("aesthetic")
    write_clip(folder / "clip", openai=True)
    for name, state in HEADS.items():
        write_head(folder / FILES[name], state())
    return folder


def load(name: str, place: Path, **options: object) -> Any:
    digest = write_head(place / FILES[name], HEADS[name]())
    given = {"model": str(place), "backbone": str(place / "clip"), "sha256": digest, "dtype": "float32", "device": "cpu"}
    return plugins.load("rewards", name, **{**given, **options})


def published(name: str, place: Path, picture: Picture) -> float:
    """The authors' way: OpenAI's preprocessing, the unit vector, the head as a module in evaluation mode."""
    short = min(picture.image.size)
    resized = picture.image.resize((SIZE * picture.image.width // short, SIZE * picture.image.height // short), 3)
    left, top = (int(round((side - SIZE) / 2)) for side in resized.size)  # noqa: RUF046 - torchvision's words
    pixels = (np.asarray(resized)[top : top + SIZE, left : left + SIZE] / 255 - MEAN) / STD
    model = CLIPModel.from_pretrained(place / "clip").eval()
    state = HEADS[name]()
    widths = [state[f"layers.{number}.weight"].shape for number in (0, 2, 4, 6, 7)] if name == "aesthetic_sac" else []
    head: nn.Module = nn.Linear(JOINT, 1)
    if widths:
        first, second, third, fourth, last = (nn.Linear(inputs, outputs) for outputs, inputs in widths)
        head = nn.Sequential(first, nn.Dropout(0.2), second, nn.Dropout(0.2), third, nn.Dropout(0.1), fourth, last)
        state = {key.removeprefix("layers."): value for key, value in state.items()}
    head.load_state_dict(state)
    with torch.no_grad():
        vector = model.get_image_features(torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]).pooler_output
        return float(head.eval()(vector / vector.norm(dim=-1, keepdim=True)))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_published_score(name, place):
    rows = load(name, place).score(shown(), [Prompt("plays no part")] * 3)
    expected = [published(name, place, picture) for picture in shown()]
    assert [score for (score,) in rows] == pytest.approx(expected, abs=1e-5)
    assert np.ptp(expected) > 0.01


def test_layers_without_activations_collapse_by_hand(tmp_path):
    # y = 2 (x1 + 3 x2 + 1) - 5 = 2 x1 + 6 x2 - 3
    state = {"a.weight": [[1.0, 3.0]], "a.bias": [1.0], "b.weight": [[2.0]], "b.bias": [-5.0]}
    write_head(tmp_path / "head.pth", {key: torch.tensor(value) for key, value in state.items()})
    weight, bias = _aesthetic.affine(tmp_path / "head.pth", ("a", "b"))
    assert (weight.tolist(), bias) == ([2.0, 6.0], -3.0)


def test_the_two_have_names_digests_and_files_of_their_own(place):
    one, other = (load(name, place) for name in NAMES)
    assert [reward.columns[0].name for reward in (one, other)] == ["aesthetic", "aesthetic_sac"]
    assert one.columns[0].unit == "LAION aesthetic v1 (sa_0_4_vit_l_14_linear), ratings 1..10"
    assert other.columns[0].unit == "LAION aesthetic v2 (sac+logos+ava1-l14-linearMSE), ratings 1..10"
    assert (aesthetic.HEAD.sha256[:8], aesthetic_sac.HEAD.sha256[:8]) == ("2cd4e60f", "21dd590f")
    assert {len(each.HEAD.sha256) for each in (aesthetic, aesthetic_sac)} == {64}


@pytest.mark.parametrize("name", NAMES)
def test_another_file_is_refused_unless_its_digest_is_given(name, place):
    with pytest.raises(weights.WeightsError, match=r"is not s.*\.pth: its sha256 is [0-9a-f]{64} instead of (2cd4e60f|21dd590f)"):
        load(name, place, sha256="")


def test_one_head_is_not_taken_for_the_other(place):
    digest = write_head(place / "sac.pth", aesthetic_sac_state())
    with pytest.raises(weights.WeightsError, match=r"2 missing keys: bias, weight\. 10 unexpected keys: layers\.0\.bias"):
        load("aesthetic", place, model=str(place / "sac.pth"), sha256=digest)


def test_a_head_that_is_not_there_says_where_it_is(tmp_path, place, monkeypatch):
    with pytest.raises(
        weights.WeightsError, match=r"github\.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear\.pth"
    ):
        load("aesthetic", place, model="sa_0_4_vit_l_14_linear.pth")
    with pytest.raises(weights.WeightsError, match=r"has no sac.*or openai-clip_aesthetic-predictor\.pt"):
        load("aesthetic_sac", place, model=str(tmp_path))


def test_a_head_of_another_width_is_refused(tmp_path, place):
    digest = write_head(tmp_path / "wide.pth", {"weight": torch.zeros(1, 20), "bias": torch.zeros(1)})
    with pytest.raises(weights.WeightsError, match=r"vectors of 20 numbers, but the backbone's have 16"):
        load("aesthetic", place, model=str(tmp_path / "wide.pth"), sha256=digest)
    digest = write_head(tmp_path / "two.pth", {"weight": torch.zeros(2, JOINT), "bias": torch.zeros(2)})
    with pytest.raises(weights.WeightsError, match=r"do not make one number of a vector: weight \(2, 16\)"):
        load("aesthetic", place, model=str(tmp_path / "two.pth"), sha256=digest)


@pytest.mark.parametrize("name", NAMES)
def test_alone_is_as_in_a_batch_and_a_broken_picture_is_unscored(name, place):
    reward = load(name, place)
    first, broken, second = reward.score([shown()[0], pictures.broken(), shown()[1]], [Prompt("")] * 3)
    assert "decoded" in broken.reason
    assert reward.score([shown()[0]], [Prompt("")])[0] == pytest.approx(first, abs=1e-5)
    assert reward.score([shown()[1]], [Prompt("")])[0] == pytest.approx(second, abs=1e-5)


def test_the_backbone_is_fingerprinted_by_its_content(tmp_path, place):
    def meaning(backbone: Path) -> Any:
        options = {"model": str(place / FILES["aesthetic"]), "backbone": str(backbone)}
        return resolve.meaning("rewards", Plugin(name="aesthetic", options=options))["options"]["backbone"]

    assert meaning(place / "clip").startswith("sha256:")
    assert meaning(place / "clip") != meaning(write_clip(tmp_path, seed=1, openai=True))
    default = resolve.meaning("rewards", Plugin(name="aesthetic", options={"model": str(place / FILES["aesthetic"])}))
    assert default["options"]["backbone"] == "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41"
