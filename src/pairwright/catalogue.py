"""What is known of the published models beforehand: parameters, work of a forward, memory of a step.

For models that are on this disk, all of this is counted from their own configuration (:mod:`pairwright.plan.costs`); the
table here stands in for what would have to be downloaded first. Every number was counted on torch's meta device from the
published architecture, which ``tests/test_catalogue*.py`` do again, but for ImageReward's forward, which was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

TERA = 1e12
FILE_BYTES = 4
"""Bytes per parameter of the published files, unless something else is said: float32."""
T5_BYTES = 2
"""Per parameter in memory: T5 runs in the 16 bits that it is published in, what else stands around a network in float32."""


@dataclass(frozen=True)
class Costs:
    """What a model costs, one picture at a time."""

    parameters: Mapping[str, int]
    """Per network: ``unet`` (or the transformer in its place), ``vae``, ``text_encoder`` (all of CLIP's) and ``t5`` of a
    pipeline, ``controlnet`` of what stands beside one, ``network`` of anything else."""
    flop: Mapping[str, float]
    """Floating point operations of one forward, a multiply-add being two: ``unet``, ``encode``, ``decode``, ``text`` of a
    pipeline, ``controlnet``, ``score`` of a reward (picture and text), ``map`` of a saliency model. Nothing of a model that
    answers in words: how many is not known beforehand."""
    side: int
    """Pixels of the square picture for which ``flop`` and ``kept`` hold; 0: they do not depend on it."""
    kept: float = 0.0
    """Bytes that one sample leaves for the backward pass of an adapter, in bfloat16."""
    kept_checkpointed: float = 0.0
    """The same with ``checkpoint_activations``."""
    kept_full: float = 0.0
    """The same where every weight is trained."""
    adapter: int = 0
    """Parameters of an adapter of rank 1 on the family's targets."""
    rough: bool = False
    """By a rule of thumb or scaled, not counted."""
    flow: bool = False
    """Of a pipeline: its process is a rectified flow."""
    file_bytes: int = FILE_BYTES
    """Per parameter of the published files."""

    @property
    def total(self) -> int:
        """Parameters of all networks."""
        return sum(self.parameters.values())

    def around(self, number: int = 4) -> int:
        """Bytes in memory of what stands around a pipeline's denoising network, ``number`` per parameter."""
        counts = {name: count for name, count in self.parameters.items() if name != "unet"}
        return sum(count * (min(number, T5_BYTES) if name == "t5" else number) for name, count in counts.items())

    def at(self, side: int) -> Costs:
        """For pictures of another size, by their area: attention grows faster, so that large sizes are underestimated."""
        if self.side in {0, side}:
            return self
        area = (side / self.side) ** 2
        flop = {name: value if name == "text" else value * area for name, value in self.flop.items()}
        kept = {name: getattr(self, name) * area for name in ("kept", "kept_checkpointed", "kept_full")}
        return replace(self, flop=flop, side=side, rough=True, **kept)


_SD15 = Costs(
    parameters={"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    flop={"unet": 0.803 * TERA, "encode": 1.117 * TERA, "decode": 2.515 * TERA, "text": 0.0133 * TERA},
    side=512,
    kept=0.842e9,
    kept_checkpointed=0.149e9,
    kept_full=0.981e9,
    adapter=199_296,
)
_SDXL = Costs(
    parameters={"unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": 817_720_320},
    flop={"unet": 6.761 * TERA, "encode": 4.879 * TERA, "decode": 10.470 * TERA, "text": 0.1112 * TERA},
    side=1024,
    kept=5.992e9,
    kept_checkpointed=0.488e9,
    kept_full=7.295e9,
    adapter=1_451_520,
)
_SD35 = Costs(
    parameters={"unet": 2_243_171_520, "vae": 83_819_683, "text_encoder": 818_310_144, "t5": 4_762_310_656},
    flop={"unet": 2.443 * TERA, "encode": 1.118 * TERA, "decode": 2.515 * TERA, "text": 2.508 * TERA},
    side=512,
    kept=2.183e9,
    kept_checkpointed=0.103e9,
    kept_full=3.525e9,
    adapter=586_752,
    flow=True,
    file_bytes=2,
)
_PIXART = Costs(
    parameters={"unet": 610_856_096, "vae": 83_653_863, "text_encoder": 0, "t5": 4_762_310_656},
    flop={"unet": 1.236 * TERA, "encode": 1.117 * TERA, "decode": 2.515 * TERA, "text": 1.117 * TERA},
    side=512,
)
_TILE = Costs({"controlnet": 361_279_120}, {"controlnet": 0.2833 * TERA}, side=512)
_TILE_XL = Costs({"controlnet": 1_251_014_160}, {"controlnet": 3.0204 * TERA}, side=1024, file_bytes=2)
_CLIP_H = Costs({"network": 986_109_441}, {"score": (0.3346 + 0.0471) * TERA}, side=0)
_CLIP_L = Costs({"network": 427_616_513}, {"score": (0.1619 + 0.0133) * TERA}, side=0)
_IMAGEREWARD = Costs({"network": 446_206_689}, {"score": 0.138 * TERA}, side=0)
_QWEN2_5_VL = Costs({"network": 8_292_166_656}, {}, side=0, file_bytes=2)

KNOWN: Mapping[str, Costs] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": _SD15,
    # Nine input channels instead of four: five more 3 x 3 filters for each of 320 outputs.
    "stable-diffusion-v1-5/stable-diffusion-inpainting": replace(_SD15, parameters={**_SD15.parameters, "unet": 859_535_364}),
    # Eight: the original's latents beside the noise.
    "timbrooks/instruct-pix2pix": replace(_SD15, parameters={**_SD15.parameters, "unet": 859_532_484}),
    "PixArt-alpha/PixArt-XL-2-512x512": _PIXART,
    "lllyasviel/control_v11f1e_sd15_tile": _TILE,
    "xinsir/controlnet-tile-sdxl-1.0": _TILE_XL,
    "stabilityai/stable-diffusion-xl-base-1.0": _SDXL,
    "stabilityai/stable-diffusion-3.5-medium": _SD35,
    "yuvalkirstain/PickScore_v1": _CLIP_H,
    "openai/clip-vit-large-patch14": _CLIP_L,
    # The aesthetics' heads: some thousand operations beside the network that they stand on.
    "sa_0_4_vit_l_14_linear.pth": Costs({"network": 769}, {"score": 0.0}, side=0),
    "birder-project/aesthetic-predictor": Costs({"network": 927_969}, {"score": 0.0}, side=0),
    "xswu/HPSv2": replace(_CLIP_H, file_bytes=2),
    "THUDM/ImageReward": _IMAGEREWARD,
    "zai-org/ImageReward": _IMAGEREWARD,
    # Without the embedding and the head, of which only the rows of one sentence are kept.
    "zhiyuanyou/DeQA-Score-Mix3": Costs({"network": 7_942_537_216}, {"score": 1.958 * TERA}, side=0, file_bytes=2),
    # At 850 positions: 256 are the picture's, the others those of the instruction and a short prompt.
    "MizzenAI/HPSv3": Costs({"network": 7_748_610_610}, {"score": 13.0 * TERA}, side=0, rough=True, file_bytes=2),
    "CodeGoat24/UnifiedReward-qwen-7b": _QWEN2_5_VL,
    "CodeGoat24/UnifiedReward-2.0-qwen-7b": _QWEN2_5_VL,
    "Qwen/Qwen2.5-VL-7B-Instruct": _QWEN2_5_VL,
    "lmms-lab/LLaVA-Critic-R1-7B": _QWEN2_5_VL,
    "lmms-lab/llava-critic-7b": Costs({"network": 8_030_348_832}, {}, side=0, file_bytes=2),
    "llava-hf/llava-v1.6-mistral-7b-hf": Costs({"network": 7_566_747_648}, {}, side=0, file_bytes=2),
    "meta-llama/Llama-3.2-11B-Vision-Instruct": Costs({"network": 10_670_220_835}, {}, side=0, file_bytes=2),
    "u2net.pth": Costs({"network": 44_009_869}, {"map": 0.117 * TERA}, side=0),
    "u2netp.pth": Costs({"network": 1_131_181}, {"map": 0.0395 * TERA}, side=0),
}
"""By hub id, or by the name of the file for those that have no repository."""

TOKENIZERS = ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "google-bert/bert-base-uncased", "Qwen/Qwen2-VL-7B-Instruct")
"""Hub ids of which only tokenizer and preprocessing are read: a few MB."""

_U2NET = "The authors' file is linked from github.com/xuebinqin/U-2-Net; give its path as model."
_LAION = "The authors' file is in github.com/LAION-AI/aesthetic-predictor; give its path as model."
ELSEWHERE: Mapping[str, str] = {"u2net.pth": _U2NET, "u2netp.pth": _U2NET, "sa_0_4_vit_l_14_linear.pth": _LAION}
"""Where files come from that no hub repository holds."""


def known(name: str) -> Costs | None:
    """What is known of a model by hub id (a revision does not matter) or by its file's name."""
    repository = name.partition("@")[0]
    return KNOWN.get(repository) or KNOWN.get(Path(name).with_suffix(".pth").name)
