"""What a step needs of a device's memory, and how large a micro-batch fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from pairwright.catalogue import Costs
from pairwright.hardware import Device, Dtype, working_dtype
from pairwright.literals import option, weights_of
from pairwright.options import Curate, Generate, Score, Train
from pairwright.plan import costs
from pairwright.plan.graph import Graph
from pairwright.plan.needs import plugins_of
from pairwright.plan.work import AUTO
from pairwright.recipe import Step

BYTES: dict[Dtype, int] = {"bfloat16": 2, "float16": 2, "float32": 4}
SHARE = 0.9
"""Of the free memory that a step may take: the rest goes to kernels' workspaces and to fragmentation."""
TRAINED_BYTES = {"adamw": 16, "adafactor": 8}
"""Per trained parameter: float32 weight, gradient and AdamW's two moments (Adafactor's are next to nothing)."""
GIGA = 1e9


@dataclass(frozen=True)
class Memory:
    """Bytes on the device."""

    weights: float
    activations: float = 0.0
    """Kept for the backward pass, of the recipe's micro-batch."""
    most: int | None = None
    """The largest micro-batch that fits, where a step has one; never more than its batch."""
    most_checkpointed: int | None = None
    """The same with ``checkpoint_activations``."""
    micro: int | None = None
    free: int | None = None
    partial: bool = False
    """Some model's size is not known."""
    beforehand: float = 0.0
    """What is loaded and gone before the rest is there: the networks that make latents and text states."""

    @property
    def total(self) -> float:
        """The most at one time."""
        return max(self.weights + self.activations, self.beforehand)

    @property
    def fits(self) -> bool | None:
        """None where the device's memory cannot be read."""
        return None if self.free is None else self.total <= SHARE * self.free


def of_step(step: Step, graph: Graph, device: Device) -> Memory | None:
    """The memory of one step; None where it needs none to speak of."""
    chosen = step.options
    if isinstance(chosen, Train):
        return _train(chosen, graph.pipeline(chosen.start, graph.side(step)), device)
    if isinstance(chosen, Generate):
        sampled = [graph.pipeline(model, chosen.resolution) for model in chosen.models.values()]
        sizes = [_pipeline(each, bytes_of(chosen.dtype, device), 4) for each in sampled]
        known = [each for each in sizes if each is not None]
        return Memory(max(known, default=0.0), free=device.free, partial=len(known) < len(sizes))
    if isinstance(chosen, Curate | Score):
        return _inference(step, graph, device)
    return None


def bytes_of(dtype: object, device: Device) -> int:
    """Bytes of a number in networks on that device; of a plug-in without the option ``dtype`` (None), those of float32."""
    return 4 if dtype is None else BYTES[working_dtype(cast("Dtype", dtype), device.name)]


def _train(chosen: Train, costs: Costs | None, device: Device) -> Memory | None:
    if costs is None:
        return None
    number = bytes_of(chosen.dtype, device)
    weights, graphs = _networks(chosen, costs, number), graphs_per_sample(chosen)
    each = costs.kept_full if chosen.method == "full" else costs.kept
    kept, checkpointed = (value * graphs * number / 2 for value in (each, costs.kept_checkpointed))
    room = SHARE * device.free - weights if device.free is not None else None
    most, most_checkpointed = (
        None if room is None or not each else min(max(int(room / each), 0), chosen.batch) for each in (kept, checkpointed)
    )
    asks = most == 0 if chosen.checkpoint_activations == "auto" else chosen.checkpoint_activations
    used, fits = (checkpointed, most_checkpointed) if asks else (kept, most)
    measured = chosen.micro_batch == "auto" and device.name.startswith("cuda")
    micro = max(fits, 1) if measured and fits is not None else min(micro_batch(chosen), chosen.batch)
    return Memory(weights, used * micro, most, most_checkpointed, micro, device.free, beforehand=costs.around())


def _networks(chosen: Train, costs: Costs, number: int) -> float:
    """Bytes of policy and reference with what is trained, its gradients and the optimiser's state."""
    network, trained = costs.parameters["unet"], TRAINED_BYTES[chosen.optimiser.name]
    if chosen.method == "lora":
        return network * number + costs.adapter * chosen.lora.rank * trained
    lagging = chosen.objective == "dro" and chosen.rollout.refresh > 1
    frozen = (chosen.objective != "sft") + lagging  # the reference, and the sampling policy where it is another
    return network * (trained + frozen * number)


def micro_batch(chosen: Train) -> int:
    """Samples per forward; what ``auto`` is where memory is not measured."""
    return AUTO if chosen.micro_batch == "auto" else chosen.micro_batch


def graphs_per_sample(chosen: Train) -> int:
    """How many forwards of the policy are kept at once for one sample: both sides where both have a gradient."""
    own_half = chosen.objective == "dro" and not (chosen.rollout.savings and chosen.rollout.refresh == 1)
    return 2 if chosen.paired or own_half else 1


def _pipeline(costs: Costs | None, number: int, others: int) -> float | None:
    if costs is None:
        return None
    return float(costs.parameters["unet"] * number + costs.around(others))


def _inference(step: Step, graph: Graph, device: Device) -> Memory:
    """All models at once: an upper bound where they are loaded one after the other."""
    sizes: dict[str, float | None] = {}
    for shelf, plugin in plugins_of(step.options):
        number = bytes_of(option(shelf, plugin, "dtype"), device)
        # All of a perturbation's networks are counted together, under its first.
        for model in weights_of(shelf, plugin)[: 1 if shelf == "perturbations" else None]:
            if shelf == "perturbations":
                sizes[model] = _pipeline(graph.perturbation(plugin, 512), number, number)
            else:
                found = costs.reward(model, graph.place(model, "weights").folder) if shelf == "rewards" else graph.saliency(plugin)
                sizes[model] = found.total * number if found else None
    known = [each for each in sizes.values() if each is not None]
    return Memory(sum(known), free=device.free, partial=len(known) < len(sizes))


def said(memory: Memory) -> tuple[str, list[str]]:
    """One line that says what is needed, and advice where something does not fit or there is room for more."""
    amount = f"{size(memory.weights)} of weights"
    if memory.micro is not None:
        amount += f" + {size(memory.activations)} of activations (micro-batch {memory.micro})"
        if memory.beforehand > memory.weights + memory.activations:
            amount += f"; {size(memory.beforehand)} beforehand, while latents and text states are made"
    else:
        amount += " and what a batch needs on the way"
    if memory.partial:
        amount = f"{amount}; some sizes are not known" if memory.weights else "sizes are not known"
    if memory.free is None:
        return f"{amount}; the device's memory cannot be read", []
    line = f"{amount}; {size(memory.free)} free: {'fits' if memory.fits else 'DOES NOT FIT'}"
    return line, _advice(memory)


def _advice(memory: Memory) -> list[str]:
    if memory.micro is None or memory.most is None:
        return [] if memory.fits is not False else ["choose smaller models, or another device"]
    if memory.fits:
        return [f"micro_batch = {memory.most} would fit"] if memory.most > memory.micro else []
    if memory.most:
        return [f"micro_batch = {memory.most} fits (the result is the same)"]
    if memory.most_checkpointed:
        return [
            f"checkpoint_activations = true and micro_batch = {min(memory.most_checkpointed, memory.micro)} fit, a third slower"
        ]
    return ["this model cannot be trained on this device"]


def size(count: float) -> str:
    """Bytes in words: ``3.44 GB``, ``12 MB``."""
    if count >= 100 * GIGA:
        return f"{count / GIGA:.0f} GB"
    if count >= 0.1 * GIGA:
        return f"{count / GIGA:.3g} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{max(count / 1e6, 0.01):.2f} MB"
