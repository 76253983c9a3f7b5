"""Every number of the catalogue is counted again from the published architecture, without weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import (
    BlipTextConfig,
    BlipVisionConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
)

from pairwright import catalogue
from pairwright.catalogue import KNOWN, TERA
from pairwright.plan import costs
from pairwright.rewards._blip import RewardNetwork
from pairwright.saliency.u2net_network import FULL, SMALL, U2Net, Widths

BASE = KNOWN["stable-diffusion-v1-5/stable-diffusion-v1-5"]
INPAINTING = KNOWN["stable-diffusion-v1-5/stable-diffusion-inpainting"]
PICKSCORE = KNOWN["yuvalkirstain/PickScore_v1"]
IMAGEREWARD = KNOWN["THUDM/ImageReward"]


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(sample_size=64, cross_attention_dim=768)


@pytest.fixture(scope="module")
def clip() -> CLIPModel:
    shared = {"num_attention_heads": 16, "hidden_act": "gelu", "projection_dim": 1024}
    text = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, **shared}
    vision = {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "patch_size": 14,
        "image_size": 224,
        **shared,
    }
    with torch.device("meta"):
        return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=1024))


def test_the_unet_of_stable_diffusion_has_the_parameters_and_the_work_that_are_listed(unet: UNet2DConditionModel) -> None:
    flop, kept = costs.unet_step(unet, 64)
    assert parameters(unet) == BASE.parameters["unet"]
    assert flop == pytest.approx(BASE.flop["unet"], rel=1e-3)
    assert kept == pytest.approx(BASE.kept, rel=1e-3)


def test_what_is_kept_agrees_with_what_was_found_by_another_count(unet: UNet2DConditionModel) -> None:
    # The project's table of facts: 0.80 GB with an adapter, 0.15 with checkpointing.
    assert pytest.approx(0.80e9, rel=0.06) == BASE.kept
    assert pytest.approx(0.15e9, rel=0.06) == BASE.kept_checkpointed


def test_checkpointing_keeps_what_is_listed() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    unet.enable_gradient_checkpointing()
    flop, kept = costs.unet_step(unet.train(), 64)
    assert kept == pytest.approx(BASE.kept_checkpointed, rel=5e-3)
    assert flop == pytest.approx(BASE.flop["unet"], rel=1e-3)


def test_an_adapter_of_rank_four_has_797_184_parameters(unet: UNet2DConditionModel) -> None:
    # The number that diffusers' LoRA example prints for SD-1.5 at its default rank.
    assert costs.adapter(unet) * 4 == BASE.adapter * 4 == 797_184


def test_the_inpainting_unet_reads_nine_channels() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, in_channels=9)
    assert parameters(unet) == INPAINTING.parameters["unet"]


def test_the_autoencoder_of_stable_diffusion_is_as_listed() -> None:
    with torch.device("meta"), torch.no_grad():
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        )
        assert parameters(vae) == BASE.parameters["vae"]
        assert costs.counted(lambda: vae.encode(torch.empty(1, 3, 512, 512))) == pytest.approx(BASE.flop["encode"], rel=1e-3)
        assert costs.counted(lambda: vae.decode(torch.empty(1, 4, 64, 64))) == pytest.approx(BASE.flop["decode"], rel=1e-3)


def test_the_text_encoder_of_stable_diffusion_is_as_listed() -> None:
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    with torch.device("meta"), torch.no_grad():
        text = CLIPTextModel(CLIPTextConfig(**sizes, projection_dim=768))
        flop = costs.counted(lambda: text(torch.zeros(1, 77, dtype=torch.long)))
    assert parameters(text) == BASE.parameters["text_encoder"]
    assert flop == pytest.approx(BASE.flop["text"], rel=5e-3)


def test_pickscore_is_the_whole_clip_h(clip: CLIPModel) -> None:
    with torch.device("meta"), torch.no_grad():
        picture = costs.counted(lambda: clip.vision_model(torch.empty(1, 3, 224, 224)))
        text = costs.counted(lambda: clip.text_model(torch.zeros(1, 77, dtype=torch.long)))
    assert parameters(clip) == PICKSCORE.total
    assert picture + text == pytest.approx(PICKSCORE.flop["score"], rel=1e-3)


def test_imagereward_is_blip_large_with_a_head() -> None:
    vision = BlipVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
    vision.patch_size, vision.image_size = 16, 224
    text = BlipTextConfig(vocab_size=30524, hidden_size=768, encoder_hidden_size=1024, intermediate_size=3072, is_decoder=True)
    text.num_hidden_layers = text.num_attention_heads = 12
    head = {0: (768, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}
    with torch.device("meta"), torch.no_grad():
        network = RewardNetwork(vision, text, head)
        picture = costs.counted(lambda: network.vision(pixel_values=torch.empty(1, 3, 224, 224)))
    assert parameters(network) == IMAGEREWARD.total
    # The measured forward is the picture's and 35 tokens of text, which cost a tenth more.
    assert picture < IMAGEREWARD.flop["score"] < 1.2 * picture


@pytest.mark.parametrize(("name", "widths"), [("u2net.pth", FULL), ("u2netp.pth", SMALL)])
def test_both_sizes_of_u2net_are_as_listed(name: str, widths: Widths) -> None:
    with torch.device("meta"), torch.no_grad():
        network = U2Net(widths).eval()
        flop = costs.counted(lambda: network.side_outputs(torch.empty(1, 3, 320, 320)))
    assert parameters(network) == KNOWN[name].total
    assert flop == pytest.approx(KNOWN[name].flop["map"], rel=0.01)


@pytest.mark.parametrize("known", [PICKSCORE, IMAGEREWARD])
def test_the_rule_of_thumb_for_scorers_comes_within_a_sixth(known: catalogue.Costs) -> None:
    rule = 2 * known.total * costs.POSITIONS
    assert rule == pytest.approx(known.flop["score"], rel=1 / 6 + 0.005)


def test_another_size_costs_as_much_more_as_its_area() -> None:
    larger = BASE.at(1024)
    assert larger.flop["unet"] == pytest.approx(4 * 0.803 * TERA)
    assert larger.flop["text"] == BASE.flop["text"]
    assert larger.kept == 4 * BASE.kept
    assert larger.rough
    assert BASE.at(512) is BASE


def test_models_are_found_by_id_with_or_without_revision_and_by_the_name_of_their_file() -> None:
    assert catalogue.known("yuvalkirstain/PickScore_v1@main") is PICKSCORE
    assert catalogue.known(str(Path("/data") / "u2netp.onnx")) is KNOWN["u2netp.pth"]
    assert catalogue.known("nobody/nothing") is None
