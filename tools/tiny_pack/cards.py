"""The pack's README: one model card for each model, out of the stages' JSON cards."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

PURPOSE = {
    "autoencoder": "the autoencoder of `base/` and `inpaint/` (AutoencoderKL, 4 latent channels at a quarter of the side)",
    "decoder": "its decoder, trained further while the UNets learned",
    "text_encoder": "the text encoder of `base/` and `inpaint/`, taught on captions alone, then frozen",
    "base": "`base/`: text to image in Stable Diffusion 1.5's layout, 64 x 64 pixels",
    "inpaint": "`inpaint/`: Stable Diffusion inpainting's layout, weak on purpose",
    "controlnet": "`controlnet/`: a ControlNet for `base/`: flowers of another colour or species in the same place",
    "pickscore": "`pickscore/`: a CLIP in PickScore's layout, the scorer that curation uses",
    "imagereward": "`imagereward/`: a judge in ImageReward's layout, never seen by curation",
    "classifier": "`classifier/`: species, colour and background, never seen by curation",
    "imagereward_refined": "`imagereward/` once more: photographs above round trips, those above samples",
    "classifier_refined": "`classifier/` once more: less sure of what the pack's own models have painted",
    "u2net": "`u2net/`: saliency of the U^2-Net architecture, taught by u2netp (Apache-2.0)",
}
CARDS = "cards.json"
"""All stages' cards in the pack, as the machine reads them; ``README.md`` is for people."""
DRAWN = ("autoencoder", "decoder", "base", "inpaint", "controlnet")
"""Stages whose card shows a sheet of pictures; the base's sheets are numbered, and its last is shown."""
PLANNED = ("split", "steps_done", "batch", "learning_rate", "weight_decay", "ema", "seed",
           "parameters", "seconds", "device", "torch")  # fmt: skip
HEADER = """# The tiny pack

Small networks in the true layouts of the real models, so that the same code loads both. They
know five flowers at 64 x 64 pixels and nothing else; they are for tests, the demonstration and
the learning benchmark.

**Data.** The TensorFlow flower photographs (3,670; daisies, dandelions, roses, sunflowers,
tulips), CC-BY 2.0, by their photographers on Flickr, as distributed by the TensorFlow authors.
The split of a photograph follows from the hash of its file name: `base` 40 % (autoencoder,
base, inpainting, ControlNet, PickScore, saliency), `judge` 30 % (ImageReward, classifier), `photos` 20 %
(never trained on: what the benchmark curates), `test` 10 %. Captions are computed from species,
saliency and colour. A third of the views that the base saw carry faults (blur, JPEG, faded
colours, low contrast, noise, colour cast, bad crops) that no caption mentions.

**Licence of the weights.** Apache-2.0, with attribution of the photographs as above.

**How they were made.** `python -m tools.tiny_pack all`; weights are stored in fp16.
"""


def card_text(name: str, card: Mapping[str, Any]) -> str:
    """The section of one model."""
    planned = ", ".join(f"{key.replace('_', ' ')} {card[key]}" for key in PLANNED if key in card)
    curve = card["loss_curve"]
    known = {*PLANNED, "name", "steps", "warmup", "save_every", "loss_curve"}
    figures = [f"- {key.replace('_', ' ')}: {card[key]}" for key in card if key not in known]
    shown = ", ".join(f"{value:g}" for value in curve[:: max(1, len(curve) // 12)])
    lines = [f"## {name}", "", f"{PURPOSE[name][0].upper() + PURPOSE[name][1:]}.", "", f"- {planned}",
             f"- loss: {shown}", *figures]  # fmt: skip
    lines += ["", f"![{name}](pictures/{name}.jpg)"] if name in DRAWN else []
    return "\n".join(lines) + "\n"


def write_cards(work: Path, out: Path) -> None:
    """``README.md`` and its pictures, from whatever stages have run; ``cards.json`` says the same to :mod:`.restore`."""
    paths = {name: work / f"{name}.json" for name in PURPOSE}
    cards = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}
    (out / CARDS).write_text(json.dumps(cards, indent=1) + "\n", encoding="utf-8")
    sections = [HEADER, *(card_text(name, card) for name, card in cards.items())]
    pictures = out / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    latest = sorted(work.glob("base-*.png"))[-1:]
    for source in (*latest, *(work / f"{name}.png" for name in DRAWN)):
        if source.exists():
            with Image.open(source) as sheet:
                sheet.save(pictures / f"{source.stem.partition('-')[0]}.jpg", quality=85)
    (out / "README.md").write_text("\n".join(sections), encoding="utf-8")
