"""Measure, print, write ``results/training.md``, ``.json`` and ``.svg``; on a GPU ``results/training-<family>.*``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import provenance
from benchmarks.training import curves, device, networks
from benchmarks.training.curves import Curve
from benchmarks.training.page import page, speeds_page
from benchmarks.training.race import Result, race
from benchmarks.training.ways import CONTESTS
from pairwright import run, runtime
from pairwright.store import write_text
from pairwright.train import log_rows


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="optimiser steps of each way that are timed")
    parser.add_argument("--batch", type=int, default=16, help="samples per optimiser step")
    parser.add_argument("--micro", type=int, default=4, help="samples per forward")
    parser.add_argument("--only", nargs="*", choices=sorted(CONTESTS), default=sorted(CONTESTS), help="some of the contests")
    parser.add_argument("--no-curves", action="store_true", help="leave the growth with batch and resolution out")
    parser.add_argument("--threads", type=int, help="of torch; default: what it takes")
    parser.add_argument("--share", type=Path, help="a step of a run (runs/demo/stage1) whose share of rollouts is reported")
    parser.add_argument("--results", type=Path, default=provenance.RESULTS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--full-size", choices=["sd15", "sd35"], help="networks of the real size; for a GPU")
    parser.add_argument("--resolution", type=int, default=512, help="with --full-size: side of the pictures in pixels")
    parser.add_argument("--compile", action="store_true", help="with --full-size: through torch.compile")
    return parser.parse_args()


def shares(step: Path) -> dict[str, Any]:
    """Of a run's step: which share of samples needed their rollout, over the whole training and in its quarters."""
    found = [row["rollouts"] for row in log_rows(run.result(step.parent, step.name)) if row["rollouts"] is not None]
    quarters = [found[len(found) * part // 4 : len(found) * (part + 1) // 4] for part in range(4)]
    return {"run": str(step), "steps": len(found), "mean": sum(found) / len(found), "quarters": [sum(q) / len(q) for q in quarters]}


def on_cpu(chosen: argparse.Namespace, size: networks.Size = networks.SMALL) -> None:
    """The contests and the curves."""
    share = shares(chosen.share) if chosen.share else None  # first: a run that is not finished should not cost the measurement
    results: dict[str, Result] = {}
    drawn: list[Curve] = []
    common = {"batch": chosen.batch, "micro": chosen.micro, "repeats": chosen.repeats, "side": size.pixels}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        base = networks.write(root / "base", size)
        for name in CONTESTS:
            if name in chosen.only:
                print(f"{CONTESTS[name].label} ...", flush=True)
                results[name] = race(base, CONTESTS[name], root=root / "runs", **common)
        if not chosen.no_curves:
            drawn = curves.measure(base, root / "runs", side=size.pixels, repeats=min(2, chosen.repeats), say=print)
    flop = {"small": networks.flop(size), "real": networks.flop(networks.REAL)}
    said = {**provenance.provenance(), "threads": torch.get_num_threads(), "flop": flop}
    text = page(results, drawn, share, said)
    print(text)
    if drawn:
        write_text(chosen.results / "training.svg", curves.svg(drawn))
    swept = [
        {"title": each.title, "axis": each.axis, "at": each.at, "results": [one.row() for one in each.results]} for each in drawn
    ]
    found = {"results": {name: each.row() for name, each in results.items()}, "curves": swept, "share": share, "provenance": said}
    print(provenance.write("training", found, text, chosen.results))


def at_full_size(chosen: argparse.Namespace) -> None:
    """Every kind of step on a GPU."""
    config = {"sd15": networks.SD15_UNET, "sd35": networks.SD35_TRANSFORMER}[chosen.full_size]
    with tempfile.TemporaryDirectory() as folder:
        found = device.measure(
            chosen.full_size,
            config,
            Path(folder),
            device=runtime.device(chosen.device),
            side=chosen.resolution,
            batch=256,
            micro="auto",
            repeats=chosen.repeats,
            compiled=chosen.compile,
        )
    said = provenance.provenance()
    text = speeds_page(found, said)
    print(text)
    name = f"training-{chosen.full_size}{'-compiled' if chosen.compile else ''}"
    print(provenance.write(name, {**found, "provenance": said}, text, chosen.results))


def main() -> None:
    """Run what was asked for."""
    chosen = options()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    if chosen.full_size:
        at_full_size(chosen)
    else:
        on_cpu(chosen)


if __name__ == "__main__":
    main()
