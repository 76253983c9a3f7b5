"""What a plan says of perturbations that have no denoising network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pairwright import places, recipe
from pairwright.plan import amounts, work
from pairwright.plan.graph import Graph


def planned(folder: Path, **changes: Any) -> amounts.Work:
    photographs = folder / "photographs"
    photographs.mkdir(exist_ok=True)
    for number in range(20):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(photographs / f"{number}.png")
        (photographs / f"{number}.txt").write_text("a flower")
    step = {
        "verb": "curate",
        "source": {"name": "imagefolder", "path": str(photographs)},
        "saliency": False,
        "gap": {"reward": "texture", "at_least": 0.0},
        "keep": {"reward": "texture", "top": 4},
        **changes,
    }
    graph = Graph(recipe.parse({"name": "small", "step": {"pairs": step}}), folder, places.Hub(silent="a test"))
    return work.of_step(graph.recipe.steps[0], graph)


def test_migan_takes_its_measured_time_of_one_core_whatever_the_size(tmp_path: Path) -> None:
    found = planned(tmp_path, perturbation={"name": "migan", "model": "migan_pipeline_v2.onnx"})
    assert not found.unknown
    assert found.flop == 0
    assert "0.9 s of one core each, whatever the size" in found.said
    eager = planned(tmp_path, perturbation={"name": "migan", "model": "migan_pipeline_v2.onnx"}, eager=True)
    pictures = 10 * (0.9 + 4 * 512**2 / 1e6 * amounts.SECONDS_PER_MEGAPIXEL)
    assert eager.seconds - found.seconds == pytest.approx(pictures), "20 repaints instead of 4 / 40 %"


def test_photometric_has_no_weights_and_takes_its_areas_time(tmp_path: Path) -> None:
    small, large = (planned(tmp_path, perturbation="photometric", resolution=side) for side in (512, 1024))
    assert not small.unknown
    assert "0.034 s of one core each, no weights" in small.said
    assert "0.14 s of one core each, no weights" in large.said
    assert small.flop == large.flop == 0
