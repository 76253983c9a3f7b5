"""What one optimiser step did, summed over its micro-batches and over the processes that share it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pairwright import options, ranks
from pairwright.diffusion.objectives import Errors
from pairwright.diffusion.pair_errors import Answer

SATURATED = 4.0
"""Where ``|0.5 * beta * gain|`` is larger, a pair's weight in the gradient of DPO is below 2 % or above 98 % of its most."""


@dataclass(frozen=True)
class Step:
    """What one optimiser step did. Means over the batch; None: the objective has no such thing.

    What depends on the loser is a mean over the ``losers`` samples whose loser was computed.
    """

    step: int
    """How many optimiser steps have been done, this one included."""
    loss: float
    """Where losers were left out, a lower bound with the same gradient."""
    lr: float
    grad_norm: float
    """Before clipping."""
    seconds: float
    policy_winner: float
    reference_winner: float | None = None
    policy_loser: float | None = None
    reference_loser: float | None = None
    rewards_chosen: float | None = None
    """How much better than the reference the policy denoises winners; times beta / 2 for DPO, else an error."""
    rewards_rejected: float | None = None
    """The same for losers."""
    rewards_margins: float | None = None
    rewards_accuracies: float | None = None
    """Share of samples with a gain above 0."""
    saturated: float | None = None
    """Share of samples that beta takes out of the gradient (DPO): ``|0.5 * beta * gain|`` above 4."""
    losers: int = 0
    """How many losers were computed."""
    rollouts: float | None = None
    """Share of samples for which a trajectory was sampled (DRO)."""
    forwards: float = 0.0
    """Forwards of the network per sample: policy, reference and sampling policy together."""
    skipped: bool = False
    """Loss or gradient was not finite: weights, optimiser and average are those before the step."""
    pairs_per_second: float = 0.0
    micro: int = 0
    """Samples (for dpo: pairs) per forward."""
    memory: int | None = None
    """Bytes: the most that tensors took on a CUDA device during the step; elsewhere what the process holds."""

    def row(self) -> dict[str, float | int | None]:
        """The line of ``steps.jsonl``, with the names that other trainers use. What is not finite is null: JSON has no NaN."""
        return {name.replace("rewards_", "rewards/"): _finite(value) for name, value in vars(self).items()}


def _finite(value: float | None) -> float | int | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def memory(device: torch.device) -> int | None:
    """Bytes taken since the last call: the peak on a CUDA device, elsewhere what the process holds now."""
    if device.type == "cuda":
        peak = int(torch.cuda.max_memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    try:
        import psutil  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None
    return int(psutil.Process().memory_info().rss)


class Sums:
    """Sums over a step's samples, kept on the device until the step is over: one synchronisation instead of many."""

    def __init__(self, settings: options.Train, device: torch.device) -> None:
        self._settings = settings
        self._forwards = 0.0
        # samples, loss, winner's errors (policy, reference), losers asked, loser's errors, gains, right ones, saturated ones
        self._total = torch.zeros(11, dtype=torch.float64, device=device if device.type != "mps" else "cpu")

    def add(self, loss: Tensor, errors: Errors, answer: Answer | None) -> None:
        """Count a micro-batch.

        Args:
            loss: its mean, a scalar.
            errors: its errors.
            answer: what is known of its losers; None: the objective has none.
        """
        winner = errors.policy_winner.detach()
        values = [torch.full_like(loss, len(winner)), loss.detach() * len(winner), winner.sum()]
        self._forwards += len(winner) * (1 if errors.reference_winner is None else 2)
        if errors.reference_winner is not None and answer is not None:
            self._forwards += float(answer.forwards.sum())
            known = answer.asked.float()
            assert errors.policy_loser is not None
            assert errors.reference_loser is not None
            saturated = (0.5 * self._settings.beta * errors.gain).abs() > SATURATED
            parts = (errors.policy_loser, errors.reference_loser, errors.loser_gain, errors.gain, errors.accuracy, saturated)
            values += [errors.reference_winner.sum(), known.sum(), *((part.detach() * known).sum() for part in parts)]
        row = torch.stack(values).to(self._total.device, torch.float64)
        self._total[: len(row)] += row

    def found(self, *, stop: bool = False) -> tuple[dict[str, float | int | None], bool]:
        """The step's means over all processes, and whether one of them was asked to stop."""
        asked_to = torch.tensor([self._forwards, float(stop)], dtype=torch.float64, device=self._total.device)
        numbers = ranks.total(torch.cat([self._total, asked_to])).tolist()
        return self._means(numbers), numbers[-1] > 0

    def _means(self, numbers: list[float]) -> dict[str, float | int | None]:
        settings = self._settings
        samples = numbers[0] or 1.0  # a step that was stopped before its first batch
        found: dict[str, float | int | None] = {"loss": numbers[1] / samples, "policy_winner": numbers[2] / samples}
        found["forwards"] = numbers[-2] / samples
        if settings.objective == "sft":
            return found
        scale = settings.beta / 2 if settings.paired else 1.0
        reference_winner, asked, policy_loser, reference_loser, loser_gain, gain, right, saturated = numbers[3:-2]
        found |= {
            "reference_winner": reference_winner / samples,
            "rewards_chosen": scale * (reference_winner - numbers[2]) / samples,
            "losers": round(asked),
        }
        if asked:
            found |= {
                "policy_loser": policy_loser / asked,
                "reference_loser": reference_loser / asked,
                "rewards_rejected": scale * loser_gain / asked,
                "rewards_margins": scale * gain / asked,
                "rewards_accuracies": right / asked,
            }
        if asked and settings.paired:
            found["saturated"] = saturated / asked
        if settings.objective == "dro":
            found["rollouts"] = asked / samples
        return found
