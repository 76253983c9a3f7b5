"""A pack's checkpoints come back out of the pack."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tools.tiny_pack import diffusion, judging, layouts, scorers
from tools.tiny_pack.cards import CARDS
from tools.tiny_pack.restore import restore
from tools.tiny_pack.training import Run

PACK = Path(__file__).parents[2] / "src/pairwright/tiny"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    restore(PACK, folder)
    return folder


def test_a_restored_stage_is_finished_and_has_the_packs_weights(work: Path) -> None:
    run = Run(diffusion.PLAN, layouts.unet(), work)
    assert run.finished
    stored = load_file(PACK / "base/unet/diffusion_pytorch_model.safetensors")
    assert stored.keys() == run.best_state().keys()
    assert all(torch.equal(run.best_state()[name], value.float()) for name, value in stored.items())


def test_published_names_are_read_backwards(work: Path) -> None:
    state = torch.load(work / f"{scorers.IMAGEREWARD.name}.pt", weights_only=True)["average"]
    stored = load_file(PACK / "imagereward/ImageReward.safetensors")
    for name, value in state.items():
        if value.is_floating_point():
            assert torch.equal(value, stored[layouts.published_reward_key(name)].float())


def test_cards_come_back_as_they_were_written(work: Path) -> None:
    cards = json.loads((PACK / CARDS).read_text())
    assert set(cards) >= {"autoencoder", "base", "inpaint", "controlnet", "pickscore", "imagereward", "classifier", "u2net"}
    for name, card in cards.items():
        assert json.loads((work / f"{name}.json").read_text()) == card


def test_what_was_not_trained_is_not_restored(work: Path) -> None:
    assert (work / "base.pt").exists()
    assert (work / f"{judging.REWARD_PLAN.name}.pt").exists() == (judging.REWARD_PLAN.name in (PACK / CARDS).read_text())
