"""What the pack's own models make of the judges' photographs: samples of their captions, repaints, round trips.

The judges are shown them as worse. They are of the split `judge`: no photograph, sample or repaint that is ever judged.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pairwright import images, options, progress, tables
from pairwright.context import Context
from pairwright.curate import curate
from pairwright.records import Pair
from pairwright.store import Store, write_folder

from . import layouts
from .captions import Traits, caption
from .data import Data
from .diffusion import as_numpy, encode
from .samples import decode, sample
from .text_encoder import TextStates

GUIDANCES = (4.0, 2.0)
"""Of the samples of each caption. A judge that has seen one scale only takes its saturation for a fault."""
REPAINTS = {0: 0.0, 1: 2.0}
"""Seeds of the repaints, and how far their borders are feathered: a judge must not know them by a seam alone."""
STEPS = 20
BATCH = 64


@dataclass(frozen=True)
class Fakes:
    """Pictures of photographs that could be repainted, all float [n, 3, 64, 64] in 0..1, and what is seen in them."""

    traits: list[Traits]
    photographs: Tensor
    round_trips: Tensor
    samples: list[Tensor]
    """Of the photographs' captions, one tensor for each of `GUIDANCES`."""
    repaints: list[Tensor]
    """The salient region painted anew by curation itself, one tensor for each of `REPAINTS`."""


@dataclass(frozen=True)
class Painters:
    """What makes fakes."""

    base: UNet2DConditionModel
    vae: AutoencoderKL
    text: TextStates
    pack: Path
    """Where the saliency network and the inpainting model are exported."""


def make_fakes(painters: Painters, data: Data, split: str, work: Path) -> Fakes:
    """All fakes of a split. Latents and repaints are kept in `work`."""
    chosen = data.photographs.indices(split)
    sampled = [_samples(painters, data, chosen, work / f"samples-{split}-{scale:g}.npy", scale) for scale in GUIDANCES]
    folder = _folder(data, split, work / f"photographs-{split}")
    curated = [_pairs(painters.pack, folder, work, seed, feather) for seed, feather in REPAINTS.items()]
    usable = sorted(set.intersection(*(set(pairs) for pairs in curated)))
    rows = [chosen.index(index) for index in usable]
    photographs = images.batch([curated[0][index].winner.image for index in usable])
    return Fakes(
        [data.traits[index] for index in usable],
        photographs,
        _decoded(painters.vae, encode(painters.vae, photographs).float()),
        [_decoded(painters.vae, latents[rows]) for latents in sampled],
        [images.batch([pairs[index].loser.image for index in usable]) for pairs in curated],
    )


def _samples(painters: Painters, data: Data, chosen: list[int], path: Path, guidance: float) -> Tensor:
    """Latents of samples of the photographs' captions: kept, so that a better decoder does not paint anew."""
    captions = [caption(data.traits[index]) for index in chosen]

    def part(start: int) -> NDArray[np.float16]:
        states = painters.text([*captions[start : start + BATCH], ""])
        found = sample(painters.base, states[:-1], states[-1:], steps=STEPS, seed=start, guidance=guidance)
        return np.asarray(found.half().numpy())

    if not path.exists():
        content = np.concatenate([part(start) for start in range(0, len(chosen), BATCH)])
        np.save(path.with_suffix(".part.npy"), content)
        path.with_suffix(".part.npy").rename(path)
    return torch.from_numpy(np.load(path)).float()


def _folder(data: Data, split: str, place: Path) -> Path:
    """The photographs of a split as curation reads them, named by their index."""

    def write(temporary: Path) -> None:
        lines = []
        for index in data.photographs.indices(split):
            Image.fromarray(data.photographs.pixels[index]).save(temporary / f"{index}.png")
            lines.append(json.dumps({"file_name": f"{index}.png", "text": caption(data.traits[index])}) + "\n")
        (temporary / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")

    if not place.exists():
        write_folder(place, write)
    return place


def _pairs(pack: Path, folder: Path, work: Path, seed: int, feather: float) -> dict[int, Pair]:
    """Pairs by the photograph's index, every photograph repainted as the demo repaints."""
    asked = options.Curate.model_validate(
        {
            "seed": seed,
            "source": {"name": "imagefolder", "path": str(folder.resolve())},
            "resolution": layouts.SIZE,
            "saliency": {"name": "u2net", "model": str((pack / "u2net").resolve())},
            "perturbation": {"name": "inpaint", "model": str((pack / "inpaint").resolve()), "steps": STEPS, "dtype": "float32"},
            "mask": {"feather": feather},
            "batch_size": 16,
        }
    )
    node = curate(asked, Context(Store(work / "repaints"), progress=progress.choose()))
    return {int(Path(str(pair.lineage["file"])).stem): pair for pair in tables.pairs(node)}


@torch.no_grad()
def _decoded(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """As a file holds them: a judge that saw finer values would know what was never stored."""
    found = torch.cat([decode(vae, part) for part in torch.split(latents, BATCH)])
    return torch.from_numpy(as_numpy(found)).permute(0, 3, 1, 2).contiguous() / 255
