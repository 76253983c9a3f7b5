"""Policy, reference and sampling policy: one frozen base, three sets of adapters.

The reference is where training starts, with every LoRA that came with it. Where an earlier step's adapter is continued,
the reference is a frozen copy of it beside the trained one: "adapters off" would be the public base, another model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pairwright import options, weights
from pairwright.diffusion import adapters
from pairwright.diffusion.families import Condition, Family
from pairwright.diffusion.objectives import denoising_error
from pairwright.models import STORE_PREFIX, Layer, ModelError, ModelRef
from pairwright.store import Store

TRAINED, REFERENCE, SNAPSHOT = "policy", "reference", "snapshot"


@dataclass(frozen=True)
class Policy:
    """A network and which of its adapters make which model, in order.

    The policy's adapters are the active ones except inside a method of this class, so that backward passes (which run
    forwards again where activations are checkpointed) always see the policy.
    """

    family: Family
    chain: tuple[str, ...]
    """The policy; its last adapter is the one in training."""
    reference: tuple[str, ...]
    snapshot: tuple[str, ...]
    """The sampling policy of DRO, where it lags behind; else the policy itself."""

    @property
    def network(self) -> nn.Module:
        """The network that all of them share."""
        return self.family.network

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """What the optimiser changes, float32."""
        return adapters.parameters(self.network, TRAINED)

    def error(self, state: Tensor, t: Tensor, condition: Condition, target: Tensor) -> Tensor:
        """The policy's denoising error, ``[b]`` float32, with a gradient."""
        return denoising_error(self.family.predict(state, t, condition), target)

    @torch.no_grad()
    def reference_error(self, state: Tensor, t: Tensor, condition: Condition, target: Tensor) -> Tensor:
        """The reference's denoising error, ``[b]`` float32. Same kernels, dtype and batch shape as the policy's."""
        with adapters.only(self.network, self.reference):
            return denoising_error(self.family.predict(state, t, condition), target)

    def refresh(self) -> None:
        """Bring the lagging sampling policy up to date."""
        adapters.assign(self.network, SNAPSHOT, self.trained)


def build(
    family: Family,
    start: ModelRef,
    reference: ModelRef | None,
    store: Store,
    lora: options.Lora,
    *,
    seed: int,
    lagging: bool,
) -> Policy:
    """Put the adapters on the base.

    Args:
        family: the base, without layers.
        start: where training starts. An adapter of an earlier step at its end is continued; on anything else a fresh
            one is put.
        reference: what is measured against; None: the start.
        store: where adapters of earlier steps lie.
        lora: the shape of a fresh adapter.
        seed: keys the fresh adapter's values.
        lagging: whether a snapshot of the policy is needed for sampling.

    Raises:
        ModelError: the reference has another base; a layer or target that does not fit.
    """
    continued = continues(start)
    below = start.layers[: len(start.layers) - 1 if continued else None]
    lower = _attach(family, "start", below, store)
    if continued:
        adapters.attach(family, TRAINED, start.layers[-1].file(store))
        adapters.thaw(family.network, TRAINED)
    else:
        adapters.add(family, TRAINED, rank=lora.rank, alpha=lora.alpha, targets=lora.targets, seed=seed)
    chain = (*lower, TRAINED)
    if reference is not None:
        measured = _named(family, reference, start, store)
    elif continued:
        adapters.copy(family, TRAINED, REFERENCE)
        measured = (*lower, REFERENCE)
    else:
        measured = lower
    if lagging:
        adapters.copy(family, TRAINED, SNAPSHOT)
    adapters.activate(adapters.lora_layers(family.network), chain)
    return Policy(family, chain, measured, (*lower, SNAPSHOT) if lagging else chain)


def continues(start: ModelRef) -> bool:
    """Whether training goes on with the start's last adapter instead of putting a fresh one on top."""
    return bool(start.layers) and start.layers[-1].path.startswith(f"{STORE_PREFIX}train/") and start.layers[-1].scale == 1


def _named(family: Family, reference: ModelRef, start: ModelRef, store: Store) -> tuple[str, ...]:
    if weights.identity(reference.base) != weights.identity(start.base):
        raise ModelError(
            f"the reference's base {reference.base} is not the start's {start.base}: "
            "policy and reference are one base with different layers"
        )
    return _attach(family, REFERENCE, reference.layers, store)


def _attach(family: Family, label: str, layers: Sequence[Layer], store: Store) -> tuple[str, ...]:
    names = tuple(f"{label}{index}" for index in range(len(layers)))
    for name, layer in zip(names, layers, strict=True):
        adapters.attach(family, name, layer.file(store), scale=layer.scale)
    return names
