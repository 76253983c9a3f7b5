"""Full-size scorers on an accelerator: pictures per second, and the share of what the device can multiply.

CLIP-H (PickScore's layout), ImageReward's BLIP and HPSv3's 8B network, each with random weights made on the device. CLIP-H and
ImageReward run as scorers, from decoded pictures on; of the 8B network the forward alone is timed, on tokens and patches of
the published sizes, since its tokenizer cannot be made up. **Not run by the authors yet.**
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import provenance
from benchmarks.scoring import checkpoints
from pairwright import hardware, images
from pairwright.protocols import Reward
from pairwright.records import Picture, Prompt
from pairwright.rewards import _blip, _clip, hpsv3, imagereward, pickscore
from pairwright.wording import number
from tools.tiny_pack.vocabulary import write_bert_tokenizer, write_clip_tokenizer

BATCHES = (1, 8, 32, 64)
REPEATS = 7
SIDE = 512


@dataclass(frozen=True)
class Sizes:
    """How large everything is; full size unless a test makes it small."""

    clip: checkpoints.Shape = checkpoints.SHAPES["h14"]
    blip: tuple[int, int, int] = (1024, 24, 16)
    """Width, layers, heads of the picture encoder."""
    bert: tuple[int, int, int] = (768, 12, 12)
    qwen: tuple[int, int, int, int] = (3584, 28, 28, 4)
    """Width, layers, heads, heads of keys and values."""
    qwen_vision: tuple[int, int, int] = (1280, 32, 16)
    words: int = 151_658
    patches: tuple[int, int] = (32, 32)
    """Of a picture as HPSv3 takes it: 256 * 28 * 28 pixels in patches of 14."""
    text: int = 640
    """Tokens of HPSv3's instruction and prompt, about."""


@dataclass(frozen=True)
class Measured:
    """One scorer at one batch size."""

    label: str
    batch: int
    seconds: float
    """Of a batch, median."""
    flop: float
    """Of a batch."""

    @property
    def rate(self) -> float:
        """Pictures per second."""
        return self.batch / self.seconds


def main(device: str, results: Path, sizes: Sizes | None = None, batches: tuple[int, ...] = BATCHES) -> None:
    """Measure, print, write ``results/scoring-accelerator.md`` and ``.json``."""
    where = torch.device(device)
    limit = hardware.throughput(str(where), "bfloat16", 3.0)
    found = [each for batch in batches for each in measure(where, sizes or Sizes(), batch)]
    rows = [
        [each.label, str(each.batch), number(each.batch / each.seconds), f"{each.flop / each.seconds / limit:.0%}"]
        for each in found
    ]
    said = provenance.provenance()
    text = (
        f"# Speed of scoring on {hardware.describe(where).label}\n\nRandom weights, bfloat16, pictures of {SIDE} pixels, decoded. "
        f"Limit: {limit / 1e12:.0f} TFLOP/s, measured with a large product of matrices. Median of {REPEATS}.\n\n"
        + provenance.table(["scorer", "batch", "pictures/s", "of the limit"], rows)
        + f"\n{provenance.footnote(said)}"
    )
    print(text)
    print(provenance.write("scoring-accelerator", {"measured": [vars(each) for each in found], "provenance": said}, text, results))


def measure(device: torch.device, sizes: Sizes, batch: int) -> Iterator[Measured]:
    """The three scorers, one after the other in memory."""
    pictures = [_picture(number) for number in range(batch)]
    prompts = [Prompt(f"a photo of a red rose, take {number}") for number in range(batch)]
    for label, build in (("CLIP-H (pickscore)", _pickscore), ("ImageReward", _imagereward)):
        yield _timed(label, batch, _scoring(build(device, sizes), pictures, prompts), device)
    network, inputs = hpsv3_network(device, sizes, batch)
    yield _timed("HPSv3's network, 8B", batch, lambda: network(inputs, sizes.words - 1), device)


def _scoring(reward: Reward, pictures: list[Picture], prompts: list[Prompt]) -> Callable[[], object]:
    return lambda: reward.score([_again(each) for each in pictures], prompts)


def _timed(label: str, batch: int, work: Callable[[], object], device: torch.device) -> Measured:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            work()
        seconds = []
        for _ in range(REPEATS):
            _wait(device)
            began = time.perf_counter()
            work()
            _wait(device)
            seconds.append(time.perf_counter() - began)
    return Measured(label, batch, median(seconds), float(counter.get_total_flops()))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _picture(number: int) -> Picture:
    generator = torch.Generator().manual_seed(number)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, SIDE, mode="bicubic").clamp(0, 1)[0]
    return Picture(f"{number:016x}", images.encode(images.from_tensor(smooth)))


def _again(picture: Picture) -> Picture:
    """Decoded, but seen by no network: what a scorer has seen it remembers."""
    fresh = Picture(picture.id, picture.data)
    vars(fresh)["image"] = picture.image.copy()
    return fresh


def _pickscore(device: torch.device, sizes: Sizes) -> Any:
    from transformers import CLIPImageProcessorPil, CLIPModel

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = write_clip_tokenizer(Path(folder))
    with device:
        network = CLIPModel(checkpoints.configuration(sizes.clip, tokenizer, "gelu")).eval()
    side = sizes.clip.side
    processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    clip = _Forgetful(network, tokenizer, _clip.processed(processor), device, torch.bfloat16)
    return pickscore.PickScore(clip, 1024)


class _Forgetful(_clip.Clip):
    """Encodes every text anew: what is timed is the network."""

    def text_features(self, texts: Any) -> torch.Tensor:
        """See :class:`pairwright.rewards._clip.Clip`."""
        return self._embed(list(texts))


def _imagereward(device: torch.device, sizes: Sizes) -> Any:
    from transformers import BlipTextConfig, BlipVisionConfig

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = write_bert_tokenizer(Path(folder))
    width, layers, heads = sizes.blip
    vision = BlipVisionConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        image_size=224,
        patch_size=16,
        layer_norm_eps=1e-6,
    )
    narrow, depth, count = sizes.bert
    text = BlipTextConfig(
        hidden_size=narrow,
        num_hidden_layers=depth,
        num_attention_heads=count,
        intermediate_size=4 * narrow,
        encoder_hidden_size=width,
        vocab_size=30_524,
        is_decoder=True,
    )
    places = {0: (narrow, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}
    with device:
        network = _blip.RewardNetwork(vision, text, places).eval()
    return imagereward.ImageReward(_blip.half(network, torch.bfloat16), tokenizer, device, 1024)


def hpsv3_network(device: torch.device, sizes: Sizes, batch: int) -> tuple[hpsv3.RewardNetwork, dict[str, torch.Tensor]]:
    """HPSv3's network, and conversations of the published length with one picture each."""
    from transformers import Qwen2VLConfig, Qwen2VLModel

    width, layers, heads, shared = sizes.qwen
    eyes, depth, looks = sizes.qwen_vision
    place = sizes.words - 2
    config = Qwen2VLConfig(
        text_config={
            "hidden_size": width,
            "intermediate_size": round(width * 18_944 / 3584),
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": shared,
            "vocab_size": sizes.words,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": _sections(width // heads)},
            "bos_token_id": 0,
            "eos_token_id": 0,
            "pad_token_id": 0,
        },
        vision_config={"embed_dim": eyes, "depth": depth, "num_heads": looks, "hidden_size": width},
        image_token_id=place,
    )
    with device:
        body = Qwen2VLModel._from_config(config, dtype=torch.bfloat16).eval()  # noqa: SLF001 - 32 GB in float32 elsewise
        head = torch.nn.Sequential(
            *(torch.nn.Linear(width, 1024), torch.nn.ReLU(), torch.nn.Identity()),
            *(torch.nn.Linear(1024, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)),
        )
    high, wide = sizes.patches
    tokens = torch.randint(0, sizes.words - 2, (batch, high * wide // 4 + sizes.text), device=device)
    tokens[:, 8 : 8 + high * wide // 4] = place
    tokens[:, -3] = sizes.words - 1
    return hpsv3.RewardNetwork(body, head), {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "mm_token_type_ids": (tokens == place).long(),
        "pixel_values": torch.randn(batch * high * wide, 3 * 2 * 14 * 14, device=device, dtype=torch.bfloat16),
        "image_grid_thw": torch.tensor([[1, high, wide]] * batch, device=device),
    }


def _sections(head: int) -> list[int]:
    """How a head's frequencies are shared between time, height and width: 16, 24, 24 of 64 in the published model."""
    half = head // 2
    return [half - 2 * (3 * half // 8), 3 * half // 8, 3 * half // 8]
