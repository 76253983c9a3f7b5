"""The verb ``generate``: pictures of several models for the same prompts and the same initial noise.

Each model's pictures are a node of their own (verb ``pictures``), shared by every run that asks for them; the step's own
node lists them by label in ``models.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pyarrow.parquet as pq

from pairwright import images, locks, models, runtime, seeds, tables
from pairwright.context import Context
from pairwright.diffusion import families, sampling
from pairwright.diffusion.encodings import chunks
from pairwright.errors import Explained
from pairwright.models import ModelRef
from pairwright.options import Generate, PromptSet
from pairwright.progress import SILENT, Progress
from pairwright.records import Prompt
from pairwright.shares import WHOLE, Share, share_out
from pairwright.store import Node, Store, write_json

VERSION = 1
SHARD = 64
"""Pictures per shard."""
MODELS = "models.json"


class GenerateError(Explained, ValueError):
    """Pictures that cannot be made; the message says why."""


@dataclass(frozen=True)
class _Job:
    prompt: Prompt
    index: int

    @property
    def key(self) -> str:
        """Names the picture's noise; the same for every model."""
        return f"{self.prompt.id}#{self.index}"


def generate(options: Generate, context: Context) -> Node:
    """Sample every model on every prompt.

    Args:
        options: models, prompts, sampler; see :class:`pairwright.options.Generate`.
        context: ``inputs`` holds the steps that models or prompts name.

    Returns:
        A node whose ``models.json`` names the node of each label's pictures; :func:`pictures` opens them.

    Raises:
        ModelError: a model that is not found or does not fit.
        SamplingError: a sampler whose noise would depend on a picture's neighbours.
        GenerateError: a step that has no captions to use as prompts.
        PromptError: a prompt file that is not there, or empty.
        WorkerError: one of several workers died.
    """
    refs = {label: models.resolve(model, context) for label, model in options.models.items()}
    prompts = prompts_of(options.prompts, context)
    shared = options.meaning() | {"version": VERSION, "prompts": [[prompt.id, prompt.text, prompt.category] for prompt in prompts]}
    del shared["models"]
    children = {
        label: context.store.node("pictures", shared | {"model": ref.identity(context.store)}) for label, ref in refs.items()
    }
    listed = {label: child.fingerprint for label, child in children.items()}
    node = context.node("generate", {"version": VERSION, "models": listed}, list(listed.values()))
    albums = [_Album(child, label, refs[label], prompts, options) for label, child in children.items()]
    # Several devices share all models' pictures; one does model after model, so that another run waits for what it shares alone.
    for together in [albums] if len(options.devices) > 1 else [[each] for each in albums]:
        together.sort(key=lambda album: album.node.fingerprint)  # whoever wants the same ones claims them in the same order
        with locks.claimed([each.node for each in together], context.progress) as unfinished:
            _sample_all([each for each in together if each.node in unfinished], options, context)
    if not node.complete:
        write_json(node.path / MODELS, listed)
        node.finish(models=len(listed), prompts=len(prompts), pictures=len(listed) * len(prompts) * options.per_prompt)
    return node


def pictures(node: Node, store: Store) -> dict[str, Node]:
    """The nodes of each label's pictures, in the order in which the models were named."""
    listed: Mapping[str, str] = json.loads((node.path / MODELS).read_text(encoding="utf-8"))
    return {label: store.open("pictures", digest) for label, digest in listed.items()}


def prompts_of(wanted: PromptSet, context: Context) -> list[Prompt]:
    """The prompts of a set, or the distinct captions of a step among the inputs.

    Raises:
        GenerateError: the step has none.
        PromptError: no such file, or nothing in it.
    """
    if wanted.name not in context.inputs:
        from pairwright import prompts

        return prompts.load(wanted.name, path=wanted.path, limit=wanted.limit, seed=wanted.seed)
    node = context.inputs[wanted.name]
    names = pq.read_schema(node.shards()[0]).names if node.shards() else []
    column = next((name for name in ("prompt", "caption") if name in names), "")
    texts = list(dict.fromkeys(str(row[column]) for row in node.rows(columns=[column]))) if column else []
    if not texts:
        raise GenerateError(f"step {wanted.name!r} has no captions to use as prompts")
    chosen = sorted(seeds.permutation(len(texts), wanted.seed, "prompts")[: wanted.limit])
    return [Prompt(texts[row], hashlib.sha256(texts[row].encode()).hexdigest()[:16]) for row in chosen]


@dataclass(frozen=True)
class _Album:
    """The pictures of one model."""

    node: Node
    label: str
    ref: ModelRef
    prompts: Sequence[Prompt]
    options: Generate

    @cached_property
    def shards(self) -> list[Sequence[_Job]]:
        """What is in each shard."""
        return list(chunks([_Job(prompt, index) for prompt in self.prompts for index in range(self.options.per_prompt)], SHARD))

    def missing(self, share: Share = WHOLE) -> list[int]:
        """Shards of a share that are not there yet."""
        return [number for number in range(len(self.shards)) if number in share and not self.node.shard(number).exists()]

    def written(self) -> int:
        """Pictures that are on the disk."""
        return self.total - sum(len(self.shards[number]) for number in self.missing())

    @property
    def total(self) -> int:
        """Pictures that there will be."""
        return sum(map(len, self.shards))

    def finish(self) -> None:
        """Every shard is there."""
        self.node.finish(pictures=self.total, prompts=len(self.prompts))


def _sample_all(albums: Sequence[_Album], options: Generate, context: Context) -> None:
    if len(options.devices) > 1:
        share_out(
            partial(_work, albums, context.store),
            options.devices,
            label="generate",
            total=sum(each.total for each in albums),
            written=lambda: sum(each.written() for each in albums),
            progress=context.progress,
        )
    device = options.devices[0] if options.devices else options.device
    for each in albums:
        _sample(each, context.store, device, WHOLE, context.progress)
        each.finish()


def _work(albums: Sequence[_Album], store: Store, device: str, share: Share) -> None:
    for each in albums:
        _sample(each, store, device, share, SILENT)


def _sample(album: _Album, store: Store, device: str, share: Share, progress: Progress) -> None:
    missing, options = album.missing(share), album.options
    if not missing:
        return
    family = families.load(album.ref, store, dtype=options.dtype, device=runtime.device(device))
    if options.compile:
        family.network.compile()
    settings = sampling.Settings(options.steps, options.guidance, options.sampler, options.seed)
    with progress.task(f"generate {album.label}", album.total, album.written()) as task:
        for number in missing:
            rows: list[dict[str, Any]] = []
            for part in chunks(album.shards[number], options.batch_size):
                with _compiling():
                    rows.extend(_rows(family, part, options, settings))
                task.advance(len(part))
            album.node.write(number, rows, tables.GENERATED)


@contextmanager
def _compiling() -> Iterator[None]:
    """A compiler that fails, as one that is not installed does at the first picture, is the user's to mend."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = " ".join(str(error).split("\n")[:2])  # who failed, and why
        raise GenerateError(
            f"compile = true, and torch.compile failed ({reason}). Install what it needs, or leave it out"
        ) from error


def _rows(
    family: families.Family, jobs: Sequence[_Job], options: Generate, settings: sampling.Settings
) -> Iterator[dict[str, Any]]:
    keys = [job.key for job in jobs]
    condition = family.condition([job.prompt.text for job in jobs])
    empty = family.condition([options.negative_prompt])
    noise = sampling.initial_noise(family, options.resolution, keys, options.seed)
    pixels = family.decode(sampling.sample(family, condition, empty, noise, keys, settings))
    for job, picture in zip(jobs, pixels, strict=True):
        if not picture.isfinite().all():
            raise GenerateError(f"{family.base} gives no picture for {job.prompt.text!r}, only NaN; try dtype = 'float32'")
        image = images.from_tensor(picture)
        data = images.encode(image)
        picture_id = hashlib.sha256(f"{images.content_id(data)}\x1f{job.key}".encode()).hexdigest()[:16]
        yield {
            "id": picture_id,
            "image": tables.image_cell(data, picture_id),
            "caption": job.prompt.text,
            "prompt_id": job.prompt.id,
            "category": job.prompt.category,
            "index": job.index,
            "width": image.width,
            "height": image.height,
            "provenance": json.dumps({"seed": str(options.seed)}),
        }
