"""How much the pictures of one prompt differ, by thumbnails and by a network's features."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairwright import evaluate, options
from pairwright.context import Context
from pairwright.evaluate import diversity
from pairwright.evaluate.diversity import DiversityError
from pairwright.evaluate.score import ScoreError
from pairwright.store import Store
from tests.miniatures.clip import write_clip
from tests.test_evaluate import generated, scored


def test_distances_worked_by_hand() -> None:
    # Differences of pairs: (1, 1) -> 1; (0, 2) -> sqrt(2); (1, 1) -> 1.
    assert diversity.root_mean_square(np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 2.0]])) == pytest.approx((2 + 2**0.5) / 3)
    assert diversity.one_minus_cosine(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])) == pytest.approx(2 / 3)


def test_a_thumbnail_is_the_mean_of_64_fields() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    expected = pixels.reshape(8, 4, 8, 2, 3).mean(axis=(1, 3)) / 255
    found = diversity.thumbnails([Image.fromarray(pixels)])
    assert np.abs(found[0] - expected.ravel()).max() <= 1.01 / 255, "8 bits, rounded across and down"
    white, black = diversity.thumbnails([Image.new("L", (9, 9), level) for level in (255, 0)])
    assert diversity.root_mean_square(np.stack([white, black])) == 1


def test_diversity_is_a_metric_with_one_number_per_prompt(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pictures = generated(store, {"base": 5, "vivid": 40}, prompts=8, each=3)
    chosen = options.Score(rewards=[options.Plugin(name="texture")], diversity="pixels")
    node = evaluate.score(chosen, Context(store, {"pictures": pictures}))
    compared = evaluate.compare(options.Compare(resamples=300), Context(store, {"scores": node}))
    said = json.loads((compared.path / "comparison.json").read_text())
    assert [metric["name"] for metric in said["metrics"]] == ["texture", "diversity"]
    assert said["metrics"][1]["unit"] == "RMS difference of 8 x 8 thumbnails, 0..1"
    row = said["comparisons"][1]
    assert (row["pictures"], row["prompts"]) == (8, 8)
    assert {each["category"] for each in row["categories"]} == {"roses", "tulips"}
    tables = json.loads((node.path / "tables.json").read_text())["diversity"]["tables"]
    rows = {each["prompt"]: each["diversity"] for each in store.open("diversity", tables["base"]).rows()}
    base = json.loads((pictures.path / "models.json").read_text())["base"]
    from pairwright.tables import picture_of

    own = [picture_of(each).image for each in store.open("pictures", base).rows() if each["prompt_id"] == "p3"]
    pairs = itertools.combinations(diversity.thumbnails(own), 2)
    assert rows["p3"] == pytest.approx(np.mean([np.sqrt(((one - other) ** 2).mean()) for one, other in pairs]))
    assert scored(store, pictures, rewards=("texture",)) != node, "without diversity it is another result"


def test_a_scorers_own_features_are_compared(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    pictures = generated(store, {"base": 5}, prompts=2, each=2)
    model = str(write_clip(tmp_path / "clip"))
    reward = options.Plugin(name="pickscore", options={"model": model, "dtype": "float32"})
    base = store.open("pictures", json.loads((pictures.path / "models.json").read_text())["base"])
    node = diversity.measure(store, base, reward, device="cpu", batch=3)
    from pairwright import resolve
    from pairwright.tables import picture_of

    clip = resolve.build("rewards", reward, "cpu").clip
    for row in node.rows():
        own = [picture_of(each).image for each in base.rows() if each["prompt_id"] == row["prompt"]]
        one, other = clip.image_features(own)
        assert row["diversity"] == pytest.approx(1 - float(one @ other), abs=1e-5)
    assert diversity.column("pickscore").unit == "1 - cosine of pickscore's image features"


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pictures = generated(store, {"base": 5}, prompts=3, each=1)
    rewards = [options.Plugin(name="texture")]
    with pytest.raises(DiversityError, match="make at least 2 per prompt"):
        evaluate.score(options.Score(rewards=rewards, diversity="pixels"), Context(store, {"pictures": pictures}))
    with pytest.raises(DiversityError, match="that reward has no image features"):
        evaluate.score(options.Score(rewards=rewards, diversity="texture"), Context(store, {"pictures": pictures}))
    with pytest.raises(ScoreError, match=r"names no reward of this step\. Did you mean 'pixels'"):
        evaluate.score(options.Score(rewards=rewards, diversity="pixel"), Context(store, {"pictures": pictures}))
