"""The losses, each a pure function of the same four numbers per sample.

An *error* is a mean squared denoising error over channels and pixels, float32. A *gain* says how much better the policy
denoises than the reference. The objectives differ in what they ask of the gain; the training stages differ in where the
loser comes from (pairs on disk, or the policy's own sampling).

``docs/training.md`` says when to use which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from pairwright.options import Focus, Train

Objective = Callable[["Errors"], Tensor]


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

    def weighted_gain(self, loser_weight: float) -> Tensor:
        """``winner_gain - loser_weight * loser_gain``, ``[b]``; at 1 it is :attr:`gain`.

        Raises:
            ValueError: one of the four is absent.
        """
        return self.winner_gain - loser_weight * self.loser_gain

    @property
    def accuracy(self) -> Tensor:
        """Implicit accuracy, ``[b]``: 1 where the gain is above 0, else 0."""
        return (self.gain > 0).float()


def sft(errors: Errors) -> Tensor:
    """Supervised tuning on the winners: their mean denoising error, a scalar (Ho et al. 2020, eq. 14)."""
    return errors.policy_winner.mean()


def dpo(errors: Errors, *, beta: float, loser_weight: float = 1.0) -> Tensor:
    """Diffusion-DPO (Wallace et al. 2024, arXiv 2311.12908, eq. 14): ``-logsigmoid(0.5 * beta * gain)``, batch mean.

    ``beta`` is in the convention of the original code: the factor 0.5 is inside, T is absorbed, errors are means. It
    is not portable to trainers that omit the 0.5 or sum over pixels. At beta 2000 a gain of 0.01 saturates the loss.
    ``loser_weight`` scales the loser's part of the gain; 1 is the paper's.
    """
    return -functional.logsigmoid(0.5 * beta * errors.weighted_gain(loser_weight)).mean()


def ipo(errors: Errors, *, beta: float, loser_weight: float = 1.0) -> Tensor:
    """IPO (Azar et al. 2023, arXiv 2310.12036, eq. 17), its diffusion form: ``(0.5 * beta * gain - 0.5)^2``, batch mean.

    The paper's ``(h - 1 / (2 tau))^2`` with tau = beta and h, the difference of the log-ratios, replaced by ``0.5 * gain``
    as Diffusion-DPO replaces it; times beta squared, so that the gradient is of DPO's size and clipping and AdamW's
    epsilon mean the same for both. The target is a gain of ``1 / beta``: beyond it a pair pulls back, where DPO goes on.
    """
    return ((0.5 * beta * errors.weighted_gain(loser_weight) - 0.5) ** 2).mean()


def hinge(errors: Errors, *, beta: float, loser_weight: float = 1.0) -> Tensor:
    """A hinge on the gain: ``relu(1 - 0.5 * beta * gain)``, batch mean.

    SLiC's loss (Zhao et al. 2023, arXiv 2305.10425) measured against a reference, which is RSO's "hinge-norm" (Liu et al.
    2023, arXiv 2309.06657), its diffusion form. A pair whose gain is above ``2 / beta`` has no gradient. Up to the factor
    ``0.5 * beta`` it is :func:`dro` with the margin ``2 / beta`` and losers from the disk.
    """
    return torch.relu(1 - 0.5 * beta * errors.weighted_gain(loser_weight)).mean()


def dro(errors: Errors, *, margin: float) -> Tensor:
    """Diffusion-DRO (arXiv 2510.18353): ``relu(margin - gain)``, batch mean; the loser is the policy's own sample.

    The paper prints ``max(m, -gain)`` with m = -margin: the same gradient, less a constant.
    """
    return torch.relu(margin - errors.gain).mean()


def with_sft(preference: Objective, weight: float) -> Objective:
    """A preference loss plus ``weight`` times :func:`sft` (the form of Pang et al. 2024, arXiv 2404.19733, eq. 1).

    The gain only asks that winners improve *more* than losers; this term also asks that they do not get worse.
    """

    def loss(errors: Errors) -> Tensor:
        return preference(errors) + weight * sft(errors)

    return loss


def of(settings: Train) -> Objective:
    """The loss that a training asks for, a function of a batch's errors."""
    if settings.objective == "sft":
        return sft
    if settings.objective == "dro":
        return partial(dro, margin=settings.margin)
    chosen = {"dpo": dpo, "ipo": ipo, "hinge": hinge}[settings.objective]
    preference = partial(chosen, beta=settings.beta, loser_weight=settings.loser_weight)
    return with_sft(preference, settings.sft_weight) if settings.sft_weight else preference


def focus_weight(focus: Focus, sides: Mapping[str, Tensor]) -> Tensor | None:
    """How much each place of the latents counts, ``[b, 1, h, w]`` in 0..1; None: all the same.

    Args:
        focus: where errors are measured.
        sides: latents ``[b, c, h, w]`` of ``winner`` and ``loser``, or ``mask`` ``[b, 1, h, w]`` in 0..1.

    The same weights hold for winner and loser, policy and reference, so that the gain stays a difference of like things.
    With ``difference`` a place counts by how far the latents differ there (mean over channels, the largest being 1). A
    pair that differs nowhere, or whose mask was cropped away, is measured everywhere.
    """
    if focus.on == "everywhere":
        return None
    looked = sides["mask"].float() if focus.on == "mask" else _difference(sides["winner"], sides["loser"])
    weight = focus.rest + (1 - focus.rest) * looked
    nowhere = looked.flatten(1).amax(1) == 0
    return torch.where(nowhere[:, None, None, None], torch.ones_like(weight), weight)


def _difference(winner: Tensor, loser: Tensor) -> Tensor:
    found = (winner.float() - loser.float()).abs().mean(1, keepdim=True)
    most = found.flatten(1).amax(1)[:, None, None, None]
    return found / torch.where(most > 0, most, torch.ones_like(most))
