"""The benchmark of training, on networks so small that only whether it works can be seen."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import torch

from benchmarks.training import curves, device, networks, page
from benchmarks.training.curves import Curve
from benchmarks.training.race import RaceError, Result, Spent, agreement, race
from benchmarks.training.ways import CONTESTS

CPU = torch.device("cpu")
SMALL_SD35 = {
    **networks.SD35_TRANSFORMER,
    "sample_size": 8,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 48,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 40,
    "pos_embed_max_size": 8,
    "dual_attention_layers": (0,),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return networks.write(tmp_path_factory.mktemp("small"), networks.TINY)


@pytest.mark.parametrize(
    ("name", "forwards", "rollouts"),
    [
        ("dpo", 4, []),
        ("dpo-full", 4, []),
        ("realalign", (4 + 1, 4 + 20), [1.0]),
        ("dro-all", (3 + 1, 4 + 20), [1.0]),
        ("dro-none", 2, [0.0]),
    ],
)
def test_both_ways_have_the_same_gradient_and_are_timed(
    base: Path, tmp_path: Path, name: str, forwards: Any, rollouts: list[float]
) -> None:
    found = race(base, CONTESTS[name], batch=8, micro=4, repeats=1, side=networks.TINY.pixels, root=tmp_path)
    assert 0 <= found.difference <= 1e-4
    assert len(found.ours) == len(found.published) == 1
    assert found.faster == found.published[0].wall / found.ours[0].wall
    assert found.rollouts == rollouts
    if isinstance(forwards, tuple):
        assert forwards[0] < found.forwards[0] < forwards[1], "trajectories stop on the way"
    else:
        assert found.forwards == [forwards]


def test_gradients_that_differ_or_are_not_there_do_not_count() -> None:
    one = torch.tensor([3.0, 4.0])
    assert agreement("x", one + torch.tensor([0.0, 4e-4]), one) == pytest.approx(8e-5, rel=1e-2)
    with pytest.raises(RaceError, match=r"x: the gradients are 0\.0002 apart"):
        agreement("x", one + torch.tensor([0.0, 1e-3]), one)
    with pytest.raises(RaceError, match="no gradient to compare"):
        agreement("x", torch.zeros(2), torch.zeros(2))
    with pytest.raises(RaceError, match="nan apart"):
        agreement("x", one * float("nan"), one)


def result(label: str, target: float | None, slow: list[float], fast: list[float], rollouts: list[float]) -> Result:
    published, ours = ([Spent(wall, wall / 2) for wall in each] for each in (slow, fast))
    return Result(label, target, 4, 2, 64, published, ours, 2e-6, [4.0] * len(fast), rollouts)


def test_the_table_says_medians_ranges_and_whether_the_target_is_reached() -> None:
    found = [
        result("stage 2", 1.5, [8.0, 12.0, 9.0], [4.0, 4.0, 6.0], []),
        result("stage 1", 6.0, [8.0], [4.0], [0.25]),
    ]
    assert page.rows_of(found) == [
        ["stage 2", "2.25", "1.00", "**2.00** (1.50 .. 3.00)", "2.00", "1.5: yes", "4.0", "", "2e-06"],
        ["stage 1", "2.00", "1.00", "**2.00** (2.00 .. 2.00)", "2.00", "6: no", "4.0", "25 %", "2e-06"],
    ]


def test_a_real_runs_share_lies_between_none_and_all() -> None:
    """A quarter of the way from 1 to 3 seconds per sample: 1.5, against 9."""
    results = {"dro-all": result("", None, [36.0], [12.0], [1.0]), "dro-none": result("", None, [36.0], [4.0], [0.0])}
    share = {"run": "runs/x/stage1", "steps": 60, "mean": 0.25, "quarters": [0.0, 0.2, 0.3, 0.5]}
    text = page.share_text(share, results)
    assert "25.0 % of the samples needed a rollout (by quarters: 0.0 %, 20.0 %, 30.0 %, 50.0 %)" in text
    assert "6.0 times faster" in text


def test_curves_start_at_0_and_end_at_their_largest_size() -> None:
    curve = Curve("a < b", "micro-batch", (1, 4), (result("", None, [8.0], [4.0], []), result("", None, [4.0], [2.0], [])))
    drawn = ET.fromstring(curves.svg([curve]))
    lines = [each.get("points") for each in drawn.iter() if each.tag.endswith("polyline")]
    assert lines == ["75.0,0.0 300.0,90.0", "75.0,90.0 300.0,135.0"]
    assert "| 4 | 1.00 | 0.500 | 2.00 |" in curve.table()


def test_the_configurations_are_the_real_ones() -> None:
    """By the number of operations of a forward, and of SD-1.5's weights."""
    with torch.device("meta"):
        from diffusers import UNet2DConditionModel

        assert networks.parameters(UNet2DConditionModel(**networks.SD15_UNET)) == 859_520_964
    real, small = networks.flop(networks.REAL), networks.flop(networks.SMALL)
    assert real["unet"] == pytest.approx(0.803e12, rel=0.01)
    assert real["encode"] == pytest.approx(1.117e12, rel=0.01)
    assert device.forward_flop("sd35", networks.SD35_TRANSFORMER, 512) == pytest.approx(2.44e12, rel=0.02)
    # The encoders may not weigh more in the small model than in the real one: leaving them out is one of the savings.
    assert 0.9 < (small["encode"] / small["unet"]) / (real["encode"] / real["unet"]) <= 1
    assert small["text"] / small["unet"] <= real["text"] / real["unet"]


@pytest.mark.parametrize(("name", "config", "side"), [("sd15", networks.TINY.unet, 64), ("sd35", SMALL_SD35, 64)])
def test_what_a_gpu_shall_measure_runs(name: Any, config: Any, side: int, tmp_path: Path) -> None:
    found = device.measure(name, config, tmp_path, device=CPU, side=side, batch=2, micro=2, repeats=1, compiled=False)
    speeds = {each["label"]: each for each in found["speeds"]}
    assert len(speeds) == (4 if name == "sd15" else 3)
    assert all(each["pairs_per_second"] > 0 and 0 < each["share"] < 1 for each in speeds.values())
    dpo, none = speeds["stage 2, LoRA"], speeds["stage 1, `dro`, no rollout needed"]
    assert dpo["flop"] == pytest.approx((4 + 2 * 1.13) * found["forward"])
    assert none["flop"] == pytest.approx((2 + 1.13) * found["forward"])
    text = page.speeds_page(found, {"versions": {}, "pack": {}, "date": "", "machine": "", "devices": [], "system": ""})
    assert re.search(r"\| stage 2, LoRA \| 2 \| [\d.,]+ \|", text)


@pytest.mark.slow
def test_a_compiled_network_still_switches_its_adapters(tmp_path: Path) -> None:
    blocks = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
    config = {**networks.TINY.unet, **blocks, "block_out_channels": (8, 16), "layers_per_block": 1}
    found = device.trainer("sd15", config, CONTESTS["dpo"], tmp_path, side=64, device=CPU, batch=2, micro=2)
    for value in found.policy.trained.values():
        value.data.add_(0.1)
    ((plain, _),) = found.errors(0)
    found.policy.network.compile(backend="eager")
    ((compiled, _),) = found.errors(0)
    assert (plain.winner_gain.abs() > 1e-4).all()
    for name in ("policy_winner", "policy_loser", "reference_winner", "reference_loser"):
        torch.testing.assert_close(getattr(compiled, name), getattr(plain, name), rtol=1e-5, atol=1e-6)
