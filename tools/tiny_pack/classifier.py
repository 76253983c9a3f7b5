"""The second judge: species, colour and background from one vector of logits."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from . import layouts
from .captions import Traits
from .data import Data
from .degradations import degraded
from .training import Plan, Run, train
from .views import crops, pick, whole

PLAN = Plan("classifier", "judge", 6000, 32, 2e-3, ema=0.998, weight_decay=0.1)
GROUPS = {"species": "species", "color": "colour", "background": "background"}
UNKNOWN = -100  # cross entropy leaves these out


def group_places(group: str) -> list[int]:
    """Where the logits of one group stand."""
    return [i for i, label in enumerate(layouts.LABELS) if label.startswith(f"{group}:")]


def targets(traits: Sequence[Traits], group: str) -> Tensor:
    """The label of each photograph within a group; what was not seen is `UNKNOWN`."""
    names = [layouts.LABELS[place].partition(":")[2] for place in group_places(group)]
    words = [getattr(seen, GROUPS[group]) for seen in traits]
    return torch.tensor([names.index(word) if word else UNKNOWN for word in words])


def group_loss(logits: Tensor, traits: Sequence[Traits]) -> Tensor:
    """Cross entropy summed over the groups, labels smoothed a little."""
    losses = [
        functional.cross_entropy(logits[:, group_places(group)], targets(traits, group), label_smoothing=0.05) for group in GROUPS
    ]
    return torch.stack(losses).sum()


def train_classifier(data: Data, folder: Path) -> Run:
    """Train on `judge` with crops and, for a quarter of each batch, faults."""
    torch.manual_seed(PLAN.seed)
    network = layouts.classifier().to(memory_format=torch.channels_last)
    run = Run(PLAN, network, folder)
    indices = data.photographs.indices(PLAN.split)

    def loss(generator: Generator) -> Tensor:
        chosen = pick(indices, PLAN.batch, generator)
        images, _ = crops(data.photographs.pixels[chosen], generator, 0.5)
        quarter = PLAN.batch // 4
        images[:quarter] = degraded(images[:quarter], generator)
        return group_loss(network(2 * images - 1).logits, [data.traits[i] for i in chosen])

    train(run, loss)
    return run


@torch.no_grad()
def accuracy(network: nn.Module, data: Data) -> dict[str, float]:
    """The share of `test` photographs that each group names rightly."""
    indices = data.photographs.indices("test")
    logits = network(2 * whole(data.photographs.pixels[indices]) - 1).logits
    result = {}
    for group in GROUPS:
        truth = targets([data.traits[i] for i in indices], group)
        known = truth != UNKNOWN
        right = logits[:, group_places(group)].argmax(1) == truth
        result[group] = round(right[known].float().mean().item(), 3)
    return result
