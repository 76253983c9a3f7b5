"""The large scorers of the catalogue, counted again; and what a plan says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLConfig, Qwen2VLModel

from pairwright import catalogue, hardware, options
from pairwright.catalogue import KNOWN
from pairwright.plan import amounts, networks
from pairwright.plan.scores import plan_scores
from pairwright.rewards._mplug_owl2 import Network
from pairwright.rewards._mplug_owl2_files import Sizes

QWEN_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
}
SIGHT = {"depth": 32, "num_heads": 16, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def test_deqa_is_as_listed() -> None:
    known = KNOWN["zhiyuanyou/DeQA-Score-Mix3"]
    sizes: dict[str, Any] = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    with torch.device("meta"), torch.no_grad():
        # The sentence has 15 tokens before the picture and 12 after it.
        network = Network(Sizes(model_type="mplug_owl2", rms_norm_eps=1e-5, **sizes), 15, 12, 5).requires_grad_(requires_grad=False)
        flop = networks.counted(lambda: network(torch.empty(1, 3, 448, 448)))
    assert parameters(network) == known.total
    assert flop == pytest.approx(known.flop["score"], rel=1e-3)


def test_hpsv3_is_as_listed() -> None:
    known = KNOWN["MizzenAI/HPSv3"]
    sight = SIGHT | {"embed_dim": 1280, "mlp_ratio": 4, "hidden_size": 3584}
    with torch.device("meta"), torch.no_grad():
        # One row more than the base model's tokenizer has entries.
        body = Qwen2VLModel(Qwen2VLConfig(text_config=QWEN_7B | {"vocab_size": 151_658}, vision_config=sight))
        head = nn.Sequential(nn.Linear(3584, 1024), nn.Linear(1024, 16), nn.Linear(16, 2))
        body.requires_grad_(requires_grad=False)
        states = torch.empty(1, 850, 3584)
        positions = torch.zeros(3, 1, 850, dtype=torch.long)
        read = networks.counted(lambda: body.language_model(inputs_embeds=states, position_ids=positions, use_cache=False))
    assert parameters(body) + parameters(head) == known.total
    assert read + 2 * parameters(body.visual) * 1024 == pytest.approx(known.flop["score"], rel=0.02)


def test_unifiedreward_is_a_qwen2_5_vl_of_seven_billion() -> None:
    sight = SIGHT | {"hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584}
    config = Qwen2_5_VLConfig(text_config=QWEN_7B | {"vocab_size": 152_064}, vision_config=sight, tie_word_embeddings=False)
    with torch.device("meta"):
        network = Qwen2_5_VLForConditionalGeneration(config)
    for name in ("CodeGoat24/UnifiedReward-qwen-7b", "CodeGoat24/UnifiedReward-2.0-qwen-7b@main"):
        known = catalogue.known(name)
        assert known is not None
        assert parameters(network) == known.total


def test_work_that_depends_on_an_answer_is_unknown() -> None:
    asked = amounts.Work()
    asked.network(KNOWN["CodeGoat24/UnifiedReward-qwen-7b"], "score", 10, 8)
    assert (asked.flop, asked.unknown) == (0, "how many words a model answers")


@pytest.fixture
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hardware, "throughput", lambda *_: 1e11)


@pytest.mark.usefixtures("_alone")
@pytest.mark.usefixtures("every_format")  # weights of a processor that only imitates bfloat16 are of twice the size
@pytest.mark.parametrize(
    ("name", "download", "time"),
    [("deqa", "15.9 GB", "about"), ("hpsv3", "15.5 GB", "about"), ("unifiedreward", "16.6 GB", "unknown: how many words")],
)
def test_a_plan_says_what_a_large_scorer_downloads_and_needs(name: str, download: str, time: str) -> None:
    asked = options.Score(rewards=options.rewards([name]), device="cpu")
    text = plan_scores(asked, [asked.rewards], 100, 0.26e6)
    assert f"about {download}" in text
    (line,) = [each for each in text.splitlines() if each.startswith("Time")]
    assert time in line
    assert f"{name}: " in text
    assert download in next(each for each in text.splitlines() if "memory" in each)
