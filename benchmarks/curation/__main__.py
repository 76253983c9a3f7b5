"""Curation against the way published scripts do it: repaints, wall-clock, every step by itself, 12 megapixels, the store.

    python -m benchmarks.curation --photos FOLDER --saliency u2netp.onnx --inpainter migan_pipeline_v2.onnx

Both ways go from the same photographs to the same pairs with the same networks, in one process; a time counts only where both
keep the same photographs in the same order. The count of repaints at the paper's size is made over synthetic scores.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from PIL import Image

import pairwright
from benchmarks import provenance
from benchmarks.curation import accelerator, synthetic, ways
from benchmarks.scoring.pixels import interleaved, numpy_colorfulness
from pairwright import images
from pairwright.errors import Explained
from pairwright.options import Plugin
from pairwright.rewards import colorfulness
from pairwright.wording import number

CORRELATIONS = (0.0, 0.2, 0.4, -0.2)
MEGAPIXELS_12 = (4000, 3000)
REPAINT_SECONDS = 1.6
"""Of a 50-step SD-1.5 inpainting on an RTX 3090 in fp16, compiled, batches of 16: a published anchor (1.97 steps of a batch a
second), not measured here. The store's share is taken of this."""
PHOTOGRAPH = Path(pairwright.__file__).parent / "tiny" / "photos" / "china.jpg"


class CurationBenchmarkError(Explained, AssertionError):
    """A way that keeps other pairs."""


def counted(seeds: int) -> dict[float, list[int]]:
    """Repaints of the lazy order by correlation of rank and gap, one per seed.

    Raises:
        CurationBenchmarkError: the orders keep different ids.
    """
    found: dict[float, list[int]] = {}
    for correlation in CORRELATIONS:
        for seed in range(seeds):
            scores = synthetic.draw(seed, correlation)
            lazy, eager = (synthetic.choose(scores, eager=each) for each in (False, True))
            if lazy.kept != eager.kept:
                raise CurationBenchmarkError(f"seed {seed}, correlation {correlation}: the orders keep different ids")
            found.setdefault(correlation, []).append(lazy.repaints)
    return found


def raced(task: ways.Task, work: Path) -> list[ways.Done]:
    """The scripts, then ours in both orders.

    Raises:
        CurationBenchmarkError: they keep different photographs.
    """
    captions = ways.captions_of(task.photographs)
    (work / "scripts").mkdir()
    done = [ways.published(task, work / "scripts", captions)]
    for eager in (True, False):
        done.append(ways.ours(task, work / f"eager-{eager}", eager=eager))
        if done[-1].files != done[0].files:
            raise CurationBenchmarkError(f"{done[-1].label} keeps {done[-1].files}, the scripts keep {done[0].files}")
    return done


def large(work: Path, size: tuple[int, int], repeats: int) -> dict[str, float]:
    """Seconds for one photograph of 12 megapixels, enlarged from one that ships: decoding, cropping, colourfulness."""
    path = work / "large.jpg"
    with Image.open(PHOTOGRAPH) as opened:
        opened.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(path, quality=92)

    def ours() -> float:
        return colorfulness.measure(images.crop(images.read(path), ways.Task.side, 0, ""))

    def scripts() -> float:
        with Image.open(path) as opened:
            return numpy_colorfulness(images.to_array(opened.convert("RGB")))

    return interleaved(
        {
            "PIL: decode": lambda: Image.open(path).convert("RGB"),
            "pairwright: check and decode": lambda: images.read(path),
            "published: decode, colourfulness of all pixels": scripts,
            "pairwright: check, decode, crop to 512, colourfulness of the view": ours,
        },
        repeats,
    )


def page(
    chosen: argparse.Namespace, counts: Mapping[float, Sequence[int]], done: Sequence[ways.Done], decoded: Mapping[str, float]
) -> str:
    """The measured tables as Markdown."""
    large_rows = [[name, number(1 / seconds)] for name, seconds in decoded.items()]
    count, names = len(ways.captions_of(chosen.photos)), [Path(each).name for each in (chosen.saliency, chosen.inpainter)]
    return (
        f"## Repaints at the paper's size\n\n{_counts(chosen.seeds, counts)}\n## {count} photographs, {chosen.keep} pairs\n\n"
        f"{' and '.join(names)}, {chosen.side} pixels, {torch.get_num_threads()} threads; each way from the files to the pairs, "
        f"its networks' loading included. All keep the same photographs in the same order.\n\n{_race(done)}\n{_store(done[-1])}\n"
        f"## 12 megapixels\n\nOne JPEG file, one core, median of {chosen.repeats}.\n\n"
        + provenance.table(["what", "pictures/s"], large_rows)
    )


def _counts(seeds: int, counts: Mapping[float, Sequence[int]]) -> str:
    everything, described = synthetic.PHOTOGRAPHS, synthetic.COLOURFUL
    rows = []
    for correlation, each in counts.items():
        deviation = stdev(each) if len(each) > 1 else 0.0
        fewer = [f"{whole / mean(each):.1f}" for whole in (described, everything)]
        rows.append([f"{correlation:+.1f}", f"{mean(each):,.0f} ± {deviation:.0f}", *fewer])
    header = ["correlation of rank and gap", "repaints", f"times fewer than {described:,}", f"than {everything:,}"]
    return (
        f"Synthetic scores: {everything:,} photographs, {described:,} above the mean in colour, {synthetic.PASSING:,} of these "
        f"pass the gap, {synthetic.KEPT} are kept; {seeds} seeds, mean ± deviation. The same ids as in the published order.\n\n"
        + provenance.table(header, rows)
    )


def _race(done: Sequence[ways.Done]) -> str:
    published, lazy = done[0], done[-1]
    rows = [[each.label, str(each.repaints), number(each.seconds), f"{published.seconds / each.seconds:.2f}"] for each in done]
    steps = []
    for step in ways.STEPS:
        rates = [_rate(each.clock.rate(step)) for each in (published, lazy)]
        shares = [f"{each.clock.seconds.get(step, 0.0) / each.seconds:.0%}" for each in (published, lazy)]
        steps.append([step, *rates, *shares])
    return (
        provenance.table(["way", "repaints", "seconds", "times faster"], rows)
        + "\nPictures per second of each step by itself, and its share (ours checks and stores what it reads; scripts rank by "
        "the gap's scores):\n\n"
        + provenance.table(["step", "published", "pairwright, lazy", "share, published", "share, pairwright"], steps)
    )


def _store(lazy: ways.Done) -> str:
    seconds = lazy.clock.seconds[ways.STORE] / lazy.repaints
    return (
        f"The store takes {1e3 * seconds:.1f} ms for each repaint (every file of the run, written, flushed and renamed): "
        f"{seconds / REPAINT_SECONDS:.2%} of {REPAINT_SECONDS} s, a published time of a 50-step SD-1.5 repaint on an RTX 3090 that "
        f"was not measured here; below 2 % of any repaint that takes {50 * seconds:.2f} s or more.\n"
    )


def _rate(rate: float | None) -> str:
    return "" if rate is None else number(rate)


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curation", description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photographs with metadata.jsonl")
    parser.add_argument("--saliency", default="u2netp.onnx", help="U^2-Net's file")
    parser.add_argument("--inpainter", default="migan_pipeline_v2.onnx", help="MI-GAN's file")
    parser.add_argument("--keep", type=int, default=24, help="pairs")
    parser.add_argument("--gap", type=float, default=20.0, help="least gap, of texture")
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--seeds", type=int, default=20, help="synthetic scores per correlation")
    parser.add_argument("--large", type=int, nargs=2, default=list(MEGAPIXELS_12), help="width and height of the large photograph")
    parser.add_argument("--repeats", type=int, default=5, help="of the large photograph")
    parser.add_argument("--device", default="cpu", help="cuda: SD-1.5 inpainting at full size; not run by the authors yet")
    parser.add_argument("--results", type=Path, default=provenance.RESULTS)
    chosen = parser.parse_args(words)
    if chosen.photos is None and torch.device(chosen.device).type == "cpu":
        parser.error("--photos is needed")
    return chosen


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, write ``results/curation.md`` and ``.json``."""
    chosen = parsed(words)
    if torch.device(chosen.device).type != "cpu":
        accelerator.main(chosen.device, chosen.results)
        return
    task = ways.Task(
        chosen.photos,
        Plugin(name="u2net", options={"model": chosen.saliency}),
        Plugin(name="migan", options={"model": chosen.inpainter}),
        chosen.keep,
        chosen.gap,
        chosen.side,
    )
    with tempfile.TemporaryDirectory() as folder:
        decoded = large(Path(folder), tuple(chosen.large), chosen.repeats)
        counts = counted(chosen.seeds)
        done = raced(task, Path(folder))
    said = provenance.provenance()
    text = f"# Speed of curation\n\n{page(chosen, counts, done, decoded)}\n{provenance.footnote(said)}"
    print(text)
    told = {name: value for name, value in vars(chosen).items() if name != "results"}
    for name in ("photos", "saliency", "inpainter"):
        told[name] = Path(told[name]).name  # and not where they lie on this machine
    result: dict[str, Any] = {
        "options": told,
        "repaints": {str(correlation): each for correlation, each in counts.items()},
        "ways": [
            {"label": each.label, "files": each.files, "repaints": each.repaints, "seconds": each.seconds,
             "step seconds": each.clock.seconds, "step pictures": each.clock.pictures}
            for each in done
        ],
        "large": decoded,
        "provenance": said,
    }  # fmt: skip
    print(provenance.write("curation", result, text, chosen.results))


if __name__ == "__main__":
    main()
