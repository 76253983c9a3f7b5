"""What a recipe would download, whether it fits into memory and about how long it takes, said before anything is done.

Nothing is computed but a third of a second of matrix products, and nothing is downloaded but lists of files.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pairwright import hardware, places
from pairwright.options import Compare, Curate, Editors, Feedback, Generate, Import, Options, Score, Train
from pairwright.plan import amounts, memory, work
from pairwright.plan.graph import Graph
from pairwright.plan.needs import models_of, needs
from pairwright.plan.reuse import reused
from pairwright.recipe import Recipe, Step

if TYPE_CHECKING:
    from pairwright.hardware import Device

EFFICIENCY = {"cpu": 0.35, "cuda": 0.5, "mps": 0.4}
"""Share of a large matrix product's speed that these networks reach. CPU: measured on UNets of 1 to 7 million parameters
(0.25 to 0.45); CUDA: published SD-1.5 runs reach 0.7 compiled; MPS: inferred."""
SECONDS_PER_FORWARD = 0.015
"""The least that one forward takes, however small the network: launching its kernels."""
FULL_SIZE = 200e6
"""Parameters of a network that one would not train without a GPU."""
LONG = 6 * 3600
_INDENT = 12


@dataclass(frozen=True)
class _Cost:
    """What one step comes to."""

    lines: list[str]
    needs: list[places.Place]
    seconds: float | None


def plan(recipe: Recipe, root: Path) -> str:
    """The plan of a recipe as text for the terminal.

    Args:
        recipe: a validated recipe.
        root: folder of the runs and of the store.
    """
    graph = Graph(recipe, root, places.Hub())
    done = reused(recipe, root)
    devices = _devices(graph)
    lines = [f"Plan of {recipe.name}: {recipe.description}".rstrip(": "), *heading(devices.values()), ""]
    costs: dict[str, _Cost] = {}
    for number, step in enumerate(recipe.steps, 1):
        costs[step.name] = _step(step, graph, devices.get(next(iter(_device_names(step.options)), "")), reused=step.name in done)
        lines += [f"[{number}/{len(recipe.steps)}] {step.name}: {_what(step)}", *costs[step.name].lines, ""]
    needed = {each.name: each for name, cost in costs.items() if name not in done for each in cost.needs}
    lines += downloads(list(needed.values()), graph.hub)
    lines += _time(costs, done)
    lines += _tiny_route(costs, done, devices.values(), graph)
    problems = [f"problem: {', '.join(where)}: {text}" for text, where in graph.problems.items()]
    return "\n".join([*lines, *([""] if problems else []), *problems])


def _device_names(chosen: Options) -> tuple[str, ...]:
    """Of several, the first is planned for."""
    if several := getattr(chosen, "devices", ()):
        return tuple(several)
    name = getattr(chosen, "device", None)
    return (name,) if isinstance(name, str) else ()


def _devices(graph: Graph) -> dict[str, Device]:
    from pairwright import runtime

    found: dict[str, Device] = {}
    for step in graph.recipe.steps:
        for name in _device_names(step.options):
            if name in found:
                continue
            try:
                found[name] = hardware.describe(runtime.device(name))
            except (ValueError, RuntimeError) as error:
                graph.problem(f"{step.name}.device", str(error))
    return found


def heading(devices: Iterable[Device]) -> list[str]:
    """The devices and how fast they are now."""
    lines = []
    for device in dict.fromkeys(devices):
        room = f", {memory.size(device.free)} of {memory.size(device.total)} free" if device.free and device.total else ""
        dtype = hardware.working_dtype("bfloat16", device.name)
        speed = hardware.throughput(device.name, dtype)
        lines.append(
            f"Here: {device.label}{room}; {work.tera(speed)}/s in a {dtype} matrix product now, "
            f"{_efficiency(device):.0%} of that expected in a network"
        )
    return lines


def _efficiency(device: Device) -> float:
    return EFFICIENCY[device.name.partition(":")[0]]


def _pairs(chosen: Curate | Import | Feedback) -> str:
    if isinstance(chosen, Curate):
        return f"pairs from photographs ({chosen.source.name}), losers by {chosen.perturbation.name}"
    if isinstance(chosen, Import):
        return f"pairs that are there already ({chosen.source.name})"
    asked = dict.fromkeys(each.name for each in (chosen.critic, chosen.instructor) if each)
    return f"pictures edited by {chosen.editor.name} as told by {' and '.join(asked)}"


def _what(step: Step) -> str:
    chosen = step.options
    if isinstance(chosen, Curate | Import | Feedback):
        return _pairs(chosen)
    if isinstance(chosen, Train):
        return f"train {chosen.start.base} with {chosen.objective}"
    if isinstance(chosen, Generate):
        return f"pictures of {', '.join(chosen.models)}"
    if isinstance(chosen, Score):
        return f"scores by {', '.join(each.name for each in chosen.rewards)}"
    if isinstance(chosen, Editors):
        return f"edits of {', '.join(step.inputs)} compared by {chosen.judge.name}"
    assert isinstance(chosen, Compare)
    return "comparison of the models"


def _step(step: Step, graph: Graph, device: Device | None, *, reused: bool) -> _Cost:
    found = needs(step, graph)
    for each in found:
        if each.problem:
            graph.problem(step.name, each.problem)
    if reused:
        note = "in the store already: reused, unless photographs or weights have changed since"
        return _Cost([_line("result", note)], found, 0.0)
    lines = listed(found)
    if device is not None and (needed := memory.of_step(step, graph, device)) is not None and found:
        line, advice = memory.said(needed)
        lines += [_line("memory", line), *(_line("", each) for each in advice)]
    estimate = work.of_step(step, graph)
    lines += [_line("work" if number == 0 else "", text) for number, text in enumerate(estimate.said)]
    workers = len(getattr(step.options, "devices", ())) or 1
    spent = seconds(estimate, device) / workers
    if workers > 1:
        lines.append(_line("", f"shared by {workers} devices"))
    said = f"unknown: {estimate.unknown}" if estimate.unknown else about(spent) + (f" for {estimate.per}" if estimate.per else "")
    return _Cost([*lines, _line("time", said)], found, None if estimate.unknown or estimate.per else spent)


def seconds(estimate: amounts.Work, device: Device | None) -> float:
    """How long that takes on a device: its networks at the speed that is expected of them, and what one core does besides."""
    if device is None or not estimate.flop:
        return estimate.seconds
    speed = hardware.throughput(device.name, hardware.working_dtype(estimate.dtype, device.name)) * _efficiency(device)
    return estimate.seconds + max(estimate.flop / speed, estimate.forwards * SECONDS_PER_FORWARD)


def listed(found: Sequence[places.Place]) -> list[str]:
    """One line per model: where it is and how large."""
    width = max((len(each.name) for each in found), default=0)
    return [
        _line(
            "models" if number == 0 else "", f"{each.name:<{width}}  {places.WORDS[each.state]}, {_size(each)}".removesuffix(", ")
        )
        for number, each in enumerate(found)
    ]


def _size(found: places.Place) -> str:
    if found.bytes is None:
        return "" if found.state == "missing" else "a few MB" if found.role == "processor" else "size unknown"
    return f"{'about ' if found.about else ''}{memory.size(found.bytes)}"


def downloads(found: Sequence[places.Place], hub: places.Hub) -> list[str]:
    """What has to be downloaded, and whether the disk has room for it."""
    missing = [each for each in found if each.state == "download"]
    if not missing:
        return [overall("Downloads", "none")]
    total = sum(each.bytes or 0 for each in missing)
    unknown = [each.name for each in missing if each.bytes is None and each.role != "processor"]
    about = "about " if any(each.about or each.bytes is None for each in missing) else ""
    text = f"{about}{memory.size(total)}" + (f", and {', '.join(unknown)} of unknown size" if unknown else "")
    folder, free = _disk()
    lines = [overall("Downloads", f"{text}; {memory.size(free)} free in {folder}: {'fits' if total < free else 'DOES NOT FIT'}")]
    if hub.silent:
        lines.append(overall("", f"sizes are from the catalogue and the downloads fail as things are: {hub.silent}"))
    return lines


def _disk() -> tuple[Path, int]:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return folder, shutil.disk_usage(there).free


def _time(costs: dict[str, _Cost], done: set[str]) -> list[str]:
    known = [cost.seconds for cost in costs.values() if cost.seconds is not None]
    unknown = [name for name, cost in costs.items() if cost.seconds is None]
    text = about(sum(known)) + (f", and {', '.join(unknown)} of unknown length" if unknown else "")
    lines = [overall("Time", text)]
    return [*lines, overall("Reused", ", ".join(name for name in costs if name in done))] if done else lines


def _tiny_route(costs: dict[str, _Cost], done: set[str], devices: Iterable[Device], graph: Graph) -> list[str]:
    """Full-size models on a CPU: say so, and what can be done instead."""
    large = [
        found
        for step in graph.recipe.steps
        if isinstance(step.options, Train | Generate) and step.name not in done
        for model in _pipelines(step, graph)
        if (found := model) > FULL_SIZE
    ]
    if not large or any(device.name != "cpu" for device in devices):
        return []
    spent = sum(cost.seconds for cost in costs.values() if cost.seconds is not None)
    least = "at least " if any(cost.seconds is None for cost in costs.values()) else ""
    how = f"would take {least}{about(spent)} here" if spent > LONG or least else "is meant for a GPU"
    return [
        "",
        f"There is no GPU, and these are full-size models: the run {how}. The tiny route runs anywhere:",
        "  pairwright run tiny                          the whole road with tiny models, in minutes",
        '  pairwright init mine.toml --route tiny       the same with your own photographs (extends = "tiny")',
    ]


def _pipelines(step: Step, graph: Graph) -> list[int]:
    found = (graph.pipeline(model, 512) for model in models_of(step.options))
    return [each.parameters["unet"] for each in found if each is not None]


def _line(label: str, text: str) -> str:
    return f"      {label:<8} {text}".rstrip()


def overall(label: str, text: str) -> str:
    """A line about all steps."""
    return f"{label:<{_INDENT}} {text}".rstrip()


def about(duration: float) -> str:
    """``240`` -> ``about 4 min``: no more digits than the estimate has."""
    for unit, length, least in (("years", 365 * 86400.0, 2.0), ("days", 86400.0, 2.0), ("h", 3600.0, 1.5), ("min", 60.0, 1.5)):
        if duration >= least * length:
            value = duration / length
            return f"about {value:.1f} {unit}" if value < 3 and unit != "min" else f"about {value:,.0f} {unit}"
    return f"about {max(round(duration), 1)} s" if duration < 10 else f"about {round(duration / 5) * 5} s"
