"""Scoring against the way published scripts do it: shared decoding, batches, shared networks, remembered texts, bfloat16.

    python -m benchmarks.scoring

Five scorers on two networks with random weights (PickScore and realism; both aesthetics and CLIPScore), five pictures per
prompt as in an evaluation. Both ways run in one process, in turn, on the same pictures; a time counts only where both give
the same scores. Loading weights is left out on both sides.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image

import pairwright
from benchmarks import provenance
from benchmarks.scoring import accelerator, checkpoints, pixels, published
from pairwright import hardware, images, scoring
from pairwright.errors import Explained
from pairwright.evaluate.collections import collect
from pairwright.options import Plugin
from pairwright.store import Store
from pairwright.wording import number

BATCHES = (1, 2, 4, 8, 16, 32)
PER_PROMPT = 5
SIDE = 512
TOLERANCE = {"float32": 2e-4, "bfloat16": 0.05}
"""Largest difference of two scores that counts as none, in units of the scale of each column (:data:`SCALES`): what bfloat16's
8 bits leave of a unit vector after a whole tower and of a random head on it, and what float32 leaves, which is what shows that
both ways compute the same."""
SCALES = {"pickscore": 100.0, "realism": 100.0, "aesthetic": 1.0, "aesthetic_sac": 1.0, "clipscore_cosine": 1.0}
PHOTOGRAPHS = Path(pairwright.__file__).parent / "tiny" / "photos"


class ScoringError(Explained, AssertionError):
    """A way that gives other scores."""


@dataclass
class Way:
    """One way of scoring: what each picture took."""

    label: str
    seconds: list[float] = field(default_factory=list)
    """Per picture, all scorers together; one entry per measurement."""
    apart: float = 0.0
    """Largest difference from the published way, in units of each column's scale."""

    @property
    def rate(self) -> float:
        """Pictures per second."""
        return 1 / median(self.seconds)


def write_pictures(folder: Path, count: int, side: int) -> list[str]:
    """Square JPEG files of the photographs that ship, mirrored the second time; returns their captions, one per five."""
    rows = [json.loads(line) for line in (PHOTOGRAPHS / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    folder.mkdir(parents=True)
    for place in range(count):
        image = images.crop(images.read(PHOTOGRAPHS / rows[place % len(rows)]["file_name"]), side, 0, "")
        turned = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if place // len(rows) % 2 else image
        turned.save(folder / f"{place:05d}.jpg", quality=95)
    return [rows[place // PER_PROMPT % len(rows)]["text"] for place in range(count)]


def described(folder: Path, captions: Sequence[str], take: int) -> list[str]:
    """Give every picture its prompt, worded so that no earlier take has encoded it."""
    prompts = [f"{caption}, take {take}" for caption in captions]
    rows = [{"file_name": f"{place:05d}.jpg", "text": prompt} for place, prompt in enumerate(prompts)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return prompts


def ours(folder: Path, scorers: Sequence[scoring.Scorer], root: Path) -> tuple[float, dict[str, list[float]]]:
    """Seconds from the folder to stored scores, and the scores by column in the order of the files."""
    began = time.perf_counter()
    collection = collect(folder)[""]
    store = Store(root)
    nodes = scoring.score_together(store, collection, scorers)
    seconds = time.perf_counter() - began
    order = [each.id for each in collection.described()]
    found: dict[str, list[float]] = {}
    for node in nodes:
        scores = scoring.read_scores(node)
        for column in scoring.read_columns(node):
            found[column.name] = [dict(scores[name])[column.name] for name in order]  # type: ignore[arg-type]
    return seconds, found


def theirs(folder: Path, prompts: Sequence[str], places: Sequence[int], scorers: Mapping[str, published.Score]) -> Any:
    """The same by the published way, for some of the files."""
    began = time.perf_counter()
    found = {name: [score(folder / f"{place:05d}.jpg", prompts[place]) for place in places] for name, score in scorers.items()}
    return time.perf_counter() - began, found


def agree(way: Way, one: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]], most: float) -> None:
    """Raises :class:`ScoringError` where scores lie further apart than ``most`` of their column's scale."""
    for column, scores in other.items():
        for here, there in zip(one[column], scores, strict=True):
            way.apart = max(way.apart, abs(here - there) / SCALES[column])
    if way.apart > most:
        raise ScoringError(f"{way.label}: scores lie {way.apart:.2g} apart, more than {most:.2g}: the time does not count")


def measure(work: Path, made: checkpoints.Checkpoints, chosen: argparse.Namespace) -> list[Way]:
    """The published way first, then ours by batch size, then ours in float32."""
    captions = write_pictures(work / "pictures", chosen.pictures, chosen.side)
    scripts = published.scorers(made, chosen.device)
    other = Way("published: one picture, one scorer at a time, float32")
    ways = {(chosen.dtype, batch): Way(f"pairwright, batch {batch}, {chosen.dtype}") for batch in chosen.batches}
    ways.setdefault(("float32", max(chosen.batches)), Way(f"pairwright, batch {max(chosen.batches)}, float32"))
    loaded = {dtype: _loaded(made.rewards(dtype), chosen.device, work) for dtype in {dtype for dtype, _ in ways}}
    take = 0
    for repeat in range(chosen.repeats):
        for (dtype, batch), way in ways.items():
            take += 1
            prompts = described(work / "pictures", captions, take)
            scorers = [_sized(each, batch) for each in loaded[dtype]]
            seconds, found = ours(work / "pictures", scorers, work / "runs" / str(take))
            way.seconds.append(seconds / chosen.pictures)
            places = [(take * chosen.published + each) % chosen.pictures for each in range(chosen.published)]
            seconds, expected = theirs(work / "pictures", prompts, places, scripts)
            other.seconds.append(seconds / chosen.published)
            agree(way, {name: [each[place] for place in places] for name, each in found.items()}, expected, TOLERANCE[dtype])
            print(f"{repeat + 1}/{chosen.repeats} {way.label}: {1 / way.seconds[-1]:.3g} a second; {1 / other.seconds[-1]:.3g}")
    return [other, *ways.values()]


def _loaded(rewards: Sequence[Plugin], device: str, work: Path) -> list[scoring.Scorer]:
    """The scorers in memory, and their weights' digests taken: both are done once per process, whatever is scored."""
    found = [scoring.Scorer(each, device=device) for each in rewards]
    pictures = collect(work / "pictures")[""]
    for each in found:
        assert each.reward.columns
        each.at(Store(work / "unused"), pictures)
    return found


def _sized(scorer: scoring.Scorer, batch: int) -> scoring.Scorer:
    """The same reward in other batches."""
    other = scoring.Scorer(scorer.plugin, batch, scorer.device)
    vars(other)["reward"] = scorer.reward
    return other


def rows_of(ways: Sequence[Way]) -> list[list[str]]:
    """Rows of the table."""
    base = ways[0].rate
    return [
        [way.label, number(way.rate), f"{way.rate / base:.2f}", f"{way.apart:.1e}" if way is not ways[0] else ""] for way in ways
    ]


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    fast = {"amx_bf16", "avx512_bf16", "bf16"} & set(hardware.processor().features)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--preference", choices=checkpoints.SHAPES, default="b16", help="size of PickScore's network")
    parser.add_argument("--looks", choices=checkpoints.SHAPES, default="b16", help="size of the aesthetics' network")
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--published", type=int, default=4, help="pictures that the published way scores beside each of ours")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", choices=tuple(TOLERANCE), default="bfloat16" if fast else "float32",
                        help="of ours; default: bfloat16 where the processor has it")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cuda: full sizes, and an 8B scorer; not run by the authors yet")
    parser.add_argument("--results", type=Path, default=provenance.RESULTS)
    return parser.parse_args(words)


def page(chosen: argparse.Namespace, ways: Sequence[Way], decoded: Mapping[str, float], colour: Mapping[str, float]) -> str:
    """The measured tables as Markdown."""
    one, other = (checkpoints.SHAPES[each].label for each in (chosen.preference, chosen.looks))
    files = chosen.pictures
    decoding = [[name, number(files / seconds), number(decoded["PIL"] / seconds)] for name, seconds in decoded.items()]
    colours = [[name, number(1e3 * seconds), f"{colour['numpy'] / seconds:.1f}"] for name, seconds in colour.items()]
    return (
        f"## Five scorers, two networks\n\nPickScore and realism on {one}, both aesthetics and CLIPScore on {other}, random "
        f"weights; {files} JPEG files of {chosen.side} pixels, {PER_PROMPT} per prompt, {torch.get_num_threads()} threads. "
        f"Pictures per second for all five scores; median of {len(ways[1].seconds)} ({len(ways[0].seconds)} for the published "
        "way), in turn. Apart: the largest difference from the published way, in units of a cosine or a rating.\n\n"
        + provenance.table(["way", "pictures/s", "times faster", "apart"], rows_of(ways))
        + "\n## Decoding alone\n\nThe same files. Ours checks each file as one that anybody may have made, and includes listing, "
        "digests and the stored table.\n\n"
        + provenance.table(["way", "pictures/s", "times PIL"], decoding)
        + "\n## Colourfulness\n\nOne decoded picture of 2 megapixels.\n\n"
        + provenance.table(["way", "milliseconds", "times faster"], colours)
    )


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, write ``results/scoring.md`` and ``.json``."""
    chosen = parsed(words)
    if torch.device(chosen.device).type != "cpu":
        accelerator.main(chosen.device, chosen.results)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        made = checkpoints.write(work, checkpoints.SHAPES[chosen.preference], checkpoints.SHAPES[chosen.looks])
        ways = measure(work, made, chosen)
        decoded = pixels.decoding(work / "pictures", len(SCALES))
        colour = pixels.colour(PHOTOGRAPHS / "china.jpg")
    said = provenance.provenance()
    text = f"# Speed of scoring\n\n{page(chosen, ways, decoded, colour)}\n{provenance.footnote(said)}"
    print(text)
    result = {
        "options": {
            name: str(value) if isinstance(value, Path) else value for name, value in vars(chosen).items() if name != "results"
        },
        "ways": [vars(way) for way in ways],
        "decoding": decoded,
        "colorfulness": colour,
        "provenance": said,
    }
    print(provenance.write("scoring", result, text, chosen.results))


if __name__ == "__main__":
    main()
