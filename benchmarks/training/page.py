"""What was measured, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks import provenance
from benchmarks.training.curves import Curve
from benchmarks.training.device import BACKWARD
from benchmarks.training.race import AGREE, Result
from pairwright.wording import number, percent


def rows_of(results: Sequence[Result]) -> list[list[str]]:
    """One row of the table per contest."""
    rows = []
    for each in results:
        reached = "" if each.target is None else f"{each.target:g}: {'yes' if each.faster >= each.target else 'no'}"
        times = f"**{each.faster:.2f}** ({min(each.ratios()):.2f} .. {max(each.ratios()):.2f})"
        rows.append(
            [
                each.label,
                number(each.per_sample(each.published)),
                number(each.per_sample(each.ours)),
                times,
                f"{median(each.ratios('cpu')):.2f}",
                reached,
                f"{sum(each.forwards) / len(each.forwards):.1f}",
                percent(sum(each.rollouts) / len(each.rollouts)) if each.rollouts else "",
                f"{each.difference:.0e}",
            ]
        )
    return rows


HEADER = (
    "what",
    "published, s per sample",
    "ours, s per sample",
    "times faster",
    "in CPU time",
    "target",
    "forwards",
    "rollouts",
    "gradients apart",
)


def scaled(small: Mapping[str, float], real: Mapping[str, float]) -> str:
    """How the small model's parts compare with the real one's."""
    names = {"unet": "UNet, one forward", "encode": "VAE, one picture", "text": "text encoder, one caption"}
    rows = [
        [said, f"{small[name] / 1e9:.3g}", f"{small[name] / small['unet']:.3f}", f"{real[name] / real['unet']:.3f}"]
        for name, said in names.items()
    ]
    return provenance.table(["part", "GFLOP", "of the UNet's", "in the real SD-1.5"], rows)


def share_text(share: Mapping[str, Any], results: Mapping[str, Result]) -> str:
    """In words, with what a step then takes: the rest of it grows in proportion."""
    quarters = ", ".join(percent(each, 1) for each in share["quarters"])
    needed = f"{percent(share['mean'], 1)} of the samples needed a rollout (by quarters: {quarters})"
    text = f"In {share['run']} ({share['steps']} steps) {needed}"
    if not {"dro-all", "dro-none"} <= results.keys():
        return f"{text}.\n"
    every, none = results["dro-all"], results["dro-none"]
    least, most = none.per_sample(none.ours), every.per_sample(every.ours)
    faster = every.per_sample(every.published) / (least + share["mean"] * (most - least))
    return f"{text}: by these times {faster:.1f} times faster than the published loop.\n"


def page(results: Mapping[str, Result], drawn: Sequence[Curve], share: Mapping[str, Any] | None, said: Mapping[str, Any]) -> str:
    """The Markdown page."""
    some = next(iter(results.values()))
    how = (
        f"Seconds per sample (in stage 2: per pair), {len(some.ours)} optimiser steps of {some.batch} samples each, {some.micro} "
        f"per forward, float32, {said['threads']} threads; the two ways in turn. A ratio is of two neighbouring steps: the median, "
        f"and the range. Only ways whose gradients are at most {AGREE:g} apart at every step are counted.\n"
    )
    parts = [
        "# Training: ours and the published loops\n",
        how,
        provenance.table(HEADER, rows_of(list(results.values()))),
        f"The model is Stable Diffusion 1.5 scaled down to {some.side} pixels, random weights:\n",
        scaled(said["flop"]["small"], said["flop"]["real"]),
    ]
    if drawn:
        parts += ["## Growth\n", "![Seconds per sample](training.svg)\n", *(each.table() for each in drawn)]
    if share:
        parts += ["## Rollouts in a real training\n", share_text(share, results)]
    return "\n".join([*parts, provenance.footnote(said)])


def speeds_page(found: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """The Markdown page of a GPU's measurement."""
    header = ["step", "samples per forward", "pairs/s", "s per step", "peak memory, GB", "TFLOP per sample", "of the limit"]
    rows = [
        [
            each["label"],
            str(each["micro"]),
            number(each["pairs_per_second"]),
            number(each["seconds"]),
            "" if each["memory"] is None else f"{each['memory'] / 1e9:.1f}",
            number(each["flop"] / 1e12),
            percent(each["share"]),
        ]
        for each in found["speeds"]
    ]
    how = "through torch.compile" if found["compiled"] else "not compiled"
    text = (
        f"{found['family']} at full size, random weights, {found['side']} pixels, batch {found['batch']}, {how}. One forward is "
        f"{found['forward'] / 1e12:.3g} TFLOP (counted), a backward pass is taken as {BACKWARD['lora']} of it (LoRA). "
        f"The limit: {found['limit']}.\n"
    )
    return f"# Training at full size\n\n{text}\n{provenance.table(header, rows)}\n{provenance.footnote(said)}"
