"""Every network of the pack, built from its configuration with random weights.

Training and export start from the same builders, so that an untrained pack has exactly the
layout of the trained one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import (
    BlipTextConfig,
    BlipTextModel,
    BlipVisionConfig,
    BlipVisionModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    ResNetConfig,
    ResNetForImageClassification,
)

from pairwright.saliency.u2net_network import SMALL

from .captions import BACKGROUNDS, COLOURS, SPECIES

SIZE = 64  # pixels
TEXT_WIDTH = 128
WIDTHS = (48, 128, 192)  # of the base and its ControlNet
LATENT_CHANNELS = 4
LATENT_SIZE = 16  # one latent for 4 x 4 pixels: at 8 x 8 with 16 channels, as many numbers, the round trip lost 3 dB
# ImageReward's published normalisation of its raw output.
REWARD_MEAN, REWARD_STD = 0.16717362830052426, 1.0333394966054072
LABELS = (
    *(f"species:{name}" for name in SPECIES.values()),
    *(f"color:{name}" for name in COLOURS),
    *(f"background:{name}" for name in BACKGROUNDS),
)
U2NET_WIDTHS = SMALL  # as u2netp, from whose weights it starts: narrower ones, from random weights, overlapped by 0.53 only
DENOISER: dict[str, Any] = {
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 16,
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
    "resnet_time_scale_shift": "scale_shift",
}
BLIP_VISION = {"hidden_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4,
               "intermediate_size": 480, "image_size": SIZE, "patch_size": 8}  # fmt: skip
BLIP_TEXT = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
             "intermediate_size": 384}  # fmt: skip


def autoencoder() -> AutoencoderKL:
    """Stable Diffusion's autoencoder with two halvings: 64 x 64 pixels to 16 x 16 x 4."""
    return AutoencoderKL(
        block_out_channels=(24, 48, 96),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )


def scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, but for its end; what is predicted is the velocity, as in Stable Diffusion 2.

    Stable Diffusion ends at beta 0.012, where a trace of the picture is left (Lin et al. 2023): its mean over a few latent
    positions tells the colours, and a small network reads them there instead of in the caption. 0.02 leaves none to read.
    There, a picture told from predicted noise has 64 times the prediction's error: after 2,000 steps of noise prediction the
    noise still decided a sample's colours, in the base and in what was repainted; with the velocity the caption does.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.02,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


def unet() -> UNet2DConditionModel:
    """The base's denoiser, with attention to itself and to the text at 8 x 8 and 4 x 4.

    Narrow where the latents are fine and wide where they are coarse: measured, this learns more per second than an even
    width. The text also joins the timestep's embedding, which scales and shifts every block: through
    cross-attention alone a small network takes thousands of steps to find that words matter.
    """
    return _unet(LATENT_CHANNELS, WIDTHS)


def inpainting_unet() -> UNet2DConditionModel:
    """The inpainting model's: 9 input channels, and half the size."""
    return _unet(2 * LATENT_CHANNELS + 1, (32, 96, 128))


def controlnet() -> ControlNetModel:
    """A ControlNet for the base: its way down once more, and an embedding of pictures that halves as often as the autoencoder."""
    return ControlNetModel(
        in_channels=LATENT_CHANNELS,
        block_out_channels=WIDTHS,
        conditioning_embedding_out_channels=(16, 32, 64),
        **DENOISER,
    )


def _unet(in_channels: int, widths: tuple[int, ...]) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=in_channels,
        out_channels=LATENT_CHANNELS,
        block_out_channels=widths,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        **DENOISER,
    )


def clip_text_settings(tokenizer: CLIPTokenizer, width: int, layers: int) -> dict[str, Any]:
    """The text half of CLIP, as a configuration."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Stable Diffusion's text encoder, three layers deep."""
    settings = clip_text_settings(tokenizer, TEXT_WIDTH, 3)
    return CLIPTextModel(CLIPTextConfig(**settings, projection_dim=TEXT_WIDTH))


def pickscore(tokenizer: CLIPTokenizer) -> CLIPModel:
    """PickScore's layout: a whole CLIP, here for 64 pixels in patches of 8."""
    vision = {
        "hidden_size": 160, "intermediate_size": 480, "num_hidden_layers": 4,
        "num_attention_heads": 4, "image_size": SIZE, "patch_size": 8, "hidden_act": "gelu",
    }  # fmt: skip
    text = clip_text_settings(tokenizer, 128, 3) | {"hidden_act": "gelu"}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=96))


def classifier() -> ResNetForImageClassification:
    """A residual network: species, colour and background from one vector of logits."""
    config = ResNetConfig(
        embedding_size=24,
        hidden_sizes=[32, 64, 128, 192],
        depths=[1, 2, 2, 1],
        layer_type="basic",
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )
    return ResNetForImageClassification(config)


class RewardHead(nn.Module):
    """ImageReward's head: five linear layers with dropout and nothing else between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (width, 128, 64, 32, 16, 1)
        drops = (0.2, 0.2, 0.1, None, None)
        layers: list[nn.Module] = []
        for inputs, outputs, drop in zip(sizes[:-1], sizes[1:], drops, strict=True):
            layers.append(nn.Linear(inputs, outputs))
            layers.extend([nn.Dropout(drop)] if drop else [])
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """[b, width] -> [b, 1]."""
        return torch.as_tensor(self.layers(features))


class RewardModel(nn.Module):
    """ImageReward: BLIP's picture encoder, its text encoder reading it, and a head."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.vision = BlipVisionModel(BlipVisionConfig(**BLIP_VISION, layer_norm_eps=1e-6))
        text = BlipTextConfig(
            **BLIP_TEXT,
            vocab_size=vocabulary_size,
            encoder_hidden_size=BLIP_VISION["hidden_size"],
            is_decoder=True,
            bos_token_id=vocabulary_size - 2,
            sep_token_id=3,
            eos_token_id=3,
            pad_token_id=0,
        )
        self.text = BlipTextModel(text, add_pooling_layer=False)
        self.mlp = RewardHead(BLIP_TEXT["hidden_size"])

    def forward(self, pixels: Tensor, tokens: Mapping[str, Tensor]) -> Tensor:
        """Pixels [b, 3, h, w], CLIP-normalised, with their captions -> rewards [b]."""
        return self.judge(self.vision(pixels).last_hidden_state, tokens)

    def judge(self, embeds: Tensor, tokens: Mapping[str, Tensor]) -> Tensor:
        """The same from the picture encoder's states [b, patches + 1, width]."""
        states = self.text(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            encoder_hidden_states=embeds,
            is_decoder=False,
        ).last_hidden_state
        raw = self.mlp(states[:, 0]).squeeze(-1)
        return torch.as_tensor((raw - REWARD_MEAN) / REWARD_STD)


@dataclass(frozen=True)
class Published:
    """A weight's name in transformers and its prefix in ``ImageReward.pt``."""

    ours: str
    theirs: str


# Longest first: the first prefix that fits is the one that counts.
VISION_KEYS = (
    Published("vision.embeddings.class_embedding", "blip.visual_encoder.cls_token"),
    Published("vision.embeddings.position_embedding", "blip.visual_encoder.pos_embed"),
    Published("vision.embeddings.patch_embedding.", "blip.visual_encoder.patch_embed.proj."),
    Published("vision.encoder.layers.", "blip.visual_encoder.blocks."),
    Published("vision.post_layernorm.", "blip.visual_encoder.norm."),
    Published("text.", "blip.text_encoder."),
    Published("mlp.", "mlp."),
)
BLOCK_KEYS = (
    Published(".self_attn.qkv.", ".attn.qkv."),
    Published(".self_attn.projection.", ".attn.proj."),
    Published(".layer_norm1.", ".norm1."),
    Published(".layer_norm2.", ".norm2."),
)


def published_reward_key(ours: str) -> str:
    """The name in ``ImageReward.pt`` of a weight of `RewardModel`."""
    prefix = next(key for key in VISION_KEYS if ours.startswith(key.ours))
    name = prefix.theirs + ours.removeprefix(prefix.ours)
    if ours.startswith("vision."):
        for key in BLOCK_KEYS:
            name = name.replace(key.ours, key.theirs)
    return name
