"""A low-rank change of one module's weight (LoRA, Hu et al. 2021), and the algebra that keeps its sum exact.

Everything here is float32 on the CPU but for the decompositions, which are float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Change:
    """``alpha / rank * up @ down``, added to a weight ``[out, in]`` or ``[out, in, kh, kw]``."""

    down: Tensor
    """``[rank, in]`` or ``[rank, in, kh, kw]``; ``lora_A`` in peft."""
    up: Tensor
    """``[out, rank]`` or ``[out, rank, 1, 1]``; ``lora_B`` in peft."""
    alpha: float

    @property
    def rank(self) -> int:
        """Columns of ``up``."""
        return len(self.down)

    @property
    def strength(self) -> float:
        """The factor before the product."""
        return self.alpha / self.rank

    def delta(self) -> Tensor:
        """What is added to the weight, in the weight's shape."""
        product = self.strength * self.up.flatten(1) @ self.down.flatten(1)
        return product.reshape(len(self.up), *self.down.shape[1:])

    def with_alpha(self, alpha: float) -> Change:
        """The same change under another alpha; ``up`` takes the difference."""
        return self if alpha == self.alpha else Change(self.down, self.up * (self.alpha / alpha), alpha)


Changes = Mapping[str, Change]
"""By the network's module names."""


def add(changes: Sequence[Change]) -> Change:
    """The sum of changes of one module, exact: their ranks side by side, their strengths folded into ``up``."""
    if len(changes) == 1:
        return changes[0]
    rank = sum(each.rank for each in changes)
    up = torch.cat([each.strength * each.up for each in changes], dim=1)
    return Change(torch.cat([each.down for each in changes]), up, float(rank))


def stack(changes: Sequence[Change | None], rows: Sequence[int]) -> Change:
    """Changes of modules that another implementation holds as one, stacked along the output (a fused qkv), exact.

    Args:
        changes: one per module; None: unchanged.
        rows: outputs of each module.
    """
    there = [each for each in changes if each is not None]
    rank = sum(each.rank for each in there)
    up = there[0].up.new_zeros(sum(rows), rank, *there[0].up.shape[2:])
    row = column = 0
    for change, size in zip(changes, rows, strict=True):
        if change is not None:
            up[row : row + size, column : column + change.rank] = change.strength * change.up
            column += change.rank
        row += size
    return Change(torch.cat([each.down for each in there]), up, float(rank))


def unstack(change: Change, rows: Sequence[int]) -> list[Change | None]:
    """The inverse of :func:`stack`: ranks that do not reach a module are left out of it."""
    parts: list[Change | None] = []
    for up in torch.split(change.up, list(rows)):
        used = up.flatten(2).abs().sum(dim=(0, 2)) > 0 if up.ndim > 2 else up.abs().sum(dim=0) > 0
        rank = int(used.sum())
        parts.append(Change(change.down[used], change.strength * up[:, used], float(rank)) if rank else None)
    return parts


def swap_halves(change: Change) -> Change:
    """The two halves of the outputs exchanged: implementations differ in whether shift or scale comes first."""
    first, second = change.up.chunk(2)
    return Change(change.down, torch.cat([second, first]), change.alpha)


def reduce(changes: Changes, rank: int) -> tuple[dict[str, Change], float]:
    """The nearest changes of at most that rank (truncated SVD; Eckart and Young 1936).

    Returns:
        the changes, and the relative error: the root of the summed squares of what was cut, over that of everything.
    """
    reduced: dict[str, Change] = {}
    cut = whole = 0.0
    for module, change in changes.items():
        left, upper = torch.linalg.qr(change.up.flatten(1).double())
        right, lower = torch.linalg.qr(change.down.flatten(1).double().T)
        u, singular, v = torch.linalg.svd(upper @ lower.T)
        singular = singular * change.strength
        whole += float(singular.square().sum())
        if change.rank <= rank:
            reduced[module] = change
            continue
        cut += float(singular[rank:].square().sum())
        root = singular[:rank].sqrt()
        up, down = (left @ u[:, :rank]) * root, (right @ v[:rank].T * root).T
        reduced[module] = Change(
            down.float().reshape(-1, *change.down.shape[1:]), up.float().reshape(-1, *_tail(up, change)), float(rank)
        )
    return reduced, math.sqrt(cut / whole) if whole else 0.0


def _tail(up: Tensor, change: Change) -> tuple[int, ...]:
    return (up.shape[1], *change.up.shape[2:])
