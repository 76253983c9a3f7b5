"""Every number of the catalogue is counted again from the published architecture, without weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, PixArtTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from torch import nn
from transformers import (
    BlipTextConfig,
    BlipVisionConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from pairwright import catalogue
from pairwright.catalogue import KNOWN, TERA
from pairwright.plan import costs, networks
from pairwright.rewards._blip import RewardNetwork
from pairwright.saliency.u2net_network import FULL, SMALL, U2Net, Widths
from tests.miniatures.sd15 import write_sd15
from tests.miniatures.sd35 import write_sd35
from tests.miniatures.sdxl import write_sdxl

BASE = KNOWN["stable-diffusion-v1-5/stable-diffusion-v1-5"]
SDXL = KNOWN["stabilityai/stable-diffusion-xl-base-1.0"]
SD35 = KNOWN["stabilityai/stable-diffusion-3.5-medium"]
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
    flop, kept = networks.step(unet, 64)
    assert parameters(unet) == BASE.parameters["unet"]
    assert flop == pytest.approx(BASE.flop["unet"], rel=1e-3)
    assert kept == pytest.approx(BASE.kept, rel=1e-3)
    assert networks.step(unet, 64, full=True)[1] == pytest.approx(BASE.kept_full, rel=1e-3)


def test_what_is_kept_agrees_with_what_was_found_by_another_count(unet: UNet2DConditionModel) -> None:
    # The project's table of facts: 0.80 GB with an adapter, 0.15 with checkpointing, 0.94 in full.
    assert pytest.approx(0.80e9, rel=0.06) == BASE.kept
    assert pytest.approx(0.15e9, rel=0.06) == BASE.kept_checkpointed
    assert pytest.approx(0.94e9, rel=0.06) == BASE.kept_full


def test_checkpointing_keeps_what_is_listed() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    unet.enable_gradient_checkpointing()
    flop, kept = networks.step(unet.train(), 64)
    assert kept == pytest.approx(BASE.kept_checkpointed, rel=5e-3)
    assert flop == pytest.approx(BASE.flop["unet"], rel=1e-3)


def test_an_adapter_of_rank_four_has_797_184_parameters(unet: UNet2DConditionModel) -> None:
    # The number that diffusers' LoRA example prints for SD-1.5 at its default rank.
    assert networks.adapter(unet) * 4 == BASE.adapter * 4 == 797_184


def sdxl() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def sd35() -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        num_layers=24,
        num_attention_heads=24,
        attention_head_dim=64,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        in_channels=16,
        out_channels=16,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)),
        qk_norm="rms_norm",
    )


# kept with an adapter, with checkpointing, in full: the project's table of facts, counted in another way.
@pytest.mark.parametrize(
    ("build", "known", "side", "facts"),
    [(sdxl, SDXL, 128, (5.6e9, 0.49e9, 6.9e9)), (sd35, SD35, 64, (2.3e9, 0.10e9, 3.5e9))],
    ids=["sdxl", "sd35"],
)
def test_larger_networks_are_as_listed(build: Callable[[], Any], known: catalogue.Costs, side: int, facts: Any) -> None:
    with torch.device("meta"):
        network = build()
    assert (parameters(network), networks.adapter(network)) == (known.parameters["unet"], known.adapter)
    flop, kept = networks.step(network, side)
    _, full = networks.step(network, side, full=True)
    network.enable_gradient_checkpointing()
    _, checkpointed = networks.step(network.train(), side)
    assert flop == pytest.approx(known.flop["unet"], rel=1e-3)
    assert (kept, checkpointed, full) == pytest.approx((known.kept, known.kept_checkpointed, known.kept_full), rel=5e-3)
    assert (kept, checkpointed, full) == pytest.approx(facts, rel=0.075)


def test_the_other_networks_of_the_larger_pipelines_are_as_listed() -> None:
    sizes: dict[str, Any] = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
    t5 = T5Config(vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
    t5.is_encoder_decoder, t5.use_cache = False, False
    with torch.device("meta"), torch.no_grad():
        small = CLIPTextModelWithProjection(
            CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
            )
        )
        large = CLIPTextModelWithProjection(CLIPTextConfig(**sizes, projection_dim=1280))
        huge = T5EncoderModel(t5)
        clips = sum(networks.counted(partial(each, torch.zeros(1, 77, dtype=torch.long))) for each in (small, large))
        flop = networks.counted(lambda: huge(torch.zeros(1, 256, dtype=torch.long)))
    assert BASE.parameters["text_encoder"] + parameters(large) == SDXL.parameters["text_encoder"]
    assert (parameters(small) + parameters(large), parameters(huge)) == (SD35.parameters["text_encoder"], SD35.parameters["t5"])
    assert (clips, clips + flop) == pytest.approx((SDXL.flop["text"], SD35.flop["text"]), rel=5e-3)


def test_pixart_has_the_parameters_and_the_work_that_are_listed() -> None:
    known = KNOWN["PixArt-alpha/PixArt-XL-2-512x512"]
    t5 = T5Config(vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu")
    t5.is_encoder_decoder, t5.use_cache = False, False
    with torch.device("meta"), torch.no_grad():
        network = PixArtTransformer2DModel(sample_size=64, caption_channels=4096)
        text = T5EncoderModel(t5)
        given = {"timestep": torch.zeros(1), "added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}
        given |= {"encoder_hidden_states": torch.empty(1, 120, 4096), "encoder_attention_mask": torch.ones(1, 120)}
        flop = networks.counted(lambda: network(torch.empty(1, 4, 64, 64), **given))
        words = networks.counted(lambda: text(torch.zeros(1, 120, dtype=torch.long)))
    assert (parameters(network), parameters(text)) == (known.parameters["unet"], known.parameters["t5"])
    assert (flop, words) == pytest.approx((known.flop["unet"], known.flop["text"]), rel=1e-3)
    assert {name: known.flop[name] for name in ("encode", "decode")} == {name: BASE.flop[name] for name in ("encode", "decode")}


@pytest.mark.parametrize(("known", "channels", "side"), [(SDXL, 4, 1024), (SD35, 16, 512)])
def test_their_autoencoders_are_as_listed(known: catalogue.Costs, channels: int, side: int) -> None:
    blocks: dict[str, Any] = {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    convolved = {"use_quant_conv": channels == 4, "use_post_quant_conv": channels == 4}
    with torch.device("meta"), torch.no_grad():
        vae = AutoencoderKL(layers_per_block=2, latent_channels=channels, **blocks, **convolved)
        assert parameters(vae) == known.parameters["vae"]
        encoded = networks.counted(lambda: vae.encode(torch.empty(1, 3, side, side)))
        decoded = networks.counted(lambda: vae.decode(torch.empty(1, channels, side // 8, side // 8)))
    assert (encoded, decoded) == pytest.approx((known.flop["encode"], known.flop["decode"]), rel=1e-3)


@pytest.mark.parametrize("write", [write_sd15, write_sdxl, write_sd35])
def test_a_pipeline_that_is_here_is_counted_whatever_its_family(write: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path)
    found = costs.pipeline(str(folder), folder, 32)
    assert found is not None
    stored = {part.name: sum(costs._numel(shape) for shape in costs.shapes(part).values()) for part in folder.iterdir()}
    assert found.parameters["vae"] == stored["vae"]
    assert found.parameters.get("t5", 0) == stored.get("text_encoder_3", 0)
    assert found.parameters["text_encoder"] == stored["text_encoder"] + stored.get("text_encoder_2", 0)
    assert 0 < found.kept_checkpointed < found.kept < found.kept_full
    assert found.flow == (write is write_sd35)


def test_a_download_that_is_not_finished_is_looked_up(tmp_path: Path) -> None:
    folder = write_sd15(tmp_path)
    (folder / "vae" / "config.json").unlink()
    assert costs.pipeline("stabilityai/stable-diffusion-xl-base-1.0", folder, 1024) is SDXL


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
        assert networks.counted(lambda: vae.encode(torch.empty(1, 3, 512, 512))) == pytest.approx(BASE.flop["encode"], rel=1e-3)
        assert networks.counted(lambda: vae.decode(torch.empty(1, 4, 64, 64))) == pytest.approx(BASE.flop["decode"], rel=1e-3)


def test_the_text_encoder_of_stable_diffusion_is_as_listed() -> None:
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    with torch.device("meta"), torch.no_grad():
        text = CLIPTextModel(CLIPTextConfig(**sizes, projection_dim=768))
        flop = networks.counted(lambda: text(torch.zeros(1, 77, dtype=torch.long)))
    assert parameters(text) == BASE.parameters["text_encoder"]
    assert flop == pytest.approx(BASE.flop["text"], rel=5e-3)


def test_pickscore_is_the_whole_clip_h(clip: CLIPModel) -> None:
    with torch.device("meta"), torch.no_grad():
        picture = networks.counted(lambda: clip.vision_model(torch.empty(1, 3, 224, 224)))
        text = networks.counted(lambda: clip.text_model(torch.zeros(1, 77, dtype=torch.long)))
    assert parameters(clip) == PICKSCORE.total
    assert picture + text == pytest.approx(PICKSCORE.flop["score"], rel=1e-3)


def test_clip_l_and_the_heads_on_it_are_as_listed() -> None:
    known = KNOWN["openai/clip-vit-large-patch14"]
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14}
    with torch.device("meta"), torch.no_grad():
        network = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=768))
        picture = networks.counted(lambda: network.vision_model(torch.empty(1, 3, 224, 224)))
        words = networks.counted(lambda: network.text_model(torch.zeros(1, 77, dtype=torch.long)))
    assert parameters(network) == known.total
    assert picture + words == pytest.approx(known.flop["score"], rel=1e-3)
    widths = (768, 1024, 128, 64, 16, 1)
    assert KNOWN["birder-project/aesthetic-predictor"].total == sum((a + 1) * b for a, b in pairwise(widths))
    assert KNOWN["sa_0_4_vit_l_14_linear.pth"].total == 768 + 1


def test_imagereward_is_blip_large_with_a_head() -> None:
    vision = BlipVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
    vision.patch_size, vision.image_size = 16, 224
    text = BlipTextConfig(vocab_size=30524, hidden_size=768, encoder_hidden_size=1024, intermediate_size=3072, is_decoder=True)
    text.num_hidden_layers = text.num_attention_heads = 12
    head = {0: (768, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}
    with torch.device("meta"), torch.no_grad():
        network = RewardNetwork(vision, text, head)
        picture = networks.counted(lambda: network.vision(pixel_values=torch.empty(1, 3, 224, 224)))
    assert parameters(network) == IMAGEREWARD.total
    # The measured forward is the picture's and 35 tokens of text, which cost a tenth more.
    assert picture < IMAGEREWARD.flop["score"] < 1.2 * picture


@pytest.mark.parametrize(("name", "widths"), [("u2net.pth", FULL), ("u2netp.pth", SMALL)])
def test_both_sizes_of_u2net_are_as_listed(name: str, widths: Widths) -> None:
    with torch.device("meta"), torch.no_grad():
        network = U2Net(widths).eval()
        flop = networks.counted(lambda: network.side_outputs(torch.empty(1, 3, 320, 320)))
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
