"""A whole tiny pack of untrained miniatures, in the layouts of the real models, with the photographs that ship."""

from __future__ import annotations

import shutil
from pathlib import Path

from pairwright import weights
from tests.miniatures.blip import write_imagereward, write_vocabulary
from tests.miniatures.classifier import write_classifier
from tests.miniatures.clip import write_clip
from tests.miniatures.editors import write_controlnet
from tests.miniatures.sd15 import write_sd15
from tests.miniatures.u2net import write_folder

LABELS = ("species:rose", "species:tulip", "species:daisy", "species:sunflower", "species:dandelion", "color:red", "color:yellow")


def write_pack(folder: Path) -> Path:
    """The folder that ``PAIRWRIGHT_TINY`` names; the prompts and photographs are those of the package."""
    write_sd15(folder / "base")
    write_sd15(folder / "inpaint", seed=1, inpaint=True)
    write_controlnet(folder / "controlnet")
    write_clip(folder / "pickscore")
    write_imagereward(folder / "imagereward")
    write_vocabulary(folder / "imagereward")
    write_classifier(folder / "classifier", LABELS)
    write_folder(folder / "u2net")
    shipped = weights.tiny_pack()
    for prompts in shipped.glob("*prompts.txt"):
        shutil.copy(prompts, folder)
    shutil.copytree(shipped / "photos", folder / "photos")
    return folder
