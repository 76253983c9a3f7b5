"""What scoring a collection of pictures would download, need and take, said before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pairwright import hardware, places, runtime
from pairwright import plan as lines_of
from pairwright.errors import Explained
from pairwright.literals import option, processor_of, weights_of
from pairwright.options import Plugin, Score
from pairwright.plan import amounts, costs, memory


class DeviceError(Explained, ValueError):
    """A device that is not there."""


def plan_scores(asked: Score, groups: Sequence[Sequence[Plugin]], count: int, pixels: float) -> str:
    """The plan as text for the terminal.

    Args:
        asked: by which rewards, and where.
        groups: those that are in memory together, in order (``scoring.passes``).
        count: pictures.
        pixels: of a picture, about.

    Raises:
        DeviceError: a device that is not there.
    """
    hub = places.Hub()
    where = [_device(each) for each in asked.devices or (asked.device,)]
    found = {each.name: each for reward in asked.rewards for each in _needed(reward, hub)}
    names = ", ".join(each.name for each in asked.rewards)
    lines = [f"Score {count:,} pictures of about {pixels / 1e6:.2g} megapixels by {names}", *lines_of.heading(where), ""]
    lines += [*lines_of.listed(list(found.values())), *_memory(groups, found, where[0]), ""]
    estimate = amounts.Work()
    for each in costs.rewards(asked.rewards, lambda name: found[name].folder):
        estimate.network(each, "score", count, asked.batch_size)
    for _ in groups:
        estimate.pictures(count, round(pixels**0.5))
    seconds = lines_of.seconds(estimate, where[0]) / len(where)
    time = f"unknown: {estimate.unknown}" if estimate.unknown else lines_of.about(seconds)
    lines += [*lines_of.downloads(list(found.values()), hub), lines_of.overall("Time", time)]
    problems = [f"problem: {each.problem}" for each in found.values() if each.problem]
    return "\n".join([*lines, *([""] if problems else []), *problems])


def _device(name: str) -> hardware.Device:
    try:
        return hardware.describe(runtime.device(name))
    except (ValueError, RuntimeError) as error:
        raise DeviceError(str(error)) from error


def _needed(reward: Plugin, hub: places.Hub) -> list[places.Place]:
    found = [places.place(name, "weights", hub) for name in weights_of("rewards", reward)]
    processor = processor_of("rewards", reward, found[0].folder) if found else None
    whole = {each.name for each in found}  # what is read whole brings its tokenizer
    return [*found, *([places.place(processor, "processor", hub)] if processor and processor not in whole else [])]


def _memory(groups: Iterable[Sequence[Plugin]], found: dict[str, places.Place], device: hardware.Device) -> list[str]:
    """One line per group: its networks are there at the same time, and each network once."""
    lines = []
    for group in groups:
        sizes = {}
        for reward in group:
            for model in weights_of("rewards", reward):
                known = costs.reward(model, found[model].folder)
                number = memory.bytes_of(option("rewards", reward, "dtype"), device)
                sizes[model] = known.total * number if known else None
        if sizes:
            known_sizes = [each for each in sizes.values() if each is not None]
            needed = memory.Memory(sum(known_sizes), free=device.free, partial=len(known_sizes) < len(sizes))
            line, advice = memory.said(needed)
            lines += [
                f"      {'memory':<8} {', '.join(each.name for each in group)}: {line}",
                *(f"      {'':<8} {each}" for each in advice),
            ]
    return lines
