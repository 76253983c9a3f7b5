"""How much each step computes, from the options alone. What has to be assumed is said."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf
from typing import Any

from pairwright.catalogue import TERA
from pairwright.options import Compare, Curate, Editors, Feedback, Filter, Generate, Import, Options, Score, Train
from pairwright.plan import words
from pairwright.plan.amounts import LEAST_SECONDS, Work, painted
from pairwright.plan.graph import PAIRS_PER_CANDIDATE, Graph
from pairwright.recipe import Step

BACKWARD = {"lora": 1.13, "full": 2.0}
"""Of a forward: where only an adapter is trained, and where everything is."""
AUTO = 8
"""Samples per forward where ``micro_batch = "auto"``: more change little."""
CHECKPOINTING = 1.35
"""Time of a step with ``checkpoint_activations``."""
GATE = 0.25
"""Share of DRO's samples that need a rollout where the gate can do without: not known before a run, and logged by it."""
SECONDS_PER_PHOTOGRAPH = 0.3
"""Decoding and cropping one photograph of some 8 megapixels on one core."""
SECONDS_PER_BROUGHT_PICTURE = 0.034
"""Decoding a JPEG of 768 pixels, cropping it and encoding 512 of them, on one core (measured); one that fits takes a tenth."""
SECONDS_PER_RESAMPLED_ROW = 4e-8
SOME_PROMPTS, SOME_PICTURES = 100, 1000
"""What is said instead where nobody knows how many there will be."""


def of_step(step: Step, graph: Graph) -> Work:
    """The work of one step, everything computed anew."""
    return _OF[type(step.options)](step, step.options, graph)


def curate(step: Step, chosen: Curate, graph: Graph) -> Work:
    """Filters on every view, rank on what is left, saliency and repaint and gap on as many as the lazy order expects."""
    photographs = graph.photographs(step)
    work = Work()
    left = inf if photographs is None else float(photographs * chosen.crops)
    if photographs is not None:
        work.seconds += photographs * SECONDS_PER_PHOTOGRAPH
        left = _filter(work, chosen, left, graph)
        work.said.append(
            f"{photographs:,} photographs, {photographs * chosen.crops:,} views, about {ceil(left):,} past the filters"
        )
    tried, why = repaints(chosen, left)
    if tried == inf:
        return Work(unknown="the number of photographs")
    work.said.append(f"about {ceil(tried):,} repaints ({why})")
    if photographs is None:
        work.said.append("the photographs cannot be counted: filtering and ranking them is left out")
    _repaint(work, chosen, tried, graph)
    return work


def bring(step: Step, _: Import, graph: Graph) -> Work:
    """Both pictures of every preference, decoded, cropped and written."""
    found = graph.brought(step)
    if found is None:
        return Work(unknown="the number of pairs")
    said = [f"{found:,} preferences, ties among them"]
    return Work(seconds=LEAST_SECONDS + 2 * found * SECONDS_PER_BROUGHT_PICTURE, said=said)


def _filter(work: Work, chosen: Curate, views: float, graph: Graph) -> float:
    """Scores every view for the filters, and what passes for the ranking; returns how many those are."""
    left = views
    for rule in chosen.filters:
        for each in graph.rewards(rule.reward):
            work.network(each, "score", left, chosen.batch_size)
        work.pictures(left, chosen.resolution)
        left = _kept(left, rule)
    if chosen.keep:
        for each in graph.rewards(chosen.keep.reward):
            work.network(each, "score", left, chosen.batch_size)
        work.pictures(left, chosen.resolution)
    return left


def _repaint(work: Work, chosen: Curate, tried: float, graph: Graph) -> None:
    batch, plugin = chosen.batch_size, chosen.perturbation
    if chosen.saliency is not None:
        work.network(graph.saliency(chosen.saliency), "map", tried, batch)
    if not painted(work, plugin, tried, batch, chosen.resolution, graph):
        return
    work.pictures(4 * tried, chosen.resolution)
    if chosen.gap:
        for each in graph.rewards(chosen.gap.reward):
            work.network(each, "score", 2 * tried, batch)


def repaints(chosen: Curate, candidates: float) -> tuple[float, str]:
    """How many candidates are repainted, and why so many."""
    if chosen.eager or chosen.keep is None:
        return candidates, "every candidate"
    if chosen.gap is None:
        return min(candidates, chosen.keep.top), f"the best {chosen.keep.top:,}"
    if chosen.gap.pilot_quantile is not None:
        share = 1 - chosen.gap.pilot_quantile
        tried = chosen.keep.top / share + chosen.gap.pilot
        why = f"the best {chosen.keep.top:,}, {share:.0%} passing the gap, and a pilot of {chosen.gap.pilot}"
    else:
        tried = chosen.keep.top / PAIRS_PER_CANDIDATE
        why = f"until {chosen.keep.top:,} have passed the gap, assuming {PAIRS_PER_CANDIDATE:.0%} do, as in the paper"
    return (tried, why) if tried < candidates else (candidates, "every candidate")


def _kept(count: float, rule: Filter) -> float:
    if rule.rule == "top" and rule.value is not None:
        return min(count, rule.value)
    return count / 2 if rule.rule == "above_mean" else count


def train(step: Step, chosen: Train, graph: Graph) -> Work:
    """Latents once, then so many forwards and backwards per sample."""
    side = graph.side(step)
    costs = graph.pipeline(chosen.start, side)
    samples = chosen.steps * chosen.batch
    per_sample, why = forwards(chosen, flow=costs is not None and costs.flow)
    if chosen.checkpoint_activations is True:
        per_sample *= CHECKPOINTING
    work = Work(
        dtype=chosen.dtype, said=[f"{chosen.steps:,} steps of {chosen.batch}", f"{per_sample:.3g} forwards per sample ({why})"]
    )
    micro = min(AUTO if chosen.micro_batch == "auto" else chosen.micro_batch, chosen.batch)
    work.network(costs, "unet", samples, micro, per_sample)
    pairs = graph.pairs(step)
    if pairs is not None:
        sides = (2 if chosen.paired else 1) * (2 if chosen.flips else 1)
        work.network(costs, "encode", pairs * sides, 8)
        work.pictures(pairs * sides, side)
    return work


def forwards(chosen: Train, *, flow: bool = False) -> tuple[float, str]:
    """The network's forwards per sample, a backward counted as :data:`BACKWARD` of them, and what they are.

    Args:
        chosen: the training.
        flow: of a rectified flow, whose rollouts go to their end and whose own state is predicted on besides.
    """
    policy, reference = 1 + BACKWARD[chosen.method], 1.0
    if chosen.objective == "sft":
        return policy, "forward and backward"
    if chosen.paired:
        return 2 * (policy + reference), "policy and reference, winner and loser"
    steps = chosen.rollout.steps
    sampled = steps + 1.0 if flow else (steps + 1) / 2 if chosen.rollout.savings else float(steps)
    if chosen.rollout.savings and chosen.rollout.refresh == 1:
        least, rollout = policy + reference, sampled + reference
        expected = least + GATE * rollout
        return expected, f"assuming that {GATE:.0%} need a rollout; {(least + rollout) / expected:.1f} times as long if all do"
    return 2 * (policy + reference) + sampled, f"a rollout of {sampled:g} steps for every sample"


def generate(step: Step, chosen: Generate, graph: Graph) -> Work:
    """Every model, every prompt, every step, twice with guidance."""
    prompts = graph.prompts(step)
    guided = 2 if chosen.guidance > 1 else 1
    per = "" if prompts is not None else f"{SOME_PROMPTS} prompts"
    count = (SOME_PROMPTS if prompts is None else prompts) * chosen.per_prompt
    work = Work(dtype=chosen.dtype, per=per)
    for model in chosen.models.values():
        costs = graph.pipeline(model, chosen.resolution)
        work.network(costs, "unet", count * guided, chosen.batch_size * guided, chosen.steps)
        work.network(costs, "decode", count, chosen.batch_size)
    work.pictures(count * len(chosen.models), chosen.resolution)
    shown = "an unknown number of" if prompts is None else f"{prompts:,}"
    shown += f" prompts x {chosen.per_prompt} pictures x {len(chosen.models)} models"
    work.said += [shown, f"{chosen.steps} steps{', with guidance' if guided == 2 else ''}"]
    return work


def score(step: Step, chosen: Score, graph: Graph) -> Work:
    """Every reward on every picture."""
    count = graph.pictures(step)
    shown = "an unknown number of" if count is None else f"{count:,}"
    work = Work(
        said=[f"{shown} pictures x {len(chosen.rewards)} rewards"], per="" if count is not None else f"{SOME_PICTURES:,} pictures"
    )
    count = SOME_PICTURES if count is None else count
    for network in graph.rewards(*chosen.rewards):
        work.network(network, "score", count, chosen.batch_size)
    work.pictures(count, graph.side(step))
    return work


def compare(step: Step, chosen: Compare, graph: Graph) -> Work:
    """Bootstrap resamples over prompts, for every model and metric."""
    work = Work(said=[f"{chosen.resamples:,} bootstrap resamples over prompts"])
    for name in step.inputs:
        before = graph.steps[name]
        if isinstance(before.options, Score) and (count := graph.pictures(before)) is not None:
            work.seconds += count * len(before.options.rewards) * chosen.resamples * SECONDS_PER_RESAMPLED_ROW
    return work


def tera(flop: float) -> str:
    """``3.2e15`` -> ``3,200 TFLOP``; below one, ``640 GFLOP``."""
    return f"{flop / TERA:,.0f} TFLOP" if flop >= TERA else f"{flop / TERA * 1000:.0f} GFLOP"


_OF: dict[type[Options], Callable[[Step, Any, Graph], Work]] = {
    Curate: curate,
    Import: bring,
    Feedback: words.rich,
    Editors: words.contests,
    Train: train,
    Generate: generate,
    Score: score,
    Compare: compare,
}
