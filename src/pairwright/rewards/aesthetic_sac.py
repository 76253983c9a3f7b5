"""LAION's aesthetic predictor, version 2 ("SAC", improved): how high people would rate a picture's looks (on CLIP-L/14).

Schuhmann 2022, github.com/christophschuhmann/improved-aesthetic-predictor, ``sac+logos+ava1-l14-linearMSE.pth``. Its five
layers (768-1024-128-64-16-1) have dropout between them but no activation, so that in evaluation they are one affine map,
which is what is computed here. It was fitted to ratings from 1 to 10 (Simulacra, logos, AVA); models get 5.9 to 6.6 in
published tables. Higher is better. The prompt plays no part. This is not ``aesthetic``, whose numbers are lower and do not compare.
"""

from __future__ import annotations

from pairwright import runtime
from pairwright.records import Column
from pairwright.rewards import _aesthetic, _clip

HEAD = _aesthetic.Published(
    "sac+logos+ava1-l14-linearMSE.pth",
    "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/sac+logos+ava1-l14-linearMSE.pth",
    "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
    names=("openai-clip_aesthetic-predictor.pt",),
)
LAYERS = ("layers.0", "layers.2", "layers.4", "layers.6", "layers.7")
"""Numbers in the published ``nn.Sequential``; the others are dropout."""
COLUMN = Column("aesthetic_sac", "LAION aesthetic v2 (sac+logos+ava1-l14-linearMSE), ratings 1..10")


def load(
    *,
    model: str = "birder-project/aesthetic-predictor",
    backbone: str = "openai/clip-vit-large-patch14@32bd64288804d66eefd0ccbe215aa642df71cc41",
    sha256: str = "",
    dtype: runtime.Dtype = "bfloat16",
    device: str = "auto",
    batch_size: int = 32,
) -> _aesthetic.Aesthetic:
    """Version 2's head on OpenAI's CLIP ViT-L/14.

    Args:
        model: the head: the authors' file (3.7 MB), or a folder or hub id that holds it. The default is a copy under
            another name; what it is called does not matter, since its content is checked.
        backbone: the CLIP (see :mod:`pairwright.weights`).
        sha256: of the head's file; default: the published one's. A head of another origin needs its own here.
        dtype: number format of the network; projection and head are float32 and float64.
        device: see :func:`pairwright.runtime.device`.
        batch_size: pictures per forward.

    Raises:
        pairwright.weights.WeightsError: weights that are not there, do not fit or are not the published ones.
    """
    path = _aesthetic.find(model, HEAD, sha256 or HEAD.sha256)
    head = _aesthetic.affine(path, LAYERS)
    clip = _clip.load(backbone, None, _clip.CLIP_L, dtype=dtype, device=device, original=True)
    return _aesthetic.build(clip, head, path, COLUMN, batch_size)
