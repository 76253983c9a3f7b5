"""LAION's aesthetic predictor, version 1: how high people would rate a picture's looks (one linear layer on CLIP-L/14).

Schuhmann 2022, github.com/LAION-AI/aesthetic-predictor, ``sa_0_4_vit_l_14_linear.pth``. It was fitted to ratings from 1 to
10 (Simulacra Aesthetic Captions); models get 5.4 to 6.0 in published tables. Higher is better. The prompt plays no part. This is
not ``aesthetic_sac``, whose numbers are higher and do not compare.
"""

from __future__ import annotations

from pairwright import runtime
from pairwright.records import Column
from pairwright.rewards import _aesthetic, _clip

HEAD = _aesthetic.Published(
    "sa_0_4_vit_l_14_linear.pth",
    "https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth",
    "2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
)
COLUMN = Column("aesthetic", "LAION aesthetic v1 (sa_0_4_vit_l_14_linear), ratings 1..10")


def load(
    *,
    model: str = "sa_0_4_vit_l_14_linear.pth",
    backbone: str = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41",
    sha256: str = "",
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 32,
) -> _aesthetic.Aesthetic:
    """Version 1's head on OpenAI's CLIP ViT-L/14.

    Args:
        model: the head: the authors' file (4 kB; the error says where it is), or a folder or hub id that holds it.
        backbone: the CLIP (see :mod:`pairwright.weights`).
        sha256: of the head's file; default: the published one's. A head of another origin needs its own here.
        dtype: number format of the network; projection and head are float32 and float64.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there, do not fit or are not the published ones.
    """
    path = _aesthetic.find(model, HEAD, sha256 or HEAD.sha256)
    head = _aesthetic.affine(path, [""])
    clip = _clip.load(backbone, None, _clip.CLIP_L, dtype=dtype, device=device, original=True)
    return _aesthetic.build(clip, head, path, COLUMN, batch_size)
