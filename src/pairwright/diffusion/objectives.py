"""The losses, each a pure function of the same four numbers per sample.

An *error* is a mean squared denoising error over channels and pixels, float32. A *gain* says how much better the policy
denoises than the reference. The objectives differ in what they ask of the gain; the training stages differ in where the
loser comes from (pairs on disk, or the policy's own sampling).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


def denoising_error(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """``[b, c, h, w]`` twice -> ``[b]`` float32: the mean squared error of each sample.

    Args:
        prediction: what the network says.
        target: what it should say.
        mask: weights ``[b, 1, h, w]``, at least one above 0 per sample; the mean is weighted by them.
    """
    squared = (prediction.float() - target.float()) ** 2
    if mask is None:
        return squared.flatten(1).mean(1)
    weight = mask.float().expand_as(squared)
    return (squared * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)


@dataclass(frozen=True)
class Errors:
    """Denoising errors of a batch, each ``[b]`` float32; what an objective does not need is None and was not computed."""

    policy_winner: Tensor
    policy_loser: Tensor | None = None
    reference_winner: Tensor | None = None
    reference_loser: Tensor | None = None

    @property
    def winner_gain(self) -> Tensor:
        """``[b]``: how much better than the reference the policy denoises the winner. It should rise.

        Raises:
            ValueError: the reference's error is absent.
        """
        if self.reference_winner is None:
            raise ValueError("these errors have no reference")
        return self.reference_winner - self.policy_winner

    @property
    def loser_gain(self) -> Tensor:
        """``[b]``: the same for the loser. It should fall.

        Raises:
            ValueError: the loser's errors are absent.
        """
        if self.reference_loser is None or self.policy_loser is None:
            raise ValueError("these errors have no loser")
        return self.reference_loser - self.policy_loser

    @property
    def gain(self) -> Tensor:
        """``(reference_winner - policy_winner) - (reference_loser - policy_loser)``, ``[b]``.

        Raises:
            ValueError: one of the four is absent.
        """
        return self.winner_gain - self.loser_gain

    @property
    def accuracy(self) -> Tensor:
        """Implicit accuracy, ``[b]``: 1 where the gain is above 0, else 0."""
        return (self.gain > 0).float()


def sft(errors: Errors) -> Tensor:
    """Supervised tuning on the winners: their mean denoising error, a scalar (Ho et al. 2020, eq. 14)."""
    return errors.policy_winner.mean()


def dpo(errors: Errors, *, beta: float) -> Tensor:
    """Diffusion-DPO (Wallace et al. 2024, arXiv 2311.12908, eq. 14): ``-logsigmoid(0.5 * beta * gain)``, batch mean.

    ``beta`` is in the convention of the original code: the factor 0.5 is inside, T is absorbed, errors are means. It
    is not portable to trainers that omit the 0.5 or sum over pixels. At beta 2000 a gain of 0.01 saturates the loss.
    """
    return -functional.logsigmoid(0.5 * beta * errors.gain).mean()


def dro(errors: Errors, *, margin: float) -> Tensor:
    """Diffusion-DRO (arXiv 2510.18353): ``relu(margin - gain)``, batch mean; the loser is the policy's own sample.

    The paper prints ``max(m, -gain)`` with m = -margin: the same gradient, less a constant.
    """
    return torch.relu(margin - errors.gain).mean()
