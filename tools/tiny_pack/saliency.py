"""The saliency network: u2netp, taught to see at 64 pixels what it sees at 160."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pairwright.saliency.u2net_network import U2Net

from . import layouts
from .data import Data
from .teacher import normalised
from .training import Plan, Run, train
from .views import crops, cut, pick, whole

PLAN = Plan("u2net", "base", 300, 16, 3e-4, ema=0.99)


class Student(U2Net):
    """Its batch norms stay as the teacher's: they are folded into its convolutions, and batch statistics would undo that."""

    def train(self, mode: bool = True) -> Student:  # noqa: FBT001, FBT002, ARG002 - torch's signature
        """Stay in evaluation mode, with gradients."""
        return super().train(mode=False)


def side_loss(network: U2Net, images: Tensor, maps: Tensor) -> Tensor:
    """Cross entropy of all seven outputs with the teacher's soft map, as published."""
    outputs = network.side_outputs(normalised(images))
    losses = [functional.binary_cross_entropy_with_logits(o, maps) for o in outputs]
    return torch.stack(losses).mean() + losses[1]  # d1 is the one that is used


def train_saliency(data: Data, teacher: U2Net, folder: Path) -> Run:
    """Distil on crops of `base`; report the overlap with the teacher on `test`."""
    torch.manual_seed(PLAN.seed)
    network = Student(layouts.U2NET_WIDTHS)
    network.load_state_dict(teacher.state_dict())
    run = Run(PLAN, network, folder)
    indices = data.photographs.indices(PLAN.split)

    def loss(generator: Generator) -> Tensor:
        chosen = pick(indices, PLAN.batch, generator)
        images, boxes = crops(data.photographs.pixels[chosen], generator, 0.8)
        maps = cut(data.saliency[chosen][..., None], boxes)
        return side_loss(network, images.contiguous(memory_format=torch.channels_last), maps)

    train(run, loss)
    if "iou_with_teacher" not in run.notes:
        network.load_state_dict(run.best_state())
        run.notes |= overlap(network.eval(), data)
        run.save()
    return run


@torch.no_grad()
def overlap(network: U2Net, data: Data) -> dict[str, float]:
    """Intersection over union of the masks at 0.5, and the maps' mean absolute error."""
    indices = data.photographs.indices("test")
    images = whole(data.photographs.pixels[indices])
    taught = whole(data.saliency[indices][..., None])
    found = torch.cat([network(normalised(part)) for part in torch.split(images, 32)])
    low, high = found.amin((1, 2, 3), keepdim=True), found.amax((1, 2, 3), keepdim=True)
    found = (found - low) / (high - low).clamp_min(1e-6)  # as the maps are used
    ours, theirs = found > 0.5, taught > 0.5
    union = (ours | theirs).sum((1, 2, 3))
    shared = (ours & theirs).sum((1, 2, 3))[union > 0] / union[union > 0]
    return {
        "iou_with_teacher": round(shared.mean().item(), 3),
        "median_iou": round(shared.median().item(), 3),
        "mean_absolute_error": round((found - taught).abs().mean().item(), 4),
    }
