"""Pictures of fixed prompts from fixed noise, drawn while a training runs. They draw from no shared stream and change nothing.

``previews/step-00000100/0.png`` ... and ``prompts.json``, which says what they show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from pairwright import images
from pairwright.context import Context
from pairwright.diffusion import families, sampling
from pairwright.diffusion.families import Condition, Family
from pairwright.diffusion.training import Trainer
from pairwright.models import ModelRef
from pairwright.store import Node, write_folder, write_json

FOLDER = "previews"
PROMPTS = "prompts.json"
SEED = 0


@dataclass
class Easel:
    """What drawing needs: prompts as the network reads them, and an autoencoder."""

    node: Node
    trainer: Trainer
    context: Context
    prompts: tuple[str, ...]
    """One per picture."""
    _ready: tuple[Condition, Condition, Family] | None = field(default=None, init=False)
    _given_up: bool = field(default=False, init=False)

    def due(self, step: int) -> bool:
        """Whether pictures are wanted after so many steps."""
        every = self.trainer.settings.previews.every
        return bool(every) and step % every == 0 and not self._given_up

    def draw(self, step: int) -> list[Path]:
        """Draw the pictures after ``step`` steps where they are wanted and not there yet; where they went.

        A failure is said once, and there are no pictures from then on: they may never end a training.
        """
        place = self.node.path / FOLDER / f"step-{step:08d}"
        if not self.due(step) or place.exists():
            return []
        try:
            self._draw(place)
        except Exception as error:  # noqa: BLE001 - see above
            self._given_up = True
            self.context.progress.say(f"  no previews from now on, training goes on: {type(error).__name__}: {error}")
            return []
        return sorted(place.glob("*.png"))

    def _draw(self, place: Path) -> None:
        settings, trainer = self.trainer.settings.previews, self.trainer
        condition, empty, easel = self._prepared()
        keys = [f"{prompt}#{number}" for number, prompt in enumerate(self.prompts)]
        noise = sampling.initial_noise(trainer.policy.family, trainer.batches.encoded.resolution, keys, SEED)
        how = sampling.Settings(settings.steps, settings.guidance, seed=SEED)
        with result(trainer), torch.no_grad():
            latents = [
                sampling.sample(trainer.policy.family, condition[slice(row, row + 1)], empty, noise[row : row + 1], [key], how)
                for row, key in enumerate(keys)
            ]
            pictures = [easel.decode(each)[0] for each in latents]

        def write(temporary: Path) -> None:
            for number, picture in enumerate(pictures):
                (temporary / f"{number}.png").write_bytes(images.encode(images.from_tensor(picture.cpu())))
            write_json(temporary / PROMPTS, list(self.prompts))

        write_folder(place, write)

    def _prepared(self) -> tuple[Condition, Condition, Family]:
        """Text states and an autoencoder of their own, loaded when they are first needed. The text encoder does not stay."""
        if self._ready is None:
            family = self.trainer.policy.family
            reader, painter = (
                families.load_base(ModelRef(family.base, family.name), dtype="float32", device=family.device) for _ in range(2)
            )
            with torch.no_grad():
                self._ready = reader.condition(list(self.prompts)), reader.condition([""]), painter
        return self._ready


def easel(node: Node, trainer: Trainer, context: Context, pairs: Node) -> Easel:
    """For the prompts that the options name, or the first captions of the pairs."""
    settings = trainer.settings.previews
    texts = settings.prompts or tuple(dict.fromkeys(str(row["prompt"]) for row in pairs.rows(columns=["prompt"])))
    return Easel(node, trainer, context, tuple(texts[number % len(texts)] for number in range(settings.count)))


@contextmanager
def result(trainer: Trainer) -> Iterator[None]:
    """Inside, the network has the weights that would be the result now: their average, where that is on."""
    if trainer.average is None:
        yield
        return
    policy = trainer.policy
    own = {name: value.detach().clone() for name, value in policy.trained.items()}
    policy.put(trainer.average.tensors)
    try:
        yield
    finally:
        policy.put(own)
