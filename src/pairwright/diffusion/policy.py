"""Policy, reference and sampling policy: one frozen base and three sets of adapters, or networks of their own.

The reference is where training starts, with every LoRA that came with it, unless another is named. Where an earlier step's
adapter is continued, the reference is a frozen copy of it beside the trained one: "adapters off" would be the public base,
another model. A second network is held only where one cannot do: for full fine-tuning, and for a reference on another base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from pairwright import options, runtime, weights
from pairwright.diffusion import adapters, families, full
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
    """The policy; its last adapter is the one in training. Empty where the whole network is."""
    reference: tuple[str, ...]
    """Of the same network, unless the reference has one of its own."""
    snapshot: tuple[str, ...]
    """The sampling policy of DRO, where it lags behind; else the policy itself."""
    kind: Literal["adapter", "weights"] = "adapter"
    """What is trained, and what kind of layer comes out."""
    below: tuple[Layer, ...] = ()
    """Full weights that the trained adapter lies on, and without which it means nothing."""
    measured: Family | None = None
    """The reference, where it is a network of its own."""
    sampler: Family | None = None
    """The lagging sampling policy, where it is a network of its own."""

    @property
    def network(self) -> nn.Module:
        """The policy's network."""
        return self.family.network

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """What the optimiser changes, float32."""
        return full.parameters(self.network) if self.kind == "weights" else adapters.parameters(self.network, TRAINED)

    @property
    def sampled(self) -> Mapping[str, Tensor] | None:
        """The weights of the lagging sampling policy; None where it does not lag."""
        if self.sampler is not None:
            return full.parameters(self.sampler.network)
        return adapters.parameters(self.network, SNAPSHOT) if self.snapshot != self.chain else None

    def error(self, state: Tensor, t: Tensor, condition: Condition, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The policy's denoising error, ``[b]`` float32, with a gradient; ``weight`` as in :func:`denoising_error`."""
        return denoising_error(self.family.predict(state, t, condition), target, weight)

    @torch.no_grad()
    def reference_error(
        self, state: Tensor, t: Tensor, condition: Condition, target: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """The reference's denoising error, ``[b]`` float32. Same kernels, dtype and batch shape as the policy's."""
        if self.measured is not None:
            return denoising_error(self.measured.predict(state, t, condition), target, weight)
        with adapters.only(self.network, self.reference):
            return denoising_error(self.family.predict(state, t, condition), target, weight)

    @contextmanager
    def sampling(self) -> Iterator[Family]:
        """Inside, the family that is yielded predicts as the sampling policy does."""
        if self.sampler is not None:
            yield self.sampler
            return
        with adapters.only(self.network, self.snapshot):
            yield self.family

    def refresh(self) -> None:
        """Bring the lagging sampling policy up to date."""
        self.put_sampled(self.trained)

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Give the trained weights these values.

        Raises:
            ValueError: keys are missing or left over.
        """
        if self.kind == "weights":
            full.assign(self.network, tensors)
        else:
            adapters.assign(self.network, TRAINED, tensors)

    def put_sampled(self, tensors: Mapping[str, Tensor]) -> None:
        """Give the lagging sampling policy these values.

        Raises:
            ValueError: keys are missing or left over.
        """
        if self.sampler is not None:
            full.assign(self.sampler.network, tensors)
        else:
            adapters.assign(self.network, SNAPSHOT, tensors)

    def save(self, folder: Path, metadata: Mapping[str, str], values: Mapping[str, Tensor]) -> None:
        """Write the layer that training made, with ``values`` for the trained weights (their average, say)."""
        if self.kind == "weights":
            full.save(self.family, values, folder, metadata)
        else:
            adapters.save(self.family, self.chain, folder, metadata, values)


def assemble(
    chosen: options.Train, start: ModelRef, reference: ModelRef | None, store: Store, device: torch.device, *, lagging: bool
) -> Policy:
    """Load what a training needs, in as few networks as can be.

    Args:
        chosen: what is trained and how.
        start: where training starts.
        reference: what is measured against; None: the start (or nothing, for objectives that measure against nothing).
        store: where layers of earlier steps lie.
        device: where it all runs.
        lagging: whether a snapshot of the policy is needed for sampling.

    Raises:
        ModelError: a layer or target that does not fit, or a reference of another kind.
        WeightsError: weights that cannot be found.
    """
    if chosen.method == "full":
        return _full(chosen, start, reference, store, device, lagging=lagging)
    family = families.load_base(start, dtype=chosen.dtype, device=device)
    apart = None if reference is None or _foundation(reference, store) == _foundation(start, store) else reference
    measured = None
    if apart is not None:
        measured = families.load(_of_family(apart, start), store, dtype=chosen.dtype, device=device)
        _check_process(family, measured)
    beside = reference if measured is None else None
    return build(family, start, beside, store, chosen.lora, seed=chosen.seed, lagging=lagging, measured=measured)


def build(
    family: Family,
    start: ModelRef,
    reference: ModelRef | None,
    store: Store,
    lora: options.Lora,
    *,
    seed: int,
    lagging: bool,
    measured: Family | None = None,
) -> Policy:
    """Put the adapters on the base.

    Args:
        family: the base, without layers.
        start: where training starts. An adapter of an earlier step at its end is continued; on anything else a fresh
            one is put.
        reference: what is measured against, on the same base and full weights; None: the start.
        store: where adapters of earlier steps lie.
        lora: the shape of a fresh adapter.
        seed: keys the fresh adapter's values.
        lagging: whether a snapshot of the policy is needed for sampling.
        measured: the reference, where it is a network of its own.

    Raises:
        ModelError: the reference has another base; a layer or target that does not fit.
    """
    continued = _ends_in_own_adapter(start)
    lower = families.put(family, start.layers[: len(start.layers) - 1 if continued else None], store, "start")
    if continued:
        adapters.attach(family, TRAINED, start.layers[-1].file(store))
        adapters.thaw(family.network, TRAINED)
    else:
        adapters.add(family, TRAINED, rank=lora.rank, alpha=lora.alpha, targets=lora.targets, seed=seed)
    chain = (*lower, TRAINED)
    against: tuple[str, ...] = ()
    if reference is not None:
        against = _beside(family, reference, start, store)
    elif measured is None:
        against = (*lower, REFERENCE) if continued else lower
        if continued:
            adapters.copy(family, TRAINED, REFERENCE)
    if lagging:
        adapters.copy(family, TRAINED, SNAPSHOT)
    adapters.activate(adapters.lora_layers(family.network), chain)
    snapshot = (*lower, SNAPSHOT) if lagging else chain
    return Policy(family, chain, against, snapshot, below=_whole(start), measured=measured)


def continues(start: ModelRef, chosen: options.Train) -> bool:
    """Whether training goes on with the start's last adapter instead of putting a fresh one on top."""
    return chosen.method == "lora" and _ends_in_own_adapter(start)


def _ends_in_own_adapter(start: ModelRef) -> bool:
    last = start.layers[-1] if start.layers else None
    return last is not None and last.kind == "adapter" and last.path.startswith(f"{STORE_PREFIX}train/") and last.scale == 1


def _full(
    chosen: options.Train, start: ModelRef, reference: ModelRef | None, store: Store, device: torch.device, *, lagging: bool
) -> Policy:
    """Policy, reference and sampling policy as networks of their own; only the policy's weights stay in float32."""
    policy = families.load_whole(start, store, dtype=chosen.dtype, device=device)
    policy.network.requires_grad_(requires_grad=True)

    def frozen(ref: ModelRef) -> Family:
        family = families.load_whole(ref, store, dtype=chosen.dtype, device=device)
        full.shrink(family.network.requires_grad_(requires_grad=False), runtime.working_dtype(chosen.dtype, device))
        return family

    measured = None
    if chosen.objective != "sft":
        measured = frozen(_of_family(reference or start, start))
        _check_process(policy, measured)
    sampler = frozen(start) if lagging else None
    return Policy(policy, (), (), (), "weights", measured=measured, sampler=sampler)


def _whole(ref: ModelRef) -> tuple[Layer, ...]:
    return tuple(layer for layer in ref.layers if layer.kind == "weights")


def _foundation(ref: ModelRef, store: Store) -> tuple[str, str, tuple[str, ...]]:
    """What adapters are put on: family, base and full weights by their content."""
    whole = ModelRef(ref.base, ref.family, _whole(ref)).identity(store)
    return ref.family, whole["base"], tuple(layer["weights"] for layer in whole["layers"])


def _beside(family: Family, reference: ModelRef, start: ModelRef, store: Store) -> tuple[str, ...]:
    if weights.identity(reference.base) != weights.identity(start.base):
        raise ModelError(f"the reference's base {reference.base} is not the start's {start.base}: one network cannot be both")
    return families.put(family, [layer for layer in reference.layers if layer.kind == "adapter"], store, REFERENCE)


def _of_family(reference: ModelRef, start: ModelRef) -> ModelRef:
    if reference.family != start.family:
        raise ModelError(
            f"the reference {reference.base} is of family {reference.family}, the start {start.base} of {start.family}: "
            "their latents are not the same thing, so their errors cannot be compared"
        )
    return reference


def _check_process(policy: Family, reference: Family) -> None:
    """Both networks must be asked the same question, or the gain means nothing."""
    one, other = policy.process, reference.process
    t = one.draw(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))
    latents, noise = torch.full((3, 1), 0.5), torch.ones(3, 1)
    if one.prediction != other.prediction or not torch.equal(one.add_noise(latents, noise, t), other.add_noise(latents, noise, t)):
        raise ModelError(
            f"the reference {reference.base} has another noise schedule or prediction type ({other.prediction}) than "
            f"{policy.base} ({one.prediction}), so their errors cannot be compared"
        )
