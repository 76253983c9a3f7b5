"""The scoring benchmark in miniature: both ways give the same scores, and a way that does not has no time."""

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPModel

from benchmarks.scoring import __main__ as benchmark
from benchmarks.scoring import accelerator, checkpoints, pixels
from pairwright import catalogue
from tools.tiny_pack.vocabulary import write_clip_tokenizer

COLUMNS = ["pickscore", "realism", "aesthetic", "aesthetic_sac", "clipscore_cosine"]


@pytest.mark.usefixtures("every_format")  # a processor that only imitates bfloat16 would score in float32
@pytest.mark.filterwarnings("ignore:.*torchvision")
def test_both_ways_agree_and_everything_is_written(tmp_path: Path):
    words = ["--preference", "mini", "--looks", "mini", "--pictures", "6", "--published", "2", "--side", "48"]
    benchmark.main([*words, "--batches", "1", "4", "--repeats", "1", "--dtype", "bfloat16", "--results", str(tmp_path)])
    found = json.loads((tmp_path / "scoring.json").read_text())
    labels = [way["label"] for way in found["ways"]]
    assert labels[1:] == [
        f"pairwright, batch {batch}, {dtype}" for batch, dtype in ((1, "bfloat16"), (4, "bfloat16"), (4, "float32"))
    ]
    assert [len(way["seconds"]) for way in found["ways"]] == [3, 1, 1, 1]
    assert 0 < found["ways"][3]["apart"] < 1e-5 < found["ways"][1]["apart"] < 0.03, "bfloat16 is seen, and float32 is closer"
    assert found["decoding"].keys() == {"PIL", "PIL, 5 scorers", "pairwright"}
    page = (tmp_path / "scoring.md").read_text()
    assert "a miniature" in page
    assert page.count("| pairwright, batch") == 3


def test_a_way_that_gives_other_scores_has_no_time():
    way = benchmark.Way("another way")
    expected = {name: [1.0, 2.0] for name in COLUMNS}
    benchmark.agree(way, {name: [1.0, 2.001] for name in COLUMNS}, expected, 0.002)
    assert way.apart == pytest.approx(0.001)
    with pytest.raises(benchmark.ScoringError, match=r"another way: scores lie 0\.01 apart"):
        benchmark.agree(way, {**expected, "realism": [1.0, 3.0]}, expected, 0.002)
    assert list(benchmark.SCALES) == COLUMNS


def test_colourfulness_is_timed_against_its_formula(tmp_path: Path):
    found = pixels.colour(benchmark.PHOTOGRAPHS / "china.jpg", (60, 40), repeats=1)
    assert set(found) == {"numpy", "pairwright"}
    assert min(found.values()) > 0


def test_what_is_made_for_an_accelerator_runs_on_anything(tmp_path: Path):
    sizes = accelerator.Sizes(
        clip=checkpoints.SHAPES["mini"],
        blip=(32, 1, 2),
        bert=(32, 1, 2),
        qwen=(64, 1, 2, 1),
        qwen_vision=(64, 1, 2),
        words=64,
        patches=(4, 4),
        text=12,
    )
    found = list(accelerator.measure(torch.device("cpu"), sizes, 2))
    assert [each.label.split()[0] for each in found] == ["CLIP-H", "ImageReward", "HPSv3's"]
    assert all(each.flop > 1e5 and each.rate > 0 for each in found)


def test_the_full_sizes_are_the_published_ones(tmp_path: Path):
    tokenizer = write_clip_tokenizer(tmp_path)
    with torch.device("meta"):
        clip = CLIPModel(checkpoints.configuration(checkpoints.SHAPES["h14"], tokenizer, "gelu"))
        network, _ = accelerator.hpsv3_network(torch.device("meta"), accelerator.Sizes(), 1)
    assert sum(each.numel() for each in clip.parameters()) == catalogue.KNOWN["yuvalkirstain/PickScore_v1"].total
    body = sum(each.numel() for each in network.body.parameters())
    assert body == pytest.approx(7.7e9, rel=0.01)
