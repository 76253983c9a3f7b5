"""The verb ``export``: a model, or pairs (``pairs.py``), as files for other programs, and what they say of it.

An exported LoRA stands for everything that lies on the public base, foreign LoRAs below included: loaded at strength 1 on
that base it is the model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pairwright import models, runtime
from pairwright.context import Context
from pairwright.diffusion import adapters, families, full, lora_files, pipeline_folders
from pairwright.errors import Explained
from pairwright.export.card import card
from pairwright.export.facts import Facts, facts, header
from pairwright.export.pairs import PairsExportError, export_pairs
from pairwright.models import LORA_FILE, RUNS_PREFIX, ModelRef
from pairwright.options import Export, ExportFormat, Model
from pairwright.progress import SILENT, Progress
from pairwright.store import Store, replace_folder, write_file, write_text

__all__ = ["CARD", "ExportError", "PairsExportError", "export", "export_pairs"]

CARD = "README.md"
_LORAS: tuple[lora_files.Format, ...] = ("diffusers", "kohya", "comfy")


class ExportError(Explained, ValueError):
    """A model that cannot be written as asked; the message says why and what to do."""


@dataclass(frozen=True)
class _Job:
    found: Facts
    chosen: Export
    places: Mapping[ExportFormat, Path]
    """Where each format goes."""
    card: Path | None
    store: Store
    say: Callable[[str], None]

    @property
    def dtype(self) -> torch.dtype:
        """Of what is written."""
        return runtime.dtype(self.chosen.dtype)

    @property
    def title(self) -> str:
        """For people."""
        return self.chosen.title or self.found.name


def export(
    model: Model,
    formats: Sequence[ExportFormat],
    out: Path | None,
    store: Store,
    chosen: Export | None = None,
    *,
    replace: bool = False,
    progress: Progress = SILENT,
) -> list[Path]:
    """Write a model.

    Args:
        model: as recipes name it; ``runs/<run>/<step>`` and ``runs/<run>/<step>@<checkpoint>`` are the usual.
        formats: LoRA in ``diffusers``', ``kohya``'s or ``comfy``'s keys, the ``merged`` network, a whole ``pipeline``.
        out: a folder; or, for one LoRA, a ``.safetensors`` file. Default: ``exports/<run>-<step>``.
        store: where runs and results are.
        chosen: rank, number format and what the header says.
        replace: overwrite what is there.
        progress: told what was found on the way.

    Returns:
        What was written, the card last.

    Raises:
        ExportError: something is there already, or the model has no such form.
        ModelError, WeightsError: a model that is not found or does not fit.
    """
    chosen = chosen or Export()
    ref = models.resolve(model, Context(store))
    found = facts(model, ref, store)
    job = _Job(found, chosen, *_places(formats, out, found), store, progress.say)
    network = "transformer" if ref.family == "sd35" else "unet"
    comparison = _comparison(chosen.comparison, store)
    _check(job, ref, network, replace=replace)
    loras = [form for form in _LORAS if form in job.places]
    dtype: runtime.Dtype = "float32" if {"merged", "pipeline"} & job.places.keys() else "bfloat16"
    family = families.load_base(ref, dtype=dtype, device=torch.device("cpu"))
    names = families.put(family, ref.layers, store)
    said = header(found, family, chosen, store)
    reduced = _loras(job, family, names, loras, said) if loras else ""
    _networks(job, family, said)
    if job.card:
        root = job.card.parent
        files = {str(form): path.relative_to(root).as_posix() for form, path in job.places.items()}
        text = card(found, job.title, files, family.lora_prefix, comparison=comparison, reduced=reduced)
        write_text(job.card, text)
    return [*job.places.values(), *([job.card] if job.card else [])]


def _places(formats: Sequence[ExportFormat], out: Path | None, found: Facts) -> tuple[dict[ExportFormat, Path], Path | None]:
    """Where each format goes, and the card."""
    folder = out or Path("exports") / found.name
    if folder.suffix == ".safetensors":
        if len(formats) != 1 or formats[0] not in _LORAS:
            raise ExportError(f"--out {folder} is one file, which only one LoRA fits into; name a folder for {', '.join(formats)}")
        return {formats[0]: folder}, None
    names = {
        "diffusers": LORA_FILE,
        "kohya": f"{found.name}-kohya.safetensors",
        "comfy": f"{found.name}-comfy.safetensors",
        "merged": "transformer" if found.ref.family == "sd35" else "unet",
        "pipeline": "pipeline",
    }
    return {form: folder / names[form] for form in dict.fromkeys(formats)}, folder / CARD


def _check(job: _Job, ref: ModelRef, network: str, *, replace: bool) -> None:
    """Everything that can be wrong is said before anything is loaded."""
    if not job.places:
        raise ExportError("no format was named; give --as with diffusers, kohya, comfy, merged or pipeline")
    targets = [*job.places.values(), *([job.card] if job.card else [])]
    there = [str(path) for path in targets if path.exists()]
    if there and not replace:
        raise ExportError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already; give --replace True to overwrite"
        )
    loras = [form for form in _LORAS if form in job.places]
    if loras and not ref.layers:
        raise ExportError(f"{ref.base} has nothing on top of it that could be written as a LoRA ({', '.join(loras)})")
    if loras and any(layer.kind == "weights" for layer in ref.layers):
        raise ExportError(
            f"{job.found.name} holds a fully fine-tuned network, so no LoRA stands for it on {job.found.base}; "
            "write it as 'merged' or 'pipeline'"
        )
    if job.chosen.thumbnail and not Path(job.chosen.thumbnail).is_file():
        raise ExportError(f"thumbnail {job.chosen.thumbnail} is not a file")
    if "pipeline" in job.places:
        pipeline_folders.locate(ref.base, network)


def _loras(
    job: _Job, family: families.Family, names: Sequence[str], forms: Sequence[lora_files.Format], said: Mapping[str, str]
) -> str:
    """Write LoRAs; returns what reducing the rank cost, in words."""
    changes: lora_files.Changes = adapters.changes(family.network, names)
    reduced = ""
    if job.chosen.rank is not None:
        before = max(each.rank for each in changes.values())
        changes, error = lora_files.reduce(changes, job.chosen.rank)
        said = {**said, "pairwright.reduced": f"rank {before} to {job.chosen.rank}, relative error {error:.3g}"}
        reduced = f"Reduced from rank {before} to {job.chosen.rank} with a relative error of {error:.3g} (Frobenius norm)."
        job.say(reduced)
    spellings = lora_files.of(family.network, family.lora_prefix)
    for form in forms:
        # diffusers keeps a strength in the header, which ComfyUI does not read: folded in, there is none to be lost.
        shown = {name: each.with_alpha(each.rank) for name, each in changes.items()} if form == "diffusers" else changes

        def fill(path: Path, form: lora_files.Format = form, shown: lora_files.Changes = shown) -> None:
            lora_files.write(path, shown, spellings, said, form, job.dtype)

        write_file(job.places[form], fill)
    return reduced


def _networks(job: _Job, family: families.Family, said: Mapping[str, str]) -> None:
    """Write the merged network, alone and in a pipeline."""
    wanted = {"merged", "pipeline"} & job.places.keys()
    if not wanted:
        return
    full.merge(family.network)
    named = {**said, "modelspec.architecture": family.architecture, "modelspec.implementation": "diffusers"}
    named |= {"modelspec.sai_model_spec": lora_files.SAI_MODEL_SPEC}
    named = {name: value for name, value in named.items() if not name.startswith("ss_network_")}
    if "merged" in job.places:
        replace_folder(job.places["merged"], lambda path: pipeline_folders.write_network(family.network, path, named, job.dtype))
    if "pipeline" in job.places:
        base = pipeline_folders.locate(job.found.ref.base, family.lora_prefix)

        def fill(path: Path) -> None:
            merged: Any = job.places.get("merged")
            if merged is None:
                merged = path / ".network"
                pipeline_folders.write_network(family.network, merged, named, job.dtype)
            pipeline_folders.write_pipeline(base, family.lora_prefix, merged, path)
            shutil.rmtree(path / ".network", ignore_errors=True)

        replace_folder(job.places["pipeline"], fill)


def _comparison(name: str | None, store: Store) -> str:
    """The table of a compare step."""
    if name is None:
        return ""
    parts = name.removeprefix(RUNS_PREFIX).split("/")
    path = store.root / parts[0] / "run.json"
    if not name.startswith(RUNS_PREFIX) or len(parts) < 2 or not path.is_file():
        raise ExportError(f"comparison {name!r} is not runs/<run>/<step> of a run in {store.root}")
    entry = json.loads(path.read_text(encoding="utf-8"))["steps"].get("/".join(parts[1:]))
    if entry is None or entry["verb"] != "compare" or not entry["fingerprint"]:
        raise ExportError(f"{name} is not a finished compare step")
    table = store.open("compare", entry["fingerprint"]).path / "comparison.md"
    if not table.is_file():
        raise ExportError(f"{name} is not a finished compare step: it has no {table.name}")
    return table.read_text(encoding="utf-8")
